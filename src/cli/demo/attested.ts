/**
 * `caisson demo --attested`: a volume whose key and newest state are kept by a broker, for a machine that proves by a TPM
 * what it booted. Step by step as `scenario.ts`; a step that cannot show what it claims throws.
 *
 * `sabotage` makes one step break its own promise, so that tests can see the demo fail.
 */
import fs from 'node:fs/promises';
import { CaissonError } from '../../lib/errors.ts';
import { check } from './attacks.ts';
import { errorOf } from './caisson.ts';
import type { Started } from './caisson.ts';
import { NbdClient } from './nbd-client.ts';
import { times } from './report.ts';
import type { DemoReport } from './report.ts';
import { SoftwareTpm } from './software-tpm.ts';
import type { Steps } from './steps.ts';
import type { Workspace } from './workspace.ts';

export const attestedStepCount = 9;
export type AttestedSabotage = 'register' | 'old-copy' | 'log';

export interface AttestedOptions {
  readonly sabotage: AttestedSabotage | undefined;
  readonly signal: AbortSignal;
}

interface BrokerReady {
  readonly url: string;
  readonly authorityFile: string;
}

const volume = 'vault';
const tenant = 'demo';
const register = 7;
const record = Buffer.from('written by a machine that proved what it is'.padEnd(4096, '.'));
const newerRecord = Buffer.from('written after the copy of the store was made'.padEnd(4096, '.'));

const policy = `caisson-policy: 1
name: machine
description: The demo's software TPM, with registers as they are before anything boots
profiles:
  machine:
    technology: tpm
    rules:
      tpm.manufacturer: the demo
      tpm.pcr.sha256.0: ${'00'.repeat(32)}
      tpm.pcr.sha256.${register}: ${'00'.repeat(32)}
    waive: {tpm.pcr.sha256.4: the demo boots nothing}
release: {may-create-key: true, may-advance-anchor: true}
`;

export class AttestedScenario {
  readonly #workspace: Workspace;
  readonly #steps: Steps;
  readonly #options: AttestedOptions;
  readonly #report: DemoReport;
  #tpm: SoftwareTpm | undefined;
  #broker: Started<BrokerReady> | undefined;

  constructor(workspace: Workspace, steps: Steps, options: AttestedOptions, report: DemoReport) {
    this.#workspace = workspace;
    this.#steps = steps;
    this.#options = options;
    this.#report = report;
  }

  async run(): Promise<void> {
    const seen = { registerCode: '', registerRule: '', rollbackCode: '', changedLogCode: '' };
    try {
      await this.#step('tpm', 'Make a TPM in software, with a certificate of its maker', () => this.#makeTpm());
      await this.#step('broker', 'Start a broker, with a policy about what the machine booted', () =>
        this.#startBroker(),
      );
      await this.#step('create', 'Create a volume whose key and anchor are at the broker', () => this.#create());
      await this.#step('open', 'Open it by evidence, write, close, open it again', () => this.#open());
      await this.#step('register', 'Boot something else', async () => {
        ({ code: seen.registerCode, rule: seen.registerRule } = await this.#changeRegister());
        return `refused: ${seen.registerCode}, rule ${seen.registerRule}`;
      });
      await this.#step('reboot', 'Boot what the policy knows', () => this.#reboot());
      await this.#step('rollback', 'Put an old copy of the store back', async () => {
        seen.rollbackCode = await this.#rollBack();
        return `refused: ${seen.rollbackCode}`;
      });
      const counts = { logEntries: 0, releases: 0, refusals: 0 };
      await this.#step('log', 'Download the log of the broker, and verify it', async () => {
        Object.assign(counts, await this.#verifyLog());
        const { logEntries, releases, refusals } = counts;
        return `${logEntries} entries; the key was released ${times(releases)} and refused ${times(refusals)}`;
      });
      await this.#step('forge', 'Change one line of the log', async () => {
        seen.changedLogCode = await this.#forgeLog();
        return `refused: ${seen.changedLogCode}`;
      });
      this.#report.attested = { ...seen, ...counts };
    } finally {
      await this.#tpm?.stop();
    }
  }

  async #step(step: string, title: string, act: () => Promise<string>): Promise<void> {
    this.#options.signal.throwIfAborted();
    await this.#steps.run(step, title, act);
    this.#options.signal.throwIfAborted();
  }

  async #makeTpm(): Promise<string> {
    this.#tpm = await SoftwareTpm.make(this.#workspace.path('tpm'));
    return this.#tpm.device;
  }

  async #startBroker(): Promise<string> {
    const { caisson } = this.#workspace;
    const configuration = this.#workspace.path('broker.yaml');
    const root = `  - {technology: tpm, name: the demo, file: ${this.#made(this.#tpm).authorityFile}}`;
    const state = this.#workspace.path('broker');
    await fs.writeFile(configuration, `listen: 127.0.0.1:0\nstate: ${state}\nextraRoots:\n${root}\n`);
    this.#broker = await caisson.start<BrokerReady>(['broker', 'run', '--config', configuration]);
    await this.#admin('tenant-add', tenant, '--save-token', this.#workspace.path('tenant.token'));
    const file = this.#workspace.path('machine.yaml');
    await fs.writeFile(file, policy);
    await this.#admin('policy-put', file, '--tenant', tenant);
    return `${this.#broker.ready.url}; register ${register} must be as it is before anything boots`;
  }

  async #create(): Promise<string> {
    const { url, authorityFile } = this.#made(this.#broker).ready;
    const options = `ca-file=${authorityFile}&tpm=${this.#made(this.#tpm).device}&evidence=tpm&policy=machine`;
    await this.#workspace.caisson.json([
      ...['volume', 'create', volume, '--size', '64MiB', '--store', `dir:${this.#workspace.store(volume)}`],
      ...['--key', `broker:${url}/${tenant}/${volume}?${options}`, '--anchor', 'broker', '--durability', 'anchored'],
    ]);
    return 'the key was made at the broker, for evidence; nothing on this machine holds it';
  }

  async #open(): Promise<string> {
    await this.#use((client) => client.write(0, record));
    await fs.cp(this.#workspace.store(volume), this.#workspace.path('old-copy'), { recursive: true });
    await this.#use(async (client) => {
      check(record.equals(await client.read(0, record.length)), 'the volume was opened again and holds something else');
      await client.write(0, newerRecord);
    });
    return 'each opening got the key for evidence of its own; the anchor moved with every flush';
  }

  async #changeRegister(): Promise<{ readonly code: string; readonly rule: string }> {
    if (this.#options.sabotage !== 'register') await this.#made(this.#tpm).extend(register);
    const error = await this.#refusal();
    check(error !== undefined, `register ${register} was changed, and the volume opened`);
    const rule = /profiles\.[\w.-]+/.exec(error.message)?.[0] ?? '';
    check(error.code === 'policy-refused', `register ${register} was changed, which was refused, but as ${error.code}`);
    check(rule.endsWith(`.${register}`), `register ${register} was changed, and the refusal names ${rule}`);
    return { code: error.code, rule };
  }

  async #reboot(): Promise<string> {
    await this.#made(this.#tpm).powerCycle();
    await this.#use(async (client) => {
      const found = await client.read(0, newerRecord.length);
      check(newerRecord.equals(found), 'the machine is itself again, and the volume holds something else');
    });
    return 'the volume opens and holds what was written last';
  }

  async #rollBack(): Promise<string> {
    const store = this.#workspace.store(volume);
    const newest = `${store}-newest`;
    const old = this.#workspace.path('old-copy');
    await fs.rename(store, newest);
    await fs.cp(this.#options.sabotage === 'old-copy' ? newest : old, store, { recursive: true });
    const error = await this.#refusal();
    check(error !== undefined, 'an old copy of the store was put back, and the volume opened');
    check(error.code === 'rolled-back', `an old copy of the store was refused, but as ${error.code}`);
    await fs.rm(store, { recursive: true });
    await fs.rename(newest, store);
    await this.#use(() => Promise.resolve());
    return error.code;
  }

  async #verifyLog(): Promise<{ logEntries: number; releases: number; refusals: number }> {
    const file = this.#logFile();
    await this.#admin('log-download', file);
    await this.#workspace.caisson.json(['log', 'verify', file]);
    const text = await fs.readFile(file, 'utf8');
    const count = (kind: string): number => text.split(`"kind":"${kind}"`).length - 1;
    const counts = { releases: count('release'), refusals: count('refusal'), anchors: count('anchor-advance') };
    check(counts.releases >= 3, `the key was released at least three times, the log shows ${counts.releases}`);
    check(counts.refusals >= 1, 'a release was refused, and the log does not show it');
    check(counts.anchors >= 1, 'the anchor moved, and the log does not show it');
    const kinds = text.split('"kind":"').length - 1;
    return { logEntries: kinds, releases: counts.releases, refusals: counts.refusals };
  }

  /** As an operator would who wants nobody to know of a release. */
  async #forgeLog(): Promise<string> {
    const file = this.#logFile();
    const text = await fs.readFile(file, 'utf8');
    const forged = this.#workspace.path('forged.log');
    const isReal = this.#options.sabotage !== 'log';
    await fs.writeFile(forged, isReal ? text.replace('"kind":"release"', '"kind":"session"') : text);
    const args = ['log', 'verify', forged];
    const outcome = await this.#workspace.caisson.run(args);
    check(outcome.code !== 0, 'a line of the log was changed, and the log verifies');
    const { code } = errorOf(args, outcome);
    check(code === 'log-tampered', `a line of the log was changed, which was refused, but as ${code}`);
    return code;
  }

  #logFile(): string {
    return this.#workspace.path('release.log');
  }

  async #use(work: (client: NbdClient) => Promise<void>): Promise<void> {
    const served = await this.#workspace.caisson.serve(volume);
    this.#workspace.noteDaemon(served.pid);
    try {
      const client = await NbdClient.connect(served.socket, volume);
      await work(client);
      await client.flush();
      await client.close();
    } finally {
      await served.stop();
    }
  }

  /** Why it does not open; undefined where it does. */
  async #refusal(): Promise<CaissonError | undefined> {
    try {
      await this.#use(() => Promise.resolve());
      return undefined;
    } catch (error) {
      if (error instanceof CaissonError) return error;
      throw error;
    }
  }

  #admin(command: string, ...args: string[]): Promise<unknown> {
    const { url, authorityFile } = this.#made(this.#broker).ready;
    const token = this.#workspace.path('broker', 'admin.token');
    const reach = ['--broker', url, '--ca-file', authorityFile, '--token-file', token];
    return this.#workspace.caisson.json(['broker', command, ...args, ...reach]);
  }

  #made<Part>(part: Part | undefined): Part {
    if (part === undefined) throw new CaissonError('bug', 'assertion-failed', 'a step of the demo was left out');
    return part;
  }
}
