/**
 * Files that are being written and have no final name yet: `tmp/<n>/<counter>`, one folder per
 * process, owned by the lock `tmp/<n>.lock`.
 *
 * Invariant: a file below `tmp/<n>/` is removed only by whoever holds the lock of that folder, so
 * that cleaning up after a dead process cannot take a file away from a living one.
 */
import { CaissonError } from '../lib/errors.ts';
import { storeTemporaryFoldersMax } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import type { FileLock, FileSystem } from './file-system.ts';

interface Claim {
  readonly index: number;
  readonly folder: string;
  readonly lock: FileLock;
}

export class TemporaryFiles {
  readonly #fileSystem: FileSystem;
  readonly #root: string;
  #claim: Promise<Claim> | undefined;
  #fileCount = 0;

  constructor(fileSystem: FileSystem, storeRoot: string) {
    this.#fileSystem = fileSystem;
    this.#root = `${storeRoot}/tmp`;
  }

  /** Writes `bytes` to a new file, synced, and returns its path; the caller links or renames it, then removes it. */
  async write(bytes: Uint8Array): Promise<string> {
    const { folder } = await this.#claimed();
    const path = `${folder}/${++this.#fileCount}`;
    const file = await this.#fileSystem.open(path, 'exclusive');
    try {
      await file.write(0, bytes.length, Region.from(bytes), 0);
      await file.sync();
    } catch (error) {
      await this.#fileSystem.unlink(path).catch(() => undefined); // the first error counts
      throw error;
    } finally {
      await file.close();
    }
    return path;
  }

  /** Removes what dead processes left; skips every folder that a living one owns. */
  async sweep(): Promise<void> {
    const own = (await this.#claimed()).index;
    for (const name of await this.#fileSystem.list(this.#root)) {
      const index = /^([0-9]{1,3})\.lock$/.exec(name)?.[1];
      if (index === undefined || Number(index) === own) continue;
      const lock = await this.#fileSystem.lock(`${this.#root}/${name}`);
      if (lock === undefined) continue;
      try {
        await this.#clear(`${this.#root}/${index}`);
      } finally {
        await lock.release();
      }
    }
  }

  async close(): Promise<void> {
    const claim = await this.#claim?.catch(() => undefined);
    await claim?.lock.release();
  }

  #claimed(): Promise<Claim> {
    this.#claim ??= this.#take().catch((error: unknown) => {
      this.#claim = undefined; // a full or read-only file system may be repaired
      throw error;
    });
    return this.#claim;
  }

  async #take(): Promise<Claim> {
    for (let index = 0; index < storeTemporaryFoldersMax; index++) {
      const folder = `${this.#root}/${index}`;
      await this.#fileSystem.makeDirectory(folder);
      const lock = await this.#fileSystem.lock(`${folder}.lock`);
      if (lock === undefined) continue;
      try {
        await this.#clear(folder);
        return { index, folder, lock };
      } catch (error) {
        await lock.release();
        throw error;
      }
    }
    throw new CaissonError(
      'transient',
      'limit-exceeded',
      `more than ${storeTemporaryFoldersMax} processes write into this store`,
      {
        remedy: 'Close volumes in other processes, or spread the volumes over several stores.',
        details: { limit: storeTemporaryFoldersMax },
      },
    );
  }

  async #clear(folder: string): Promise<void> {
    for (const name of await this.#fileSystem.list(folder)) await this.#fileSystem.unlink(`${folder}/${name}`);
  }
}
