/**
 * One change of a volume's anchor at a time: within this process by a queue, against others by a lock file. Whoever only
 * polls for the file would starve behind a busy neighbour, so only other processes are polled for.
 */
import type { Clock } from '../lib/clock.ts';
import * as limits from '../lib/limits.ts';
import type { FileSystem } from '../store/file-system.ts';
import { waitForLock } from '../store/wait-for-lock.ts';

const patience = {
  waitMillisecondsMax: limits.anchorLockWaitMillisecondsMax,
  retryMilliseconds: limits.anchorLockRetryMilliseconds,
  remedy: 'Look for a process that is stopped or stuck while it advances the anchor of this volume.',
};

export class VolumeLock {
  readonly #fileSystem: FileSystem;
  readonly #clock: Clock;
  /** Path -> the last change of it in this process. */
  readonly #changes = new Map<string, Promise<unknown>>();

  constructor(fileSystem: FileSystem, clock: Clock) {
    this.#fileSystem = fileSystem;
    this.#clock = clock;
  }

  async exclusively<T>(path: string, operation: () => Promise<T>): Promise<T> {
    const previous = this.#changes.get(path) ?? Promise.resolve();
    const ours = previous.catch(() => undefined).then(() => this.#locked(path, operation));
    this.#changes.set(path, ours);
    try {
      return await ours;
    } finally {
      if (this.#changes.get(path) === ours) this.#changes.delete(path);
    }
  }

  async #locked<T>(path: string, operation: () => Promise<T>): Promise<T> {
    const lock = await waitForLock(this.#fileSystem, this.#clock, path, patience);
    try {
      return await operation();
    } finally {
      await lock.release();
    }
  }
}
