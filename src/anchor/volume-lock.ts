/**
 * One change of a volume's anchor at a time: within this process by a queue, against others by a lock file. Whoever only
 * polls for the file would starve behind a busy neighbour, so only other processes are polled for.
 */
import type { Clock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import * as limits from '../lib/limits.ts';
import type { FileLock, FileSystem } from '../store/file-system.ts';

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
    const lock = await this.#waitForLock(path);
    try {
      return await operation();
    } finally {
      await lock.release();
    }
  }

  async #waitForLock(path: string): Promise<FileLock> {
    const deadline = this.#clock.monotonic() + limits.anchorLockWaitMillisecondsMax;
    for (;;) {
      const lock = await this.#fileSystem.lock(path);
      if (lock !== undefined) return lock;
      if (this.#clock.monotonic() >= deadline) {
        throw new CaissonError(
          'transient',
          'timeout',
          `another process holds ${path} for more than ${limits.anchorLockWaitMillisecondsMax} ms`,
          {
            remedy: 'Look for a process that is stopped or stuck while it advances the anchor of this volume.',
            details: { path, limitMilliseconds: limits.anchorLockWaitMillisecondsMax },
          },
        );
      }
      await new Promise<void>((resolve) => this.#clock.after(limits.anchorLockRetryMilliseconds, resolve));
    }
  }
}
