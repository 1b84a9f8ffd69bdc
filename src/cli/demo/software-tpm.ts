/**
 * A TPM 2.0 in software (swtpm), manufactured for the demo with a certificate of an authority of its own: what a
 * machine of its maker would have in a chip. It lives in the demo's folder and ends with the demo.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { CaissonError } from '../../lib/errors.ts';
import { demoEndMillisecondsMax, demoPollMilliseconds } from '../../lib/limits.ts';
import { findProgram, mustRunProgram, sleep } from './caisson.ts';
import { freePortPair, isListening } from './ports.ts';

const programs = ['swtpm', 'swtpm_setup', 'swtpm_localca', 'tpm2_pcrextend'] as const;
type Program = (typeof programs)[number];
const launchAttemptsMax = 3;

export class SoftwareTpm {
  readonly #folder: string;
  readonly #paths: ReadonlyMap<Program, string>;
  #port = 0;
  #child: ChildProcess | undefined;

  private constructor(folder: string, paths: ReadonlyMap<Program, string>) {
    this.#folder = folder;
    this.#paths = paths;
  }

  /** `tool-missing` where a program is not installed. */
  static async make(folder: string): Promise<SoftwareTpm> {
    const paths = new Map(programs.map((name) => [name, programPath(name)]));
    fs.mkdirSync(path.join(folder, 'state'), { recursive: true });
    fs.mkdirSync(path.join(folder, 'authority'));
    const tpm = new SoftwareTpm(folder, paths);
    await tpm.#manufacture();
    for (let attempt = 1; ; attempt++) {
      tpm.#port = await freePortPair();
      try {
        await tpm.#powerOn();
        return tpm;
      } catch (error) {
        // Since the ports were found free somebody else may have taken one.
        await tpm.stop();
        if (attempt === launchAttemptsMax) throw error;
      }
    }
  }

  /** As a key's URL names it. */
  get device(): string {
    return `swtpm:127.0.0.1:${this.#port}`;
  }

  /** PEM of the authority that signed the certificate of its endorsement key. */
  get authorityFile(): string {
    return path.join(this.#folder, 'authority', 'issuercert.pem');
  }

  /** As booting something does that is not what the policy knows. */
  async extend(register: number): Promise<void> {
    await mustRunProgram(
      this.#path('tpm2_pcrextend'),
      ['-T', `swtpm:host=127.0.0.1,port=${this.#port}`, `${register}:sha256=${'11'.repeat(32)}`],
      this.#folder,
    );
  }

  /** Registers begin anew. */
  async powerCycle(): Promise<void> {
    await this.stop();
    await this.#powerOn();
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  async #manufacture(): Promise<void> {
    const write = (name: string, ...lines: string[]): string => {
      const file = path.join(this.#folder, name);
      fs.writeFileSync(file, `${lines.join('\n')}\n`);
      return file;
    };
    const authority = path.join(this.#folder, 'authority');
    const options = write(
      'localca.options',
      ...['--tpm-manufacturer Caisson', '--tpm-model demo', '--tpm-version 2'],
      ...['--platform-manufacturer Caisson', '--platform-model demo', '--platform-version 1'],
    );
    const localCa = write(
      'localca.conf',
      `statedir = ${authority}`,
      `signingkey = ${authority}/signkey.pem`,
      `issuercert = ${authority}/issuercert.pem`,
      `certserial = ${authority}/certserial`,
    );
    const setup = write(
      'setup.conf',
      `create_certs_tool = ${this.#path('swtpm_localca')}`,
      `create_certs_tool_config = ${localCa}`,
      `create_certs_tool_options = ${options}`,
    );
    await mustRunProgram(
      this.#path('swtpm_setup'),
      [
        ...['--tpm2', '--tpmstate', `dir://${this.#folder}/state`, '--config', setup, '--create-ek-cert'],
        ...['--runas', os.userInfo().username, '--pcr-banks', 'sha256', '--logfile', `${this.#folder}/setup.log`],
      ],
      this.#folder,
    );
  }

  async #powerOn(): Promise<void> {
    const address = (port: number): string => `type=tcp,port=${port},bindaddr=127.0.0.1`;
    const child = spawn(
      this.#path('swtpm'),
      [
        ...['socket', '--tpm2', '--tpmstate', `dir=${this.#folder}/state`, '--flags', 'not-need-init'],
        ...['--server', address(this.#port), '--ctrl', address(this.#port + 1)],
      ],
      { stdio: 'ignore', detached: true },
    );
    this.#child = child;
    // Should the demo itself be killed, nothing else would end it.
    process.once('exit', () => child.kill('SIGKILL'));
    const deadline = performance.now() + demoEndMillisecondsMax;
    while (!(await isListening(this.#port + 1))) {
      const hasEnded = child.exitCode !== null || child.signalCode !== null;
      if (hasEnded || performance.now() > deadline)
        throw new CaissonError('io', 'tool-failed', 'swtpm does not listen', { remedy: 'Run the demo again.' });
      await sleep(demoPollMilliseconds);
    }
  }

  #path(name: Program): string {
    return this.#paths.get(name) ?? name;
  }
}

function programPath(name: Program): string {
  const found = findProgram(name);
  if (found !== undefined) return found;
  throw new CaissonError('invalid', 'tool-missing', `the attested demo needs ${name}, which is not installed`, {
    remedy: 'On Debian: apt-get install swtpm swtpm-tools tpm2-tools.',
    details: { tool: name },
  });
}
