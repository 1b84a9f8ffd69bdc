/** Waiting for a lock file that another process holds: asked for again and again, for a bounded time. */
import type { Clock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import type { FileLock, FileSystem } from './file-system.ts';

export interface LockPatience {
  readonly waitMillisecondsMax: number;
  readonly retryMilliseconds: number;
  /** What to look for where nobody lets go. */
  readonly remedy: string;
}

/** `timeout` where somebody holds it for longer than that. */
export async function waitForLock(
  fileSystem: FileSystem,
  clock: Clock,
  path: string,
  { waitMillisecondsMax, retryMilliseconds, remedy }: LockPatience,
): Promise<FileLock> {
  const deadline = clock.monotonic() + waitMillisecondsMax;
  for (;;) {
    const lock = await fileSystem.lock(path);
    if (lock !== undefined) return lock;
    if (clock.monotonic() >= deadline) {
      throw new CaissonError(
        'transient',
        'timeout',
        `another process holds ${path} for more than ${waitMillisecondsMax} ms`,
        { remedy, details: { path, limitMilliseconds: waitMillisecondsMax } },
      );
    }
    await new Promise<void>((resolve) => clock.after(retryMilliseconds, resolve));
  }
}
