/** The real caisson command, each test with a home of its own. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

const entry = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const launcher = fileURLToPath(new URL('../../bin/caisson', import.meta.url));
const commandMillisecondsMax = 60_000;
/** A daemon serves for as long as its test runs, so its bound is the runner's. */
const serveMillisecondsMax = 300_000;

/** How the command is started: its program by this Node, or as a person does. */
const commands = {
  program: [process.execPath, '--disable-warning=ExperimentalWarning', entry],
  launcher: [launcher],
} as const;

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Served {
  readonly child: ChildProcess;
  readonly ready: {
    readonly volumes: { name: string; socket: string; uri: string }[];
    readonly adminSocket: string;
    tcp: string | null;
  };
  readonly stderr: () => string;
  /** Resolves when the process ended. */
  readonly ended: Promise<Outcome>;
}

export class Home {
  readonly folder: string;
  readonly environment: Record<string, string>;
  /** What must be undone before the folder can go, such as mounts in it. */
  readonly clearing: (() => Promise<unknown>)[] = [];

  readonly #command: readonly [string, ...string[]];

  constructor(context: TestContext, command: keyof typeof commands = 'program') {
    this.#command = commands[command];
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-home-'));
    const { PATH = '' } = process.env;
    this.environment = { PATH, HOME: this.folder, XDG_RUNTIME_DIR: path.join(this.folder, 'run') };
    context.after(async () => {
      await this.run(['stop']);
      for (const clear of this.clearing.toReversed()) await clear();
      fs.rmSync(this.folder, { recursive: true, force: true });
    });
  }

  get store(): string {
    return path.join(this.folder, 'store');
  }

  path(...parts: string[]): string {
    return path.join(this.folder, ...parts);
  }

  write(name: string, text: string): string {
    const file = this.path(name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text, { mode: 0o600 });
    return file;
  }

  /** A key file, which opens a volume without the deliberate slowness of a passphrase. */
  keyFile(name = 'key'): string {
    return this.write(name, `${Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex')}\n`);
  }

  spawn(args: readonly string[], input?: string): ChildProcess {
    const child = this.spawnOpen(args);
    child.stdin?.end(input ?? '');
    return child;
  }

  /** Its standard input stays open. */
  spawnOpen(args: readonly string[]): ChildProcess {
    const [program, ...first] = this.#command;
    const child = spawn(program, [...first, ...args], {
      env: this.environment,
      cwd: this.folder,
      stdio: 'pipe',
    });
    child.stdin?.on('error', () => undefined);
    return child;
  }

  /** A shell script of this home that gets the command as its arguments; it must succeed. */
  async script(name: string): Promise<Outcome> {
    const child = spawn('bash', [this.path(name), ...this.#command], {
      env: this.environment,
      cwd: this.folder,
      stdio: 'pipe',
    });
    child.stdin.end();
    const outcome = await collect(child);
    if (outcome.code !== 0) throw new Error(`${name} gave ${outcome.code}: ${outcome.stderr}`);
    return outcome;
  }

  async run(args: readonly string[], input?: string): Promise<Outcome> {
    return collect(this.spawn(args, input));
  }

  /** As `run`, for a command that must succeed: its JSON. */
  async json(args: readonly string[], input?: string): Promise<Record<string, never>> {
    const outcome = await this.run(['-o', 'json', ...args], input);
    if (outcome.code !== 0) throw new Error(`caisson ${args.join(' ')} gave ${outcome.code}: ${outcome.stderr}`);
    return JSON.parse(outcome.stdout) as Record<string, never>;
  }

  /** As `run`, for a command that must fail: exit code and error. */
  async error(
    args: readonly string[],
    input?: string,
  ): Promise<{ exit: number | null; code: string; kind: string; message: string; remedy: string | null }> {
    const { code: exit, stderr, stdout } = await this.run(['-o', 'json', ...args], input);
    const line = stderr
      .trim()
      .split('\n')
      .findLast((text) => text.startsWith('{"error"'));
    if (line === undefined) throw new Error(`caisson ${args.join(' ')} gave ${exit}, ${stdout} and ${stderr}`);
    const { error } = JSON.parse(line) as {
      error: { code: string; kind: string; message: string; remedy: string | null };
    };
    return { exit, ...error };
  }

  /** A sealed volume with a key file that its name leads to. */
  async createVolume(name: string, size = '16M', store = this.store): Promise<string> {
    const key = this.keyFile(`${name}.key`);
    await this.json(['volume', 'create', name, '--size', size, '--store', store, '--key-file', key]);
    return key;
  }

  async serve(args: readonly string[]): Promise<Served> {
    const child = this.spawn(['serve', ...args, '-o', 'json']);
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (piece: string) => (stderr += piece));
    const ended = collect(child, serveMillisecondsMax);
    const ready = await firstLine(child, ended);
    return { child, ready: JSON.parse(ready) as Served['ready'], stderr: () => stderr, ended };
  }
}

function collect(child: ChildProcess, milliseconds = commandMillisecondsMax): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    let stdout = '';
    let stderr = '';
    child.stdout?.setEncoding('utf8').on('data', (piece: string) => (stdout += piece));
    child.stderr?.setEncoding('utf8').on('data', (piece: string) => (stderr += piece));
    const timer = setTimeout(() => child.kill('SIGKILL'), milliseconds);
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr: signal === null ? stderr : `${stderr}\nended by ${signal}` });
    });
  });
}

async function firstLine(child: ChildProcess, ended: Promise<Outcome>): Promise<string> {
  const line = new Promise<string>((resolve) => {
    let text = '';
    child.stdout?.on('data', (piece: string) => {
      text += piece;
      const end = text.indexOf('\n');
      if (end >= 0) resolve(text.substring(0, end));
    });
  });
  const failed = ended.then(({ code, stderr }): never => {
    throw new Error(`caisson serve ended with ${code}: ${stderr}`);
  });
  // Once the line is there, the end of the process is somebody else's business.
  failed.catch(() => undefined);
  return Promise.race([line, failed]);
}
