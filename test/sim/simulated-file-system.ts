/**
 * FileSystem over a simulated disk: deterministic from its seed, with the faults of fault-model.md.
 *
 * Every call is one numbered operation. An asynchronous one waits in a queue; one of those waiting,
 * chosen by the seed, takes effect at a time, after all other code has come to rest. One instance is
 * one process; several may be attached to one disk.
 *
 * Invariant: nothing here reads a real clock or a real random source.
 */
import { createHash } from 'node:crypto';
import { assert } from '../../src/lib/assert.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import type { Region } from '../../src/lib/region.ts';
import { fileError } from '../../src/store/file-errors.ts';
import type { FileHandle, FileLock, FileSystem } from '../../src/store/file-system.ts';
import type { SeededRandom } from './random.ts';
import { FileNode, FolderNode, SimulatedDisk } from './simulated-disk.ts';
import type { DiskNode } from './simulated-disk.ts';

/** What a test asks to go wrong. Numbers count the operations of this world from 1. */
export interface FaultPlan {
  /** This operation fails before it has any effect. */
  failAt?: number | undefined;
  /** From `failAt` on, everything that changes the disk fails. */
  keepsFailing?: boolean;
  failWith?: 'EIO' | 'ENOSPC';
  /** This operation takes effect and is answered with EIO. */
  loseAnswerAt?: number | undefined;
  /** The power fails in the middle of this operation. */
  powerFailureAt?: number | undefined;
  /** `readNow` misses the cache once in so many; 0: never. */
  readNowMissOneIn?: number;
}

interface Waiting {
  readonly owner: SimulatedFileSystem;
  readonly run: () => void;
  /** What may happen when the process or the power dies before `run`. */
  readonly abandon: (mayApply: boolean) => void;
}

/** The disk, the queue and the faults that all processes of one simulated machine share. */
export class SimulatedMachine {
  readonly disk: SimulatedDisk;
  readonly random: SeededRandom;
  readonly faults: FaultPlan;
  operationCount = 0;
  /** How many injected faults came about: a sweep ends when a run meets none. */
  faultCount = 0;
  readonly #digest = createHash('sha256');
  #waiting: Waiting[] = [];
  #isPumping = false;
  readonly #processes = new Set<SimulatedFileSystem>();
  readonly locks = new Map<DiskNode, SimulatedFileSystem>();

  constructor(random: SeededRandom, options: { readonly disk?: SimulatedDisk; readonly faults?: FaultPlan } = {}) {
    this.random = random;
    this.disk = options.disk ?? new SimulatedDisk(random.fork());
    this.faults = options.faults ?? {};
  }

  /** Starts a process: a file system of its own, with handles and locks that die with it. */
  attach(): SimulatedFileSystem {
    const process = new SimulatedFileSystem(this);
    this.#processes.add(process);
    return process;
  }

  get isBusy(): boolean {
    return this.#waiting.length > 0;
  }

  /** A digest of every operation so far: equal for equal seeds. */
  digest(): string {
    return this.#digest.copy().digest('hex');
  }

  /** Those that are alive. */
  get processes(): ReadonlySet<SimulatedFileSystem> {
    return this.#processes;
  }

  powerFailure(): void {
    this.#abandonAll(() => true);
    for (const process of this.#processes) process.die();
    this.#processes.clear();
    this.locks.clear();
    this.disk.powerFailure();
    this.record('power failure', '', '');
  }

  kill(process: SimulatedFileSystem): void {
    this.#abandonAll((waiting) => waiting.owner === process);
    process.die();
    this.#processes.delete(process);
    for (const [node, owner] of [...this.locks]) if (owner === process) this.locks.delete(node);
    this.record('kill', '', '');
  }

  enqueue(waiting: Waiting): void {
    this.#waiting.push(waiting);
    if (!this.#isPumping) {
      this.#isPumping = true;
      setImmediate(() => this.#pump());
    }
  }

  /** Numbers the operation and says what its fault is. */
  begin(name: string, path: string): 'none' | 'fail' | 'lose' {
    const number = ++this.operationCount;
    const { failAt, loseAnswerAt, powerFailureAt, keepsFailing } = this.faults;
    if (number === powerFailureAt) {
      this.faultCount++;
      this.powerFailure();
      throw processDead(path);
    }
    if (number === failAt || (keepsFailing === true && failAt !== undefined && number > failAt && changesDisk(name))) {
      this.faultCount++;
      return 'fail';
    }
    if (number !== loseAnswerAt) return 'none';
    this.faultCount++;
    return 'lose';
  }

  record(name: string, path: string, outcome: string, bytes?: Uint8Array): void {
    this.#digest.update(`${this.operationCount} ${name} ${path} ${outcome}\n`);
    if (bytes !== undefined) this.#digest.update(bytes);
  }

  #pump(): void {
    const index = this.random.below(this.#waiting.length);
    const [next] = this.#waiting.splice(index, 1);
    next?.run();
    this.#isPumping = this.#waiting.length > 0;
    if (this.#isPumping) setImmediate(() => this.#pump());
  }

  #abandonAll(which: (waiting: Waiting) => boolean): void {
    const abandoned = this.#waiting.filter(which);
    this.#waiting = this.#waiting.filter((waiting) => !which(waiting));
    for (const waiting of abandoned) waiting.abandon(this.random.oneIn(2));
  }
}

export class SimulatedFileSystem implements FileSystem {
  readonly machine: SimulatedMachine;
  #isAlive = true;

  constructor(machine: SimulatedMachine) {
    this.machine = machine;
  }

  /** Called by the machine alone. */
  die(): void {
    this.#isAlive = false;
  }

  open(path: string, mode: 'exclusive' | 'read' | 'update'): Promise<FileHandle> {
    return this.later(`open ${mode}`, path, () => {
      const { disk } = this.machine;
      const found = disk.find(path);
      if (mode !== 'exclusive') return new SimulatedFileHandle(this, path, this.#fileAt(path));
      if (found !== undefined) throw failure('EEXIST', 'open', path);
      const file = disk.newFile();
      this.#folderOf(path).change([], [nameOf(path), file]);
      return new SimulatedFileHandle(this, path, file);
    });
  }

  readFile(path: string, bytesMax: number): Promise<Uint8Array> {
    return this.later('readFile', path, () => this.#contentOf(path, bytesMax));
  }

  readFileNow(path: string, bytesMax: number): Uint8Array {
    return this.now('readFileNow', path, () => this.#contentOf(path, bytesMax));
  }

  stat(path: string): Promise<{ readonly identity: string; readonly size: number; readonly isDirectory: boolean }> {
    return this.later('stat', path, () => {
      const node = this.machine.disk.find(path);
      if (node === undefined) throw failure('ENOENT', 'stat', path);
      const [size, changes] = node instanceof FileNode ? [node.size, node.changeCount] : [0, 0];
      return { identity: `${node.id}:${size}:${changes}`, size, isDirectory: node instanceof FolderNode };
    });
  }

  link(from: string, to: string): Promise<void> {
    return this.later('link', `${from} ${to}`, () => {
      const file = this.#fileAt(from);
      const folder = this.#folderOf(to);
      if (folder.live.has(nameOf(to))) throw failure('EEXIST', 'link', to);
      folder.change([], [nameOf(to), file]);
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.later('rename', `${from} ${to}`, () => {
      const file = this.#fileAt(from);
      const [source, target] = [this.#folderOf(from), this.#folderOf(to)];
      const found = target.live.get(nameOf(to));
      if (found instanceof FolderNode) throw failure('EISDIR', 'rename', to);
      if (found === file) return; // POSIX: two names of one file, nothing happens
      if (source === target) return source.change([nameOf(from)], [nameOf(to), file]);
      target.change([], [nameOf(to), file]);
      source.change([nameOf(from)]);
    });
  }

  unlink(path: string): Promise<void> {
    return this.later('unlink', path, () => {
      const node = this.machine.disk.find(path);
      if (node === undefined) return;
      if (node instanceof FolderNode) throw failure('EISDIR', 'remove', path);
      this.#folderOf(path).change([nameOf(path)]);
    });
  }

  list(path: string): Promise<string[]> {
    return this.later('list', path, () => {
      const node = this.machine.disk.find(path);
      if (node instanceof FileNode) throw failure('ENOTDIR', 'list', path);
      return [...(node?.live.keys() ?? [])];
    });
  }

  makeDirectory(path: string): Promise<void> {
    return this.later('makeDirectory', path, () => {
      let folder = this.machine.disk.root;
      for (const name of path.split('/').filter((part) => part !== '')) {
        const found = folder.live.get(name);
        if (found instanceof FileNode) throw failure('EEXIST', 'make the folder', path);
        const child = found ?? this.machine.disk.newFolder();
        if (found === undefined) folder.change([], [name, child]);
        folder.sync(folder.syncMark());
        folder = child;
      }
    });
  }

  removeDirectory(path: string): Promise<void> {
    return this.later('removeDirectory', path, () => {
      const node = this.machine.disk.find(path);
      if (node instanceof FolderNode && node.live.size === 0) this.#folderOf(path).change([nameOf(path)]);
    });
  }

  syncDirectory(path: string): Promise<void> {
    const asked = this.machine.disk.find(path);
    const mark = asked instanceof FolderNode ? asked.syncMark() : 0;
    return this.later('syncDirectory', path, () => {
      if (!(asked instanceof FolderNode)) throw failure('ENOENT', 'sync', path);
      asked.sync(mark);
    });
  }

  lock(path: string): Promise<FileLock | undefined> {
    return this.later('lock', path, () => {
      const { disk, locks } = this.machine;
      const folder = this.#folderOf(path);
      const node = folder.live.get(nameOf(path)) ?? disk.newFile();
      if (!folder.live.has(nameOf(path))) folder.change([], [nameOf(path), node]);
      if (locks.has(node)) return undefined;
      locks.set(node, this);
      let held = true;
      return {
        release: () =>
          this.later('unlock', path, () => {
            if (held) locks.delete(node);
            held = false;
          }),
      };
    });
  }

  /** An operation that is answered some time later. `partly`, for writes: what of it may happen although nobody is there to be told. */
  later<T>(name: string, path: string, apply: () => T, content?: Uint8Array, failSync?: () => void): Promise<T> {
    if (!this.#isAlive) return Promise.reject(processDead(path));
    return new Promise<T>((resolve, reject) => {
      const run = (): void => {
        try {
          resolve(this.#perform(name, path, apply, content, failSync));
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      };
      const abandon = (mayApply: boolean): void => {
        if (mayApply && changesDisk(name)) {
          try {
            apply();
          } catch (error) {
            if (!(error instanceof CaissonError)) throw error; // an ordinary failure that nobody hears of
          }
        }
        reject(processDead(path));
      };
      this.machine.enqueue({ owner: this, run, abandon });
    });
  }

  now<T>(name: string, path: string, apply: () => T, content?: Uint8Array): T {
    if (!this.#isAlive) throw processDead(path);
    return this.#perform(name, path, apply, content);
  }

  #perform<T>(name: string, path: string, apply: () => T, content?: Uint8Array, failSync?: () => void): T {
    const { machine } = this;
    const fault = machine.begin(name, path);
    if (fault === 'fail') {
      failSync?.();
      machine.record(name, path, 'failed');
      throw failure(machine.faults.failWith ?? 'EIO', name, path);
    }
    try {
      const result = apply();
      machine.record(name, path, fault, content);
      if (fault === 'lose') throw failure('EIO', name, path);
      return result;
    } catch (error) {
      if (error instanceof CaissonError) machine.record(name, path, error.code);
      throw error;
    }
  }

  #contentOf(path: string, bytesMax: number): Uint8Array {
    const file = this.#fileAt(path);
    if (file.size > bytesMax) {
      throw new CaissonError(
        'invalid',
        'object-too-large',
        `${path} has ${file.size} bytes, more than the ${bytesMax} allowed`,
      );
    }
    return new Uint8Array(file.live.subarray(0, file.size));
  }

  #fileAt(path: string): FileNode {
    const node = this.machine.disk.find(path);
    if (!(node instanceof FileNode)) throw failure('ENOENT', 'open', path);
    return node;
  }

  #folderOf(path: string): FolderNode {
    const folder = this.machine.disk.find(path.substring(0, path.lastIndexOf('/')));
    if (!(folder instanceof FolderNode)) throw failure('ENOENT', 'open', path);
    return folder;
  }
}

class SimulatedFileHandle implements FileHandle {
  readonly #fileSystem: SimulatedFileSystem;
  readonly #path: string;
  readonly #file: FileNode;
  #isClosed = false;

  constructor(fileSystem: SimulatedFileSystem, path: string, file: FileNode) {
    this.#fileSystem = fileSystem;
    this.#path = path;
    this.#file = file;
  }

  async size(): Promise<number> {
    this.#checkOpen();
    return this.#fileSystem.later('size', this.#path, () => this.#file.size);
  }

  async read(position: number, length: number, target: Region, targetOffset: number): Promise<number> {
    this.#checkRange(position, length, target, targetOffset);
    return this.#fileSystem.later(`read ${position} ${length}`, this.#path, () =>
      this.#copyOut(position, length, target, targetOffset),
    );
  }

  readNow(position: number, length: number, target: Region, targetOffset: number): number {
    this.#checkRange(position, length, target, targetOffset);
    const { random, faults } = this.#fileSystem.machine;
    if (random.oneIn(faults.readNowMissOneIn ?? 4)) return -1;
    return this.#fileSystem.now(`readNow ${position} ${length}`, this.#path, () => {
      if (position + length > this.#file.size) return -1;
      return this.#copyOut(position, length, target, targetOffset);
    });
  }

  async write(position: number, length: number, source: Region, sourceOffset: number): Promise<void> {
    this.#checkRange(position, length, source, sourceOffset);
    // The bytes are taken when the write takes effect, as a kernel does: a caller that reuses the
    // region too early is caught.
    const content = source.bytes.subarray(sourceOffset, sourceOffset + length);
    return this.#fileSystem.later(
      `write ${position} ${length}`,
      this.#path,
      () => this.#write(position, content),
      content,
    );
  }

  writeNow(position: number, length: number, source: Region, sourceOffset: number): void {
    this.#checkRange(position, length, source, sourceOffset);
    const content = source.bytes.subarray(sourceOffset, sourceOffset + length);
    this.#fileSystem.now(`writeNow ${position} ${length}`, this.#path, () => this.#write(position, content), content);
  }

  async truncate(length: number): Promise<void> {
    this.#checkOpen();
    return this.#fileSystem.later(`truncate ${length}`, this.#path, () => this.#file.truncate(length));
  }

  async sync(): Promise<void> {
    this.#checkOpen();
    const mark = this.#file.syncMark();
    return this.#fileSystem.later(
      'sync',
      this.#path,
      () => this.#file.sync(mark),
      undefined,
      () => this.#file.failSync(),
    );
  }

  /** What was discarded reads as zeroes at once; a power failure may bring back any sector of it. */
  async discard(position: number, length: number): Promise<boolean> {
    this.#checkOpen();
    return this.#fileSystem.later(`discard ${position} ${length}`, this.#path, () => {
      this.#file.write(position, new Uint8Array(Math.max(0, Math.min(length, this.#file.size - position))));
      return true;
    });
  }

  async watch(): Promise<(() => boolean) | undefined> {
    this.#checkOpen();
    const { machine } = this.#fileSystem;
    if (machine.random.oneIn(8)) return undefined;
    const { changeCount } = this.#file;
    return () => {
      this.#checkOpen();
      return this.#fileSystem.now(
        'stat watched',
        this.#path,
        () => machine.disk.find(this.#path) === this.#file && this.#file.changeCount === changeCount,
      );
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #write(position: number, content: Uint8Array): void {
    const { disk } = this.#fileSystem.machine;
    const growth = Math.max(0, position + content.length - this.#file.size);
    if (growth > 0 && disk.capacityBytes < Number.MAX_SAFE_INTEGER && disk.usedBytes() + growth > disk.capacityBytes) {
      throw failure('ENOSPC', 'write', this.#path);
    }
    this.#file.write(position, content);
  }

  #copyOut(position: number, length: number, target: Region, targetOffset: number): number {
    const count = Math.max(0, Math.min(length, this.#file.size - position));
    target.bytes.set(this.#file.live.subarray(position, position + count), targetOffset);
    return count;
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new CaissonError('closed', 'store-closed', `${this.#path} was closed`);
  }

  #checkRange(position: number, length: number, region: Region, offset: number): void {
    this.#checkOpen();
    assert(Number.isSafeInteger(position) && position >= 0, `file position ${position}`);
    assert(
      length >= 0 && offset >= 0 && offset + length <= region.length,
      `range ${offset}+${length} of a region of ${region.length} bytes`,
    );
  }
}

/** Reads fail once; only what changes the disk goes on failing, and may happen after its caller died. */
function changesDisk(name: string): boolean {
  return !/^(?:read|list|stat|size|open read|open update|lock|unlock)/.test(name);
}

function nameOf(path: string): string {
  return path.substring(path.lastIndexOf('/') + 1);
}

function failure(errno: string, operation: string, path: string): CaissonError {
  return fileError(Object.assign(new Error(`${errno} (simulated)`), { code: errno }), operation, path);
}

function processDead(path: string): CaissonError {
  return new CaissonError('closed', 'store-closed', `the process that had ${path} open is dead`);
}
