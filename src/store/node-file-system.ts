/**
 * FileSystem over node:fs: the only file that reaches the real disk for a store or an anchor.
 *
 * Small metadata calls (stat, link, rename, whole small files) are made synchronously: a round trip
 * through the thread pool costs 20-70 us, the call 2-8 us. Whatever may wait for the medium (reads
 * of objects, writes, syncs) goes through the pool. Paths are absolute.
 */
import fs from 'node:fs';
import path from 'node:path';
import { assert } from '../lib/assert.ts';
import { systemClock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import type { Region } from '../lib/region.ts';
import { deviceNumber } from '../sys/block-device-facts.ts';
import { nativeFiles, readNowUnsupported } from '../sys/files.ts';
import { errnoOf, fileError } from './file-errors.ts';
import { lockFile } from './file-lock.ts';
import type { FileHandle, FileLock, FileSystem } from './file-system.ts';
import { SyncPace } from './sync-pace.ts';

/** File systems that keep their bytes in memory, where a read never waits for a medium. */
const memoryFileSystemTypes: ReadonlySet<number> = new Set([0x01021994 /* tmpfs */, 0x858458f6 /* ramfs */]);
/** File systems whose metadata is always that of this moment. */
const localFileSystemTypes: ReadonlySet<number> = new Set([
  ...memoryFileSystemTypes,
  0xef53 /* ext2, 3, 4 */,
  0x58465342 /* XFS */,
  0x9123683e /* Btrfs */,
]);

/** How a file answers `readNow`: by preadv2(RWF_NOWAIT), by a plain read since it lies in memory, or never. */
type ReadNowWay = 'nowait' | 'plain' | 'never';

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_DIRECTORY } = fs.constants;

const openFlags = { exclusive: O_RDWR | O_CREAT | O_EXCL, read: O_RDONLY, update: O_RDWR } as const;

class NodeFileSystem implements FileSystem {
  async open(filePath: string, mode: keyof typeof openFlags): Promise<FileHandle> {
    const isDevice = mode !== 'exclusive' && fs.statSync(filePath, { throwIfNoEntry: false })?.isBlockDevice() === true;
    // Without O_CREAT the flag claims a block device: the kernel then lets nobody mount it, nor another claim it.
    const flags = isDevice && mode === 'update' ? O_RDWR | O_EXCL : openFlags[mode];
    const descriptor = attempt('open', filePath, () => fs.openSync(filePath, flags, 0o600));
    try {
      const found = fs.fstatSync(descriptor);
      if (found.isBlockDevice()) {
        const bytes = deviceBytes(descriptor, found.rdev);
        const way = nativeFiles === undefined ? 'never' : 'nowait';
        return new NodeFileHandle(descriptor, filePath, way, false, bytes);
      }
      if (!found.isFile()) throw notAFile(filePath);
      const { type } = fs.statfsSync(filePath);
      const way = memoryFileSystemTypes.has(type) ? 'plain' : nativeFiles === undefined ? 'never' : 'nowait';
      return new NodeFileHandle(descriptor, filePath, way, localFileSystemTypes.has(type));
    } catch (error) {
      fs.closeSync(descriptor);
      throw error instanceof CaissonError ? error : fileError(error, 'open', filePath);
    }
  }

  async readFile(filePath: string, bytesMax: number): Promise<Uint8Array> {
    return this.readFileNow(filePath, bytesMax);
  }

  readFileNow(filePath: string, bytesMax: number): Uint8Array {
    return attempt('read', filePath, () => {
      const descriptor = fs.openSync(filePath, O_RDONLY);
      try {
        const found = fs.fstatSync(descriptor);
        if (!found.isFile()) throw notAFile(filePath);
        const size = found.size;
        if (size > bytesMax) throw tooLarge(filePath, size, bytesMax);
        const bytes = new Uint8Array(size);
        const count = readFully(descriptor, bytes);
        return count === size ? bytes : bytes.subarray(0, count);
      } finally {
        fs.closeSync(descriptor);
      }
    });
  }

  async stat(
    filePath: string,
  ): Promise<{ readonly identity: string; readonly size: number; readonly isDirectory: boolean }> {
    return attempt('stat', filePath, () => {
      const found = fs.statSync(filePath, { bigint: true });
      return {
        identity: `${found.dev}:${found.ino}:${found.size}:${found.mtimeNs}`,
        size: Number(found.size),
        isDirectory: found.isDirectory(),
      };
    });
  }

  async link(from: string, to: string): Promise<void> {
    try {
      fs.linkSync(from, to);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno !== 'EPERM' && errno !== 'ENOTSUP' && errno !== 'EOPNOTSUPP' && errno !== 'ENOSYS')
        throw fileError(error, 'link', to);
      throw new CaissonError('invalid', 'unsupported', `this file system has no hard links: ${to}`, {
        remedy: 'Put the store on a file system with hard links, such as ext4, XFS, Btrfs or tmpfs.',
        details: { errno, path: to },
        cause: error,
      });
    }
  }

  async rename(from: string, to: string): Promise<void> {
    attempt('rename', to, () => fs.renameSync(from, to));
  }

  async unlink(filePath: string): Promise<void> {
    attempt('remove', filePath, () => fs.unlinkSync(filePath), ['ENOENT', 'ENOTDIR']);
  }

  async list(folder: string): Promise<string[]> {
    return attempt('list', folder, () => fs.readdirSync(folder), ['ENOENT']) ?? [];
  }

  async makeDirectory(folder: string): Promise<void> {
    const parent = path.dirname(folder);
    try {
      fs.mkdirSync(folder, 0o700);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === 'ENOENT' && parent !== folder) {
        await this.makeDirectory(parent);
        return this.makeDirectory(folder);
      }
      const isFolder = fs.statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
      if (!isFolder) throw fileError(error, 'make the folder', folder);
      // Its maker may not have synced the name yet. A folder that we may only enter was made by others, long ago.
      return this.syncDirectory(parent).catch((refusal: unknown) => {
        if (errnoOf((refusal as CaissonError).cause) !== 'EACCES') throw refusal;
      });
    }
    await this.syncDirectory(parent);
  }

  async removeDirectory(folder: string): Promise<void> {
    attempt('remove', folder, () => fs.rmdirSync(folder), ['ENOENT', 'ENOTEMPTY', 'EEXIST', 'ENOTDIR']);
  }

  async syncDirectory(folder: string): Promise<void> {
    const descriptor = attempt('sync', folder, () => fs.openSync(folder, O_RDONLY | O_DIRECTORY));
    try {
      await new Promise<void>((resolve, reject) => {
        fs.fsync(descriptor, (error) => (error === null ? resolve() : reject(fileError(error, 'sync', folder))));
      });
    } finally {
      fs.closeSync(descriptor);
    }
  }

  lock(filePath: string): Promise<FileLock | undefined> {
    return lockFile(filePath, nativeFiles);
  }
}

/**
 * Invariant: the descriptor is closed only when no operation is in flight, since the kernel gives its
 * number away at once and a late read would hit another file.
 */
class NodeFileHandle implements FileHandle {
  readonly #descriptor: number;
  readonly #path: string;
  #readNowWay: ReadNowWay;
  readonly #syncPace = new SyncPace();
  #unsyncedBytes = 0;
  #inFlightCount = 0;
  #closing: Promise<void> | undefined;
  #whenIdle: (() => void) | undefined;

  readonly #isLocal: boolean;
  /** Of a block device; undefined for a file. */
  readonly #deviceBytes: number | undefined;

  constructor(descriptor: number, filePath: string, readNowWay: ReadNowWay, isLocal: boolean, deviceBytes?: number) {
    this.#deviceBytes = deviceBytes;
    this.#descriptor = descriptor;
    this.#path = filePath;
    this.#readNowWay = readNowWay;
    this.#isLocal = isLocal;
  }

  async size(): Promise<number> {
    this.#checkOpen();
    return this.#deviceBytes ?? attempt('stat', this.#path, () => fs.fstatSync(this.#descriptor).size);
  }

  async read(position: number, length: number, target: Region, targetOffset: number): Promise<number> {
    this.#checkRange(position, length, target, targetOffset);
    this.#begin();
    return new Promise((resolve, reject) => {
      let done = 0;
      const step = (error: unknown, count: number): void => {
        if (error !== null) {
          this.#end();
          return reject(fileError(error, 'read', this.#path));
        }
        done += count;
        if (count === 0 || done === length) {
          this.#end();
          return resolve(done);
        }
        fs.read(this.#descriptor, target.bytes, targetOffset + done, length - done, position + done, step);
      };
      fs.read(this.#descriptor, target.bytes, targetOffset, length, position, step);
    });
  }

  /** A short count is -1 too: part of the range may be cached, or the file may end; `read` tells which. */
  readNow(position: number, length: number, target: Region, targetOffset: number): number {
    this.#checkRange(position, length, target, targetOffset);
    if (this.#readNowWay === 'never') return -1;
    if (this.#readNowWay === 'plain') {
      const count = attempt('read', this.#path, () =>
        fs.readSync(this.#descriptor, target.bytes, targetOffset, length, position),
      );
      return count === length ? count : -1;
    }
    const count = nativeFiles!.readNow(this.#descriptor, position, length, target, targetOffset);
    if (count === readNowUnsupported) this.#readNowWay = 'never'; // FUSE, NFS, some overlays
    return count === length ? count : -1;
  }

  async write(position: number, length: number, source: Region, sourceOffset: number): Promise<void> {
    this.#checkRange(position, length, source, sourceOffset);
    this.#unsyncedBytes += length;
    this.#begin();
    return new Promise((resolve, reject) => {
      let done = 0;
      const step = (error: unknown, count: number): void => {
        if (error !== null) {
          this.#end();
          return reject(fileError(error, 'write', this.#path));
        }
        done += count;
        if (done === length) {
          this.#end();
          return resolve();
        }
        fs.write(this.#descriptor, source.bytes, sourceOffset + done, length - done, position + done, step);
      };
      fs.write(this.#descriptor, source.bytes, sourceOffset, length, position, step);
    });
  }

  writeNow(position: number, length: number, source: Region, sourceOffset: number): void {
    this.#checkRange(position, length, source, sourceOffset);
    this.#unsyncedBytes += length;
    attempt('write', this.#path, () => {
      for (let done = 0; done < length;) {
        done += fs.writeSync(this.#descriptor, source.bytes, sourceOffset + done, length - done, position + done);
      }
    });
  }

  async truncate(length: number): Promise<void> {
    this.#checkOpen();
    this.#begin();
    return new Promise((resolve, reject) => {
      fs.ftruncate(this.#descriptor, length, (error) => {
        this.#end();
        if (error !== null) reject(fileError(error, 'truncate', this.#path));
        else resolve();
      });
    });
  }

  async sync(): Promise<void> {
    this.#checkOpen();
    const bytes = this.#unsyncedBytes;
    this.#unsyncedBytes = 0;
    const started = systemClock.monotonic();
    if (this.#inFlightCount === 0 && this.#syncPace.isQuick(bytes)) {
      attempt('sync', this.#path, () => fs.fdatasyncSync(this.#descriptor));
      this.#syncPace.note(bytes, systemClock.monotonic() - started);
      return;
    }
    this.#begin();
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#descriptor, (error) => {
        this.#end();
        this.#syncPace.note(bytes, systemClock.monotonic() - started);
        if (error === null) resolve();
        else reject(fileError(error, 'sync', this.#path));
      });
    });
  }

  async discard(position: number, length: number): Promise<boolean> {
    this.#checkOpen();
    return nativeFiles?.discard(this.#descriptor, this.#deviceBytes !== undefined, position, length) ?? false;
  }

  async watch(): Promise<(() => boolean) | undefined> {
    this.#checkOpen();
    if (!this.#isLocal) return undefined;
    const then = attempt('stat', this.#path, () => fs.fstatSync(this.#descriptor));
    return () => {
      this.#checkOpen();
      const now = fs.statSync(this.#path, { throwIfNoEntry: false });
      return now?.ino === then.ino && now.dev === then.dev && now.size === then.size && now.mtimeMs === then.mtimeMs;
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#inFlightCount > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    attempt('close', this.#path, () => fs.closeSync(this.#descriptor));
  }

  #begin(): void {
    this.#inFlightCount++;
  }

  #end(): void {
    this.#inFlightCount--;
    if (this.#inFlightCount === 0) this.#whenIdle?.();
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw new CaissonError('closed', 'store-closed', `${this.#path} was closed`);
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

/** Asked of the kernel, or read from sysfs where node:ffi is missing. */
function deviceBytes(descriptor: number, rdev: number): number {
  return (
    nativeFiles?.deviceBytes(descriptor) ??
    512 * Number(fs.readFileSync(`/sys/dev/block/${deviceNumber(rdev)}/size`, 'latin1'))
  );
}

function readFully(descriptor: number, bytes: Uint8Array): number {
  let done = 0;
  while (done < bytes.length) {
    const count = fs.readSync(descriptor, bytes, done, bytes.length - done, done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

function notAFile(filePath: string): CaissonError {
  return new CaissonError('invalid', 'object-missing', `${filePath} is not a file`, { details: { path: filePath } });
}

function tooLarge(filePath: string, size: number, bytesMax: number): CaissonError {
  return new CaissonError(
    'invalid',
    'object-too-large',
    `${filePath} has ${size} bytes, more than the ${bytesMax} allowed`,
    {
      details: { path: filePath, size, bytesMax },
    },
  );
}

/** Runs one call of node:fs and translates its failure; an errno in `tolerated` gives undefined instead. */
function attempt<T>(operation: string, filePath: string, call: () => T): T;
function attempt<T>(operation: string, filePath: string, call: () => T, tolerated: readonly string[]): T | undefined;
function attempt<T>(
  operation: string,
  filePath: string,
  call: () => T,
  tolerated: readonly string[] = [],
): T | undefined {
  try {
    return call();
  } catch (error) {
    if (error instanceof CaissonError) throw error;
    if (tolerated.includes(errnoOf(error))) return undefined;
    throw fileError(error, operation, filePath);
  }
}

export const nodeFileSystem: FileSystem = new NodeFileSystem();
