/**
 * Software TPMs (swtpm), each in a temporary folder and on free ports; with an endorsement key certificate of a CA of
 * its own where it is manufactured. Each dies with this process.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePortPair, isListening } from '../../src/cli/demo/ports.ts';
import { launchOnFreePorts } from './ports.ts';
import { hasTools, requireTool, toolOutput } from './tools.ts';

export const swtpmTools = ['swtpm', 'swtpm_setup', 'swtpm_localca', 'setpriv'] as const;
const readyMillisecondsMax = 60_000;

export interface SoftwareTpm {
  /** As Caisson names it. */
  readonly device: string;
  readonly port: number;
  readonly folder: string;
  /** DER of the CA that signed the endorsement key certificates, root last; empty unless it was manufactured. */
  readonly authorities: readonly Uint8Array[];
  /** Runs one of tpm2-tools against it; fails when that fails. Answers with standard output. */
  tool(name: string, ...parameters: string[]): Promise<string>;
  /** As a power failure: what is not in non-volatile memory is gone. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface SoftwareTpmOptions {
  /** With a certificate for its endorsement key. Takes a second or two. */
  readonly isManufactured?: boolean;
}

export function hasSwtpm(): boolean {
  return hasTools(...swtpmTools);
}

export function requireSwtpm(t: TestContext, ...others: string[]): boolean {
  return requireTool(t, ...swtpmTools, ...others);
}

export async function startSwtpm(options: SoftwareTpmOptions = {}): Promise<SoftwareTpm> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-swtpm-'));
  try {
    const state = path.join(folder, 'state');
    fs.mkdirSync(state);
    const authorities = options.isManufactured === true ? await manufacture(folder, state) : [];
    return await launchOnFreePorts(async () => launch(folder, state, await freePortPair(), authorities));
  } catch (error) {
    fs.rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

async function manufacture(folder: string, state: string): Promise<readonly Uint8Array[]> {
  const authority = path.join(folder, 'authority');
  fs.mkdirSync(authority);
  const file = (name: string, text: string): string => {
    fs.writeFileSync(path.join(folder, name), text);
    return path.join(folder, name);
  };
  const options = file(
    'localca.options',
    '--tpm-manufacturer Caisson-Tests\n--tpm-model swtpm\n--tpm-version 2\n--platform-manufacturer Caisson\n--platform-version 1\n--platform-model test\n',
  );
  const localCa = file(
    'localca.conf',
    `statedir = ${authority}\nsigningkey = ${authority}/signkey.pem\nissuercert = ${authority}/issuercert.pem\ncertserial = ${authority}/certserial\n`,
  );
  const setup = file(
    'setup.conf',
    `create_certs_tool = swtpm_localca\ncreate_certs_tool_config = ${localCa}\ncreate_certs_tool_options = ${options}\n`,
  );
  await toolOutput(
    'swtpm_setup',
    [
      ...['--tpm2', '--tpmstate', `dir://${state}`, '--config', setup, '--create-ek-cert', '--overwrite'],
      ...['--runas', os.userInfo().username, '--pcr-banks', 'sha256,sha384', '--logfile', `${folder}/setup.log`],
    ],
    { timeoutMilliseconds: 60_000 },
  );
  const pems = ['issuercert.pem', 'swtpm-localca-rootca-cert.pem'].map((name) => path.join(authority, name));
  return await Promise.all(
    pems.map(async (pem) => {
      const der = path.join(folder, `${path.basename(pem)}.der`);
      await toolOutput('openssl', ['x509', '-in', pem, '-outform', 'DER', '-out', der]);
      return new Uint8Array(fs.readFileSync(der));
    }),
  );
}

async function launch(
  folder: string,
  state: string,
  port: number,
  authorities: readonly Uint8Array[],
): Promise<SoftwareTpm> {
  let child = await spawnSwtpm(folder, state, port);
  const end = async (): Promise<void> => {
    const ended = new Promise((resolve) => child.once('close', resolve));
    if (child.exitCode === null && child.signalCode === null && child.kill('SIGKILL')) await ended;
  };
  return {
    device: `swtpm:127.0.0.1:${port}`,
    port,
    folder,
    authorities,
    tool: (name, ...parameters) =>
      toolOutput(name, parameters, {
        environment: { TPM2TOOLS_TCTI: `swtpm:host=127.0.0.1,port=${port}`, TSS2_LOG: 'all+NONE' },
        folder,
      }),
    restart: async () => {
      await end();
      child = await spawnSwtpm(folder, state, port);
    },
    stop: async () => {
      await end();
      fs.rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function spawnSwtpm(folder: string, state: string, port: number): Promise<ReturnType<typeof spawn>> {
  const output = fs.openSync(path.join(folder, 'swtpm.out'), 'w');
  const address = (number: number): string => `type=tcp,port=${number},bindaddr=127.0.0.1`;
  // The kernel ends it when this process ends, however that happens.
  const child = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'SIGKILL', 'swtpm', 'socket', '--tpm2', '--tpmstate', `dir=${state}`],
      ...['--server', address(port), '--ctrl', address(port + 1), '--flags', 'not-need-init'],
    ],
    { stdio: ['ignore', output, output] },
  );
  fs.closeSync(output);
  const deadline = performance.now() + readyMillisecondsMax;
  while (!(await isListening(port + 1))) {
    const hasEnded = child.exitCode !== null || child.signalCode !== null;
    assert.ok(!hasEnded, `swtpm ended: ${fs.readFileSync(path.join(folder, 'swtpm.out'), 'utf8')}`);
    assert.ok(performance.now() < deadline, 'swtpm does not listen');
    await sleep(20);
  }
  return child;
}
