/**
 * Versions of small mutable files that are asked for with every flush: the file stays open, so that
 * one look at its name tells whether it was replaced, and only then it is read again.
 */
import { hash } from 'node:crypto';
import * as limits from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import type { FileHandle, FileSystem } from './file-system.ts';

interface Watched {
  readonly file: FileHandle;
  readonly isCurrent: () => boolean;
  readonly version: string;
}

/** The version of a mutable object: a digest of its bytes, cut to 128 bits, as hex. */
export function versionOf(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'hex').substring(0, 32);
}

export class WatchedFiles {
  readonly #fileSystem: FileSystem;
  /** In order of first use. */
  readonly #watched = new Map<string, Watched>();

  constructor(fileSystem: FileSystem) {
    this.#fileSystem = fileSystem;
  }

  /** The version when no read is needed for it; undefined otherwise. */
  versionNow(path: string): string | undefined {
    const watched = this.#watched.get(path);
    return watched?.isCurrent() === true ? watched.version : undefined;
  }

  /** Reads the file, and watches it where the file system can. `object-missing`. */
  async version(path: string): Promise<string> {
    this.forget(path);
    const file = await this.#fileSystem.open(path, 'read');
    let keep = false;
    try {
      // Watched before it is read: what is written meanwhile shows.
      const isCurrent = await file.watch();
      const region = new Region(Math.min(await file.size(), limits.storeMutableObjectBytesMax));
      const length = await file.read(0, region.length, region, 0);
      const version = versionOf(region.bytes.subarray(0, length));
      if (isCurrent !== undefined && !this.#watched.has(path)) {
        keep = true;
        this.#watched.set(path, { file, isCurrent, version });
        if (this.#watched.size > limits.storeWatchedFilesMax) this.forget(this.#watched.keys().next().value!);
      }
      return version;
    } finally {
      if (!keep) await file.close();
    }
  }

  forget(path: string): void {
    const watched = this.#watched.get(path);
    this.#watched.delete(path);
    // It was only read from: nothing is lost if its close fails.
    watched?.file.close().catch(() => undefined);
  }

  async close(): Promise<void> {
    const files = [...this.#watched.values()];
    this.#watched.clear();
    for (const { file } of files) await file.close();
  }
}
