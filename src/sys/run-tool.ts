/**
 * Runs a program of the system (mount, losetup, mkfs, …) without blocking the event loop: the
 * program may well wait for a file that this very process serves.
 *
 * Invariants: no shell; a fixed search path and the C locale, whatever the caller's environment; no
 * standard input; output and time are bounded. A program that outlives its time is killed and given
 * up, also when it hangs in the kernel where no signal reaches it.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import type { Clock } from '../lib/clock.ts';
import { CaissonError, messageOf } from '../lib/errors.ts';
import { toolKillMilliseconds, toolMilliseconds, toolOutputBytesMax, toolPipesMilliseconds } from '../lib/limits.ts';

export interface ToolOptions {
  readonly clock: Clock;
  readonly milliseconds?: number;
  /** Handed to the program as its descriptor 3. */
  readonly descriptor?: number;
}

export interface ToolResult {
  /** The exit status, 128 + the signal's number being reported as 128 when a signal ended it. */
  readonly status: number;
  readonly output: string;
  /** What it wrote to standard error, on one line. */
  readonly errorText: string;
}

/** The shape of `runTool`, for tests that answer in a program's place. */
export type ToolRunner = (name: string, parameters: readonly string[], options: ToolOptions) => Promise<ToolResult>;

const environment = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C',
};

const packageOfTool: Readonly<Record<string, string>> = {
  mount: 'mount (util-linux)',
  umount: 'mount (util-linux)',
  losetup: 'mount (util-linux)',
  blkid: 'util-linux',
  wipefs: 'util-linux',
  unshare: 'util-linux',
  'nbd-client': 'nbd-client',
  'mkfs.ext4': 'e2fsprogs',
  'mkfs.xfs': 'xfsprogs',
  'mkfs.btrfs': 'btrfs-progs',
  'mkfs.erofs': 'erofs-utils',
};

/** Resolves with whatever status the program ends with; rejects when it cannot run or takes too long. */
export const runTool: ToolRunner = (name, parameters, options) =>
  new Promise((resolve, reject) => {
    const milliseconds = options.milliseconds ?? toolMilliseconds;
    const stdio = [
      'ignore',
      'pipe',
      'pipe',
      ...(options.descriptor === undefined ? [] : [options.descriptor]),
    ] as const;
    const child = spawn(name, parameters, { env: environment, stdio: [...stdio], cwd: '/' });
    const output = collect(child, 'stdout');
    const errors = collect(child, 'stderr');
    const settle = (action: () => void): void => {
      cancelTimeout();
      action();
    };
    const succeed = (): void =>
      resolve({ status: child.exitCode ?? 128, output: output.text(), errorText: oneLine(errors.text()) });
    const cancelTimeout = options.clock.after(milliseconds, () => {
      child.removeAllListeners();
      child.once('error', () => undefined);
      child.kill('SIGKILL');
      const cancelGiveUp = options.clock.after(toolKillMilliseconds, () => {
        child.unref();
        reject(timedOut(name, milliseconds));
      });
      child.once('exit', () =>
        settle(() => {
          cancelGiveUp();
          reject(timedOut(name, milliseconds));
        }),
      );
    });
    child.once('error', (error) => settle(() => reject(cannotRun(name, error))));
    // A program that leaves a child behind (nbd-client) leaves it our pipes as well, so that they never close.
    child.once('exit', () => settle(() => options.clock.after(toolPipesMilliseconds, succeed)));
    child.once('close', () => settle(succeed));
  });

/** Runs a program that has to succeed. */
export function expectStatus(name: string, result: ToolResult, remedy: string): ToolResult {
  if (result.status === 0) return result;
  throw new CaissonError('io', 'mount-failed', `${name} failed with status ${result.status}: ${result.errorText}`, {
    remedy,
    details: { tool: name, status: result.status },
  });
}

function collect(child: ChildProcess, stream: 'stdout' | 'stderr'): { text: () => string } {
  const pieces: Uint8Array[] = [];
  let length = 0;
  child[stream]?.on('data', (piece: Uint8Array) => {
    if (length >= toolOutputBytesMax) return; // the rest is read and dropped, so that the program does not block
    pieces.push(piece.subarray(0, toolOutputBytesMax - length));
    length += piece.length;
  });
  return { text: () => Buffer.concat(pieces).toString('utf8') };
}

function oneLine(text: string): string {
  return text
    .trim()
    .replace(/\s*\n\s*/g, '; ')
    .slice(0, 500);
}

export function toolMissing(name: string, cause?: unknown): CaissonError {
  return new CaissonError('invalid', 'tool-missing', `the program ${name} is not installed`, {
    remedy: `Install ${packageOfTool[name] ?? name}.`,
    details: { tool: name },
    ...(cause === undefined ? {} : { cause }),
  });
}

function cannotRun(name: string, error: NodeJS.ErrnoException): CaissonError {
  if (error.code === 'ENOENT') return toolMissing(name, error);
  return new CaissonError('io', 'mount-failed', `cannot run ${name}: ${messageOf(error)}`, {
    details: { tool: name },
    cause: error,
  });
}

function timedOut(name: string, milliseconds: number): CaissonError {
  return new CaissonError('io', 'timeout', `${name} did not end within ${milliseconds / 1000} s and was killed`, {
    remedy: 'Look in the kernel log; a device or a store that does not answer is the usual cause.',
    details: { tool: name, milliseconds },
  });
}
