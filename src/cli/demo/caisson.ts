/**
 * Runs the very command this process was started as, in the demo's own folders, the way a user would,
 * and the few programs of the system that the demo uses. Everything has a bound in time; children
 * have process groups of their own, so that Ctrl-C reaches the demo alone, which then cleans up.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { bodyToError } from '../../admin/error-body.ts';
import type { ErrorBody } from '../../admin/schema.ts';
import { CaissonError } from '../../lib/errors.ts';
import {
  demoCommandMillisecondsMax,
  demoEndMillisecondsMax,
  demoOutputBytesMax,
  demoPollMilliseconds,
} from '../../lib/limits.ts';

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Served {
  readonly pid: number;
  readonly socket: string;
  readonly uri: string;
  /** SIGTERM; resolves when the daemon closed its volumes and ended. */
  stop(): Promise<void>;
}

export interface Started<Ready> {
  readonly ready: Ready;
  /** SIGTERM; resolves when it has ended well. */
  stop(): Promise<void>;
}

export class CaissonCommand {
  readonly #command: readonly string[];
  readonly #environment: NodeJS.ProcessEnv;
  readonly #folder: string;
  readonly #served = new Set<ChildProcess>();

  constructor(environment: NodeJS.ProcessEnv, folder: string) {
    this.#command = ownCommand();
    this.#environment = environment;
    this.#folder = folder;
  }

  async run(args: readonly string[]): Promise<Outcome> {
    return collect(this.#spawn([...args, '-o', 'json']), `caisson ${args[0]}`);
  }

  /** The JSON of a command that must succeed; its own error where it does not. */
  async json<Answer>(args: readonly string[]): Promise<Answer> {
    const outcome = await this.run(args);
    if (outcome.code !== 0) throw errorOf(args, outcome);
    return JSON.parse(outcome.stdout) as Answer;
  }

  async serve(name: string): Promise<Served> {
    const { ready, stop } = await this.start<{ pid: number; volumes: { socket: string; uri: string }[] }>([
      'serve',
      name,
    ]);
    const [volume] = ready.volumes;
    if (volume === undefined) throw new CaissonError('bug', 'assertion-failed', 'the daemon serves no volume');
    return { pid: ready.pid, socket: volume.socket, uri: volume.uri, stop };
  }

  /** A command that serves until it is stopped; `ready` is the line of JSON that it begins with. */
  async start<Ready>(args: readonly string[]): Promise<Started<Ready>> {
    const child = this.#spawn([...args, '-o', 'json']);
    this.#served.add(child);
    const ended = collect(child, `caisson ${args.join(' ')}`, Infinity);
    ended.then(
      () => this.#served.delete(child),
      () => this.#served.delete(child),
    );
    const line = await Promise.race([
      firstLine(child),
      ended.then((outcome): never => {
        throw errorOf(args, outcome);
      }),
    ]);
    return {
      ready: JSON.parse(line) as Ready,
      stop: async () => {
        child.kill('SIGTERM');
        const { code, stderr } = await ended;
        if (code !== 0) throw errorOf(args, { code, stdout: '', stderr });
      },
    };
  }

  /** Ends what `serve` left running: the last resort of a clean-up. */
  async endServed(): Promise<void> {
    for (const child of this.#served) {
      const { pid } = child;
      child.kill('SIGTERM');
      if (pid !== undefined && !(await hasEnded(pid))) {
        child.kill('SIGKILL');
        await hasEnded(pid);
      }
    }
  }

  #spawn(args: readonly string[]): ChildProcess {
    const [file = '', ...words] = this.#command;
    return spawn(file, [...words, ...args], {
      cwd: this.#folder,
      env: this.#environment,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
  }
}

/** The launcher that is installed with this file, else this process's own entry point. */
function ownCommand(): readonly string[] {
  let folder = import.meta.dirname;
  while (folder !== path.dirname(folder)) {
    const launcher = path.join(folder, 'bin', 'caisson');
    if (fs.existsSync(launcher) && fs.existsSync(path.join(folder, 'package.json')) && fs.existsSync('/bin/sh'))
      return [launcher];
    folder = path.dirname(folder);
  }
  return [process.execPath, ...process.execArgv, process.argv[1] ?? ''];
}

/** What the command itself said was wrong. */
export function errorOf(args: readonly string[], { code, stderr }: Outcome): CaissonError {
  const lines = stderr.trim().split('\n');
  const line = lines.findLast((text) => text.startsWith('{"error"'));
  if (line !== undefined) return bodyToError(JSON.parse(line) as ErrorBody);
  return new CaissonError('io', 'tool-failed', `"caisson ${args.join(' ')}" ended with ${code}: ${lines.at(-1)}`, {
    remedy: 'Run "caisson doctor" to see whether this machine has what Caisson needs.',
  });
}

/** A program of the system, by its full path. */
export async function runProgram(file: string, args: readonly string[], folder: string): Promise<Outcome> {
  const child = spawn(file, args, {
    cwd: folder,
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  return collect(child, path.basename(file));
}

/** As `runProgram`, for one that must succeed. */
export async function mustRunProgram(file: string, args: readonly string[], folder: string): Promise<string> {
  const { code, stdout, stderr } = await runProgram(file, args, folder);
  if (code === 0) return stdout;
  const name = path.basename(file);
  throw new CaissonError('io', 'tool-failed', `${name} ended with ${code}: ${lastLine(stderr) || lastLine(stdout)}`, {
    remedy: `Run the demo again; if ${name} keeps failing, "caisson demo --way built-in" does without it.`,
  });
}

/** Where a program is, also in the folders that a PATH of an ordinary user leaves out. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(path.delimiter), '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
  for (const folder of folders) {
    if (!folder.startsWith('/')) continue;
    const file = path.join(folder, name);
    try {
      fs.accessSync(file, fs.constants.X_OK);
      return file;
    } catch {
      // Not here; the next folder may have it.
    }
  }
  return undefined;
}

/** True once a process is gone; false when it still runs after a while. A zombie is gone: its parent is just slow. */
export async function hasEnded(pid: number): Promise<boolean> {
  const deadline = performance.now() + demoEndMillisecondsMax;
  while (performance.now() < deadline) {
    if (!isRunning(pid)) return true;
    await sleep(demoPollMilliseconds);
  }
  return false;
}

export function isRunning(pid: number): boolean {
  try {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(fields.substring(fields.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function collect(
  child: ChildProcess,
  what: string,
  millisecondsMax: number = demoCommandMillisecondsMax,
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const texts = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name]?.setEncoding('utf8').on('data', (piece: string) => {
        // The end is what matters: a result is one line, an error is the last one.
        texts[name] = (texts[name] + piece).slice(-demoOutputBytesMax);
      });
    }
    let isLate = false;
    const timer = Number.isFinite(millisecondsMax)
      ? setTimeout(() => {
          isLate = true;
          child.kill('SIGKILL');
        }, millisecondsMax)
      : undefined;
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(
        new CaissonError('io', 'tool-failed', `${what} could not be started: ${error.message}`, {
          remedy: 'See that the file exists and can be run.',
          cause: error,
        }),
      );
    });
    child.once('close', (code) => {
      clearTimeout(timer);
      if (isLate) reject(tooLate(what, millisecondsMax));
      else resolve({ code, ...texts });
    });
  });
}

function tooLate(what: string, millisecondsMax: number): CaissonError {
  return new CaissonError('transient', 'timeout', `${what} took longer than ${millisecondsMax / 1000} s`, {
    remedy: 'The machine is very busy or very slow; run the demo again when it is not.',
  });
}

async function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    child.stdout?.on('data', (piece: string) => {
      text += piece;
      const end = text.indexOf('\n');
      if (end >= 0) resolve(text.substring(0, end));
    });
  });
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
