/**
 * Store in a folder. Objects are files under their keys; what Caisson keeps beside them has names
 * that no key can have (`paths.ts`): the marker, `tmp/`, `<key>.lock`, `<volume>/lock`, `<volume>/spool/`.
 *
 * Invariants:
 * - A key appears only by link or rename of a file that was synced before, so that no reader and no
 *   crash ever shows a part of an object.
 * - `create`, `swap` and `publish` answer only after the folder was synced; also when they answer
 *   `object-exists` or `object-changed`, because the object found may be the caller's own from an
 *   attempt whose answer was lost.
 * - The version of a mutable object is a digest of its bytes. Inode, size and times would be two
 *   microseconds cheaper, but inode numbers are used again at once and the clock of a file system
 *   ticks in milliseconds: three quick swaps can give the first and the last the same identity. With
 *   a digest equal versions mean equal bytes, on every file system and whatever the clock does.
 */
import { systemClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import * as limits from '../lib/limits.ts';
import { openMarker } from './dir-marker.ts';
import { DirSpool } from './dir-spool.ts';
import { TemporaryFiles } from './dir-temporary.ts';
import { openElsewhere } from './file-errors.ts';
import { FileReader } from './file-reader.ts';
import type { FileLock, FileSystem } from './file-system.ts';
import { checkKey, checkPrefix, checkVolumePrefix, isKeyWord, isReserved } from './paths.ts';
import type { ObjectInfo, ObjectReader, SpoolArea, Store, VersionedObject, WriterLock } from './store.ts';
import { waitForLock } from './wait-for-lock.ts';
import { versionOf, WatchedFiles } from './watched-files.ts';

const swapPatience = {
  waitMillisecondsMax: limits.storeSwapWaitMillisecondsMax,
  retryMilliseconds: limits.storeSwapRetryMilliseconds,
  remedy: 'Look for a process that is stopped or stuck in the middle of an update of this volume.',
};

export interface DirStoreOptions {
  /** Makes the store when the folder is missing or empty; a folder with other files is refused all the same. */
  readonly create: boolean;
  readonly clock?: Clock;
}

/** `root` is an absolute path without a trailing slash. */
export async function openDirStore(fileSystem: FileSystem, root: string, options: DirStoreOptions): Promise<Store> {
  await openMarker(fileSystem, root, options.create);
  return new DirStore(fileSystem, root, options.clock ?? systemClock);
}

class DirStore implements Store {
  readonly url: string;
  readonly isRemote = false;
  readonly #fileSystem: FileSystem;
  readonly #root: string;
  readonly #clock: Clock;
  readonly #temporary: TemporaryFiles;
  readonly #watched: WatchedFiles;
  /** Folders known to exist durably, until a call finds one gone. At most 3 x 256 per volume. */
  readonly #folders = new Set<string>();
  /** The last swap per key in this process: they queue here, so that only other processes are polled for. */
  readonly #swaps = new Map<string, Promise<unknown>>();
  #closed = false;

  constructor(fileSystem: FileSystem, root: string, clock: Clock) {
    this.url = `dir:${root}`;
    this.#fileSystem = fileSystem;
    this.#root = root;
    this.#clock = clock;
    this.#temporary = new TemporaryFiles(fileSystem, root);
    this.#watched = new WatchedFiles(fileSystem);
  }

  async get(key: string, bytesMax: number): Promise<Uint8Array> {
    return this.#fileSystem.readFile(this.#path(key), bytesMax);
  }

  async stat(key: string): Promise<ObjectInfo> {
    const found = await this.#fileSystem.stat(this.#path(key));
    if (found.isDirectory) throw missing(key);
    return { key, size: found.size };
  }

  async open(key: string): Promise<ObjectReader> {
    const file = await this.#fileSystem.open(this.#path(key), 'read');
    return new FileReader(key, await file.size(), file, true);
  }

  async create(key: string, bytes: Uint8Array): Promise<void> {
    const path = this.#path(key);
    await this.#inFolderOf(path, async () => {
      const temporary = await this.#temporary.write(bytes);
      try {
        await this.#fileSystem.link(temporary, path);
      } catch (error) {
        if (isCaissonError(error, 'object-exists')) await this.#fileSystem.syncDirectory(folderOf(path));
        throw error;
      } finally {
        await this.#fileSystem.unlink(temporary);
      }
    });
    await this.#fileSystem.syncDirectory(folderOf(path));
  }

  async getVersioned(key: string, bytesMax: number): Promise<VersionedObject> {
    const bytes = await this.get(key, bytesMax);
    return { bytes, version: versionOf(bytes) };
  }

  async version(key: string): Promise<string> {
    this.#checkOpen();
    // Only keys that were checked are watched.
    const path = `${this.#root}/${key}`;
    return this.#watched.versionNow(path) ?? (await this.#watched.version(this.#path(key)));
  }

  async swap(key: string, expectedVersion: string | null, bytes: Uint8Array): Promise<string> {
    const path = this.#path(key);
    if (bytes.length > limits.storeMutableObjectBytesMax) {
      throw new CaissonError(
        'invalid',
        'object-too-large',
        `a mutable object of ${bytes.length} bytes is more than a store takes`,
        {
          details: { key, size: bytes.length, bytesMax: limits.storeMutableObjectBytesMax },
        },
      );
    }
    const previous = this.#swaps.get(key);
    const ours = (previous ?? Promise.resolve())
      .catch(() => undefined) // its caller heard of it
      .then(() => this.#inFolderOf(path, () => this.#swapLocked(key, path, expectedVersion, bytes)));
    this.#swaps.set(key, ours);
    try {
      return await ours;
    } finally {
      if (this.#swaps.get(key) === ours) this.#swaps.delete(key);
    }
  }

  async *list(prefix: string): AsyncIterable<ObjectInfo> {
    checkPrefix(prefix);
    this.#checkOpen();
    yield* this.#walk(prefix.substring(0, prefix.lastIndexOf('/') + 1), prefix);
  }

  async remove(key: string): Promise<void> {
    const path = this.#path(key);
    this.#watched.forget(path);
    const lockPath = `${path}.lock`;
    if (await this.#exists(lockPath)) {
      const lock = await waitForLock(this.#fileSystem, this.#clock, lockPath, swapPatience);
      try {
        await this.#fileSystem.unlink(path);
        await this.#fileSystem.unlink(lockPath);
        // A mutable object that came back after a crash would bring a removed volume back; an
        // immutable one is garbage that the next cleaning finds, and not worth a sync.
        await this.#fileSystem.syncDirectory(folderOf(path));
      } finally {
        await lock.release();
      }
    } else {
      await this.#fileSystem.unlink(path);
    }
    await this.#removeEmptyFolders(folderOf(path));
  }

  async spool(volumePrefix: string): Promise<SpoolArea> {
    checkVolumePrefix(volumePrefix);
    this.#checkOpen();
    return new DirSpool(this.#fileSystem, this.#root, volumePrefix, (path, operation) =>
      this.#inFolderOf(path, operation),
    );
  }

  async lock(volumePrefix: string): Promise<WriterLock> {
    checkVolumePrefix(volumePrefix);
    this.#checkOpen();
    const path = `${this.#root}/${volumePrefix}lock`;
    const lock = await this.#inFolderOf(path, () => this.#fileSystem.lock(path));
    if (lock === undefined) throw openElsewhere(path);
    try {
      await this.#temporary.sweep();
    } catch (error) {
      await lock.release();
      throw error;
    }
    let released: Promise<void> | undefined;
    return { release: () => (released ??= this.#unlock(volumePrefix, path, lock)) };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.allSettled(this.#swaps.values());
    await this.#watched.close();
    await this.#temporary.close();
  }

  async #swapLocked(key: string, path: string, expectedVersion: string | null, bytes: Uint8Array): Promise<string> {
    const lock = await waitForLock(this.#fileSystem, this.#clock, `${path}.lock`, swapPatience);
    try {
      const found = await this.#versionOrNull(path);
      if (found !== expectedVersion) {
        await this.#fileSystem.syncDirectory(folderOf(path));
        throw new CaissonError('invalid', 'object-changed', `object ${key} was changed by somebody else`, {
          details: { key },
        });
      }
      const temporary = await this.#temporary.write(bytes);
      try {
        await this.#fileSystem.rename(temporary, path);
      } catch (error) {
        await this.#fileSystem.unlink(temporary).catch(() => undefined); // the first error counts
        throw error;
      }
      await this.#fileSystem.syncDirectory(folderOf(path));
      return versionOf(bytes);
    } finally {
      await lock.release();
    }
  }

  async #versionOrNull(path: string): Promise<string | null> {
    try {
      return versionOf(this.#fileSystem.readFileNow(path, limits.storeMutableObjectBytesMax));
    } catch (error) {
      if (isCaissonError(error, 'object-missing')) return null;
      throw error;
    }
  }

  /** The last one to leave an empty volume takes the lock file and the folders along. */
  async #unlock(volumePrefix: string, path: string, lock: FileLock): Promise<void> {
    try {
      if (await this.#isVolumeEmpty(volumePrefix)) {
        await this.#fileSystem.unlink(path);
        await this.#removeEmptyFolders(folderOf(path));
      }
    } finally {
      await lock.release();
    }
  }

  async #isVolumeEmpty(volumePrefix: string): Promise<boolean> {
    const folder = `${this.#root}/${volumePrefix}`;
    await this.#fileSystem.removeDirectory(`${folder}spool`);
    return (await this.#fileSystem.list(folder)).every((name) => name === 'lock');
  }

  async #removeEmptyFolders(folder: string): Promise<void> {
    for (let current = folder; current.length > this.#root.length; current = folderOf(current)) {
      this.#folders.delete(current);
      await this.#fileSystem.removeDirectory(current);
    }
  }

  async *#walk(folderKey: string, prefix: string): AsyncIterable<ObjectInfo> {
    for (const name of await this.#fileSystem.list(`${this.#root}/${folderKey}`)) {
      const key = folderKey + name;
      const isCandidate = key.startsWith(prefix) || prefix.startsWith(`${key}/`);
      if (!isCandidate || !isKeyWord(name) || isReserved(key)) continue;
      const found = await this.#statOrUndefined(`${this.#root}/${key}`);
      if (found === undefined) continue; // removed since it was listed
      if (found.isDirectory) yield* this.#walk(`${key}/`, prefix);
      else yield { key, size: found.size };
    }
  }

  async #statOrUndefined(path: string): Promise<{ readonly size: number; readonly isDirectory: boolean } | undefined> {
    try {
      return await this.#fileSystem.stat(path);
    } catch (error) {
      if (isCaissonError(error, 'object-missing')) return undefined;
      throw error;
    }
  }

  async #exists(path: string): Promise<boolean> {
    return (await this.#statOrUndefined(path)) !== undefined;
  }

  /** Runs `operation` with the folder of `path` in place; another process may remove it as empty in between. */
  async #inFolderOf<T>(path: string, operation: () => Promise<T>): Promise<T> {
    const folder = folderOf(path);
    for (let attempt = 1; ; attempt++) {
      if (!this.#folders.has(folder)) {
        await this.#fileSystem.makeDirectory(folder);
        this.#folders.add(folder);
      }
      try {
        return await operation();
      } catch (error) {
        if (!isCaissonError(error, 'object-missing') || attempt === limits.storeFolderAttemptsMax) throw error;
        this.#folders.delete(folder);
      }
    }
  }

  #path(key: string): string {
    checkKey(key);
    this.#checkOpen();
    return `${this.#root}/${key}`;
  }

  #checkOpen(): void {
    if (this.#closed) throw new CaissonError('closed', 'store-closed', `the store ${this.url} was closed`);
  }
}

function folderOf(path: string): string {
  return path.substring(0, path.lastIndexOf('/'));
}

function missing(key: string): CaissonError {
  return new CaissonError('invalid', 'object-missing', `object ${key} does not exist`, { details: { key } });
}
