/**
 * Child processes and scratch folders. Invariant: however the run ends (done, failed, SIGINT, SIGTERM,
 * SIGHUP), every server is killed and every folder is gone.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const servers = new Set<ChildProcess>();
const folders = new Set<string>();
/** A daemon that is killed while it closes its volumes leaves them as after a crash: what is measured next would be recovery. */
const stopMillisecondsMax = 60_000;

export function cleanUpAtExit(): void {
  process.on('exit', () => {
    for (const server of servers) server.kill('SIGKILL');
    for (const undo of undos) undo();
    for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });
  process.on('SIGINT', () => process.exit(130));
  process.on('SIGTERM', () => process.exit(143));
  process.on('SIGHUP', () => process.exit(129));
}

/** What has to be undone before the folders go, such as a mount in one of them. Synchronous. */
export const undos = new Set<() => void>();

export function scratchFolder(parent: string): string {
  const folder = fs.mkdtempSync(path.join(parent, 'caisson-bench-'));
  folders.add(folder);
  return folder;
}

export interface Run {
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
}

/** Runs a program to its end; fails with what it said. Killed after `secondsMax`. */
export async function run(
  program: string,
  parameters: readonly string[],
  { environment = {}, secondsMax = 120 }: { environment?: Readonly<Record<string, string>>; secondsMax?: number } = {},
): Promise<Run> {
  const start = performance.now();
  const child = spawn(program, parameters, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C.UTF-8', ...environment },
    timeout: secondsMax * 1000,
    killSignal: 'SIGKILL',
  });
  servers.add(child);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => (stdout += piece));
  child.stderr.setEncoding('utf8').on('data', (piece: string) => (stderr += piece));
  try {
    const ending = await new Promise<string | undefined>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve(code === 0 ? undefined : `ended with ${code ?? signal}`));
    });
    const seconds = (performance.now() - start) / 1000;
    if (ending === undefined) return { stdout, stderr, seconds };
    const said = (stderr || stdout).trim().split('\n').slice(-3).join(' | ');
    throw new Error(`${path.basename(program)} ${parameters.join(' ').substring(0, 120)} ${ending}: ${said}`);
  } finally {
    servers.delete(child);
  }
}

export interface RunningServer {
  readonly pid: number;
  readonly child: ChildProcess;
  readonly errors: () => string;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

export function startServer(
  program: string,
  parameters: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  stdio: StdioOptions = ['ignore', 'ignore', 'pipe'],
): RunningServer {
  const child = spawn(program, parameters, { stdio, env: { ...process.env, ...environment } });
  servers.add(child);
  let errors = '';
  child.stderr?.setEncoding('utf8').on('data', (piece: string) => (errors = `${errors}${piece}`.slice(-2000)));
  child.once('error', (error) => (errors += error.message));
  const ended = new Promise<void>((resolve) => {
    child.once('close', resolve);
    child.once('error', () => resolve());
  }).finally(() => servers.delete(child));
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), stopMillisecondsMax);
    await ended.finally(() => clearTimeout(timer));
  };
  return {
    pid: child.pid ?? 0,
    child,
    errors: () => errors,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
  };
}

export async function waitForSocket(server: RunningServer, socket: string): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (server.child.exitCode !== null || server.child.signalCode !== null || server.pid === 0) break;
    if (fs.existsSync(socket)) return;
    await pause(25);
  }
  throw new Error(`a server does not listen on ${socket}: ${server.errors().trim()}`);
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
