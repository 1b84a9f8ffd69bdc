/**
 * A path for a new unix socket. What a crashed process left there is replaced; what somebody still
 * answers on, or what is no socket at all, is never touched.
 *
 * Between the look and the bind another process may take the path; the bind then fails with
 * EADDRINUSE, which is the same `socket-in-use`. Daemons of one runtime folder cannot even meet
 * here, since each holds the folder's lock.
 */
import fs from 'node:fs';
import net from 'node:net';
import { CaissonError } from '../lib/errors.ts';
import { socketPathBytesMax } from '../lib/folders.ts';
import { adminConnectMillisecondsMax } from '../lib/limits.ts';
import { errnoOf, fileError } from '../store/file-errors.ts';

export async function claimSocketPath(path: string): Promise<void> {
  if (Buffer.byteLength(path) > socketPathBytesMax) {
    throw new CaissonError(
      'invalid',
      'argument-invalid',
      `a socket's path may have ${socketPathBytesMax} bytes: ${path}`,
      {
        remedy: 'Choose a shorter path with --socket or CAISSON_RUNTIME.',
        details: { path },
      },
    );
  }
  const found = fs.lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw inUse(path, 'something that is not a socket lies there');
  if (await answers(path)) throw inUse(path, 'a process listens there');
  try {
    fs.unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw fileError(error, 'replace', path);
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(path);
    const settle = (act: () => void): void => {
      socket.destroy();
      act();
    };
    // Who accepts so slowly is there all the same.
    socket.setTimeout(adminConnectMillisecondsMax, () => settle(() => resolve(true)));
    socket.once('connect', () => settle(() => resolve(true)));
    socket.once('error', (error) => {
      const errno = errnoOf(error);
      if (errno === 'ECONNREFUSED' || errno === 'ENOENT') settle(() => resolve(false));
      else if (errno === 'EAGAIN') settle(() => resolve(true));
      else settle(() => reject(fileError(error, 'connect to', path)));
    });
  });
}

function inUse(path: string, why: string): CaissonError {
  return new CaissonError('fenced', 'socket-in-use', `cannot listen on ${path}: ${why}`, {
    remedy: 'Stop that process, or choose another path.',
    details: { path },
  });
}
