/** Programs that tests run against us and that others wrote. A missing one is a loud skip, and a failure in CI. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'node:test';

export interface ToolResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ToolOptions {
  readonly timeoutMilliseconds?: number;
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly folder?: string;
}

/** True when every one of `names` can be run; else the test is skipped, or fails where CI is set. */
export function requireTool(t: TestContext, ...names: string[]): boolean {
  const missing = names.filter((name) => !findTool(name));
  return missing.length === 0 || skipLoudly(t, `not installed: ${missing.join(', ')}`);
}

/** For what must be known before a test runs; the test that is left out then says so by `requireTool`. */
export function hasTools(...names: string[]): boolean {
  return names.every(findTool);
}

export function requireRoot(t: TestContext): boolean {
  return process.getuid?.() === 0 || skipLoudly(t, 'this test needs root');
}

export function requireFile(t: TestContext, path: string): boolean {
  return existsSync(path) || skipLoudly(t, `there is no ${path} here`);
}

/** For what is neither a program nor a file, such as a Python package. */
export function requirement(t: TestContext, isHere: boolean, what: string): boolean {
  return isHere || skipLoudly(t, `not installed: ${what}`);
}

function skipLoudly(t: TestContext, message: string): false {
  assert.ok(process.env['CI'] === undefined, `${message} (a skip is a failure in CI)`);
  t.diagnostic(`SKIPPED, ${message}`);
  t.skip(message);
  return false;
}

/** Runs without a shell and does not block this process, which may be the server that is talked to. */
export async function runTool(
  name: string,
  parameters: readonly string[],
  options: ToolOptions = {},
): Promise<ToolResult> {
  const child = spawn(name, parameters, {
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: options.timeoutMilliseconds ?? 30_000,
    killSignal: 'SIGKILL',
    env: { ...process.env, LC_ALL: 'C.UTF-8', ...options.environment },
    ...(options.folder === undefined ? {} : { cwd: options.folder }),
  });
  child.stdin.on('error', () => {});
  child.stdin.end(options.input ?? '');
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code));
  });
  return { status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
}

/** As `runTool`, with all that was printed in one text. */
export async function run(
  name: string,
  parameters: readonly string[],
): Promise<{ status: number | null; output: string }> {
  const { status, stdout, stderr } = await runTool(name, parameters, { timeoutMilliseconds: 120_000 });
  return { status, output: `${stdout}${stderr}` };
}

/** Standard output of a program that must succeed. */
export async function mustRun(name: string, ...parameters: string[]): Promise<string> {
  return await toolOutput(name, parameters, { timeoutMilliseconds: 120_000 });
}

/** As `runTool`, and fails with the program's own words when it does. Returns what it printed. */
export async function toolOutput(
  name: string,
  parameters: readonly string[],
  options: ToolOptions = {},
): Promise<string> {
  const { status, stdout, stderr } = await runTool(name, parameters, options);
  assert.equal(status, 0, `${name} ${parameters.join(' ')} ended with ${status}:\n${stderr}\n${stdout}`);
  return stdout;
}

function findTool(name: string): boolean {
  return [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'].some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
