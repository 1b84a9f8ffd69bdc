/**
 * The demo's own folder: home, configuration, state, sockets, stores, all new and all its own, so that
 * two demos never meet and nothing of the user's is touched. Cleaning up undoes mounts first, ends
 * daemons next, and removes the folder only when nothing is mounted in it any more.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { DaemonStatus } from '../../admin/schema.ts';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { socketPathBytesMax } from '../../lib/folders.ts';
import { demoEndMillisecondsMax, demoUnmountPollMilliseconds } from '../../lib/limits.ts';
import { CaissonCommand, findProgram, hasEnded, isRunning, runProgram, sleep } from './caisson.ts';

const prefix = 'caisson-demo-';
const longestSocketName = '/sealed.sock';

export class Workspace {
  readonly folder: string;
  readonly caisson: CaissonCommand;
  /** How a shell gets to the volumes of a demo that was kept. */
  readonly variables: Readonly<Record<string, string>>;
  readonly #runtime: string;
  /** Every daemon the demo saw, in case one outlives its folder's sockets. */
  readonly #daemons = new Set<number>();

  constructor(parent: string) {
    this.folder = makeFolder(parent);
    const inside = path.join(this.folder, 'run');
    const isShort = Buffer.byteLength(inside + longestSocketName) <= socketPathBytesMax;
    this.#runtime = isShort ? inside : makeFolder('/tmp');
    this.variables = {
      CAISSON_CONFIG: path.join(this.folder, 'configuration', 'config.yaml'),
      CAISSON_STATE: path.join(this.folder, 'state'),
      CAISSON_RUNTIME: this.#runtime,
    };
    fs.mkdirSync(path.join(this.folder, 'home'));
    const environment = { ...process.env, ...this.variables, HOME: path.join(this.folder, 'home') };
    this.caisson = new CaissonCommand(environment, this.folder);
  }

  path(...names: string[]): string {
    return path.join(this.folder, ...names);
  }

  store(volume: string): string {
    return this.path('stores', volume);
  }

  noteDaemon(pid: number): void {
    this.#daemons.add(pid);
  }

  async cleanUp(isKept: boolean): Promise<void> {
    await this.caisson.endServed();
    for (const volume of this.#mountRecords()) await this.#unmount(volume);
    await this.#stopDaemon();
    for (const pid of this.#daemons) {
      if (!isRunning(pid)) continue;
      process.kill(pid, 'SIGKILL');
      await hasEnded(pid);
    }
    await this.#unmountRest();
    if (this.#runtime !== this.path('run')) fs.rmSync(this.#runtime, { recursive: true, force: true });
    if (!isKept) fs.rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }

  #mountRecords(): string[] {
    const folder = this.path('state', 'mounts');
    if (!fs.existsSync(folder)) return [];
    return fs.readdirSync(folder).flatMap((name) => (name.endsWith('.json') ? [name.replace(/\.json$/, '')] : []));
  }

  /** A mount that an interrupted command began may still be on its way: "busy" is worth waiting for. */
  async #unmount(volume: string): Promise<void> {
    const deadline = performance.now() + demoEndMillisecondsMax;
    do {
      const { code } = await this.caisson.run(['umount', volume]);
      if (code === 0) return;
      await sleep(demoUnmountPollMilliseconds);
    } while (performance.now() < deadline && this.#mountRecords().includes(volume));
  }

  async #stopDaemon(): Promise<void> {
    if (!fs.existsSync(path.join(this.#runtime, 'admin.sock'))) return;
    const { code, stdout } = await this.caisson.run(['status']);
    if (code !== 0) return;
    const { pid } = JSON.parse(stdout) as DaemonStatus;
    await this.caisson.run(['stop']);
    if (!(await hasEnded(pid))) this.noteDaemon(pid);
  }

  /** The last resort, for what no record tells of: removing the folder must never reach into a mount. */
  async #unmountRest(): Promise<void> {
    const umount = findProgram('umount');
    for (const mountPoint of this.#mountPoints()) {
      if (umount !== undefined) await runProgram(umount, ['-l', mountPoint], '/');
    }
    const [left] = this.#mountPoints();
    if (left === undefined) return;
    throw new CaissonError('io', 'mount-failed', `${left} is still mounted, so ${this.folder} was not removed`, {
      remedy: `Run "umount -l ${left}", then remove ${this.folder}.`,
    });
  }

  /** The innermost first. */
  #mountPoints(): string[] {
    const table = fs.readFileSync('/proc/self/mountinfo', 'utf8');
    const unescape = (text: string): string =>
      text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
    return table
      .split('\n')
      .map((line) => unescape(line.split(' ')[4] ?? ''))
      .filter((mountPoint) => mountPoint.startsWith(`${this.folder}/`))
      .reverse();
  }
}

export function defaultParent(): string {
  return os.tmpdir();
}

/** Real path: the kernel's tables show no other. */
function makeFolder(parent: string): string {
  try {
    return fs.mkdtempSync(path.join(fs.realpathSync(parent), prefix));
  } catch (error) {
    throw new CaissonError('invalid', 'argument-invalid', `no folder can be made in ${parent}: ${messageOf(error)}`, {
      remedy: 'Give a folder that exists and can be written: "caisson demo --folder DIRECTORY".',
      cause: error,
    });
  }
}
