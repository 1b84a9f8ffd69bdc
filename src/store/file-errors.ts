/** The one table from errno names to CaissonErrors, for everything that touches node:fs. */
import { CaissonError, messageOf } from '../lib/errors.ts';

/** Failures that a second try may survive; all others stay as they are. */
const transientErrnos: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EINTR', 'EAGAIN', 'ETIMEDOUT']);

export function errnoOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : 'unknown';
}

/** `operation` is a verb phrase such as `write`; the path is part of the message, never of the code. */
export function fileError(error: unknown, operation: string, path: string): CaissonError {
  const errno = errnoOf(error);
  const about = { details: { errno, operation, path }, cause: error };
  switch (errno) {
    case 'ENOENT':
    case 'ENOTDIR':
    case 'EISDIR':
      return new CaissonError('invalid', 'object-missing', `${path} does not exist`, about);
    case 'EEXIST':
      return new CaissonError('invalid', 'object-exists', `${path} already exists`, about);
    case 'ENOSPC':
    case 'EDQUOT':
      return new CaissonError('full', 'store-full', `no room left to ${operation} ${path}`, {
        ...about,
        remedy: 'Free space on this file system or raise the quota; nothing that was acknowledged is lost.',
      });
    case 'EROFS':
      return new CaissonError(
        'denied',
        'store-read-only',
        `cannot ${operation} ${path}: the file system is mounted read-only`,
        {
          ...about,
          remedy: 'Mount it read-write, or open the volume read-only.',
        },
      );
    case 'EACCES':
    case 'EPERM':
      return new CaissonError('denied', 'permission-missing', `not permitted to ${operation} ${path}`, {
        ...about,
        remedy: 'Give the user that runs Caisson read and write access to the folder.',
      });
    default:
      return new CaissonError(
        transientErrnos.has(errno) ? 'transient' : 'io',
        'store-io',
        `cannot ${operation} ${path}: ${messageOf(error)}`,
        about,
      );
  }
}

/** Somebody on this machine holds the lock of a volume. */
export function openElsewhere(path: string): CaissonError {
  return new CaissonError(
    'transient',
    'volume-open-elsewhere',
    'another process on this machine has the volume open for writing',
    {
      remedy: 'Close the volume there first, or open it read-only here.',
      details: { path },
    },
  );
}
