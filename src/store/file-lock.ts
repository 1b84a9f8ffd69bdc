/**
 * An exclusive lock on a path that the kernel frees when its owner dies: flock(2), or where node:ffi
 * is missing a listening socket in Linux's abstract namespace, which dies with its process too (a
 * file with a process id in it would not, and taking over a stale one races).
 *
 * Invariant: who holds the lock holds the file that `path` names *now*: the file may have been
 * unlinked between open and lock, so its identity is compared afterward.
 *
 * The socket way holds among processes of one network namespace only, and not against a process
 * that uses flock; the epoch in the volume's head fences what a lock does not see.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import { CaissonError } from '../lib/errors.ts';
import type { NativeFiles } from '../sys/files.ts';
import { errnoOf, fileError } from './file-errors.ts';
import type { FileLock } from './file-system.ts';

/** Each further attempt means that the file was replaced under us once more. */
const lockAttemptsMax = 16;

/**
 * undefined when somebody holds the lock. `files` has no default: leaving it undefined means the
 * way without FFI, which tests ask for on purpose.
 */
export async function lockFile(path: string, files: NativeFiles | undefined): Promise<FileLock | undefined> {
  return files === undefined ? lockBySocket(path) : lockByFlock(path, files);
}

function lockByFlock(path: string, files: NativeFiles): FileLock | undefined {
  for (let attempt = 0; attempt < lockAttemptsMax; attempt++) {
    const descriptor = openLockFile(path);
    let held = false;
    try {
      if (!files.tryLock(descriptor)) return undefined;
      held = namesDescriptor(path, descriptor);
      if (held) return new FlockLock(descriptor);
    } finally {
      if (!held) fs.closeSync(descriptor);
    }
  }
  throw new CaissonError('transient', 'store-io', `${path} was replaced ${lockAttemptsMax} times while being locked`);
}

class FlockLock implements FileLock {
  #descriptor: number | undefined;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /** Closing the only descriptor of the open file frees its lock. */
  async release(): Promise<void> {
    const descriptor = this.#descriptor;
    this.#descriptor = undefined;
    if (descriptor !== undefined) fs.closeSync(descriptor);
  }
}

function openLockFile(path: string): number {
  try {
    // Node opens with O_CLOEXEC, so that no child keeps the lock.
    return fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  } catch (error) {
    throw fileError(error, 'lock', path);
  }
}

function namesDescriptor(path: string, descriptor: number): boolean {
  const now = fs.statSync(path, { bigint: true, throwIfNoEntry: false });
  const ours = fs.fstatSync(descriptor, { bigint: true });
  return now !== undefined && now.ino === ours.ino && now.dev === ours.dev;
}

/** The name is taken from the real path, since the file itself may come and go. */
function lockBySocket(path: string): Promise<FileLock | undefined> {
  fs.closeSync(openLockFile(path));
  const name = `\0caisson-lock-${createHash('sha256').update(fs.realpathSync(path)).digest('hex')}`;
  return new Promise((resolve, reject) => {
    const server = net.createServer((socket) => socket.destroy());
    server.unref();
    server.once('error', (error) => {
      if (errnoOf(error) === 'EADDRINUSE') resolve(undefined);
      else reject(fileError(error, 'lock', path));
    });
    server.listen({ path: name, backlog: 1 }, () => {
      resolve({ release: () => new Promise((done) => server.close(() => done())) });
    });
  });
}
