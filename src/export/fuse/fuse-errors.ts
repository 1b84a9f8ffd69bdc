/**
 * The one place where an error of the device becomes an errno of the FUSE export (spec/fuse.md,
 * "Errors"). The kernel's caller learns only what it can act on; the log keeps code and message.
 */
import { CaissonError } from '../../lib/errors.ts';
import type { ErrorKind } from '../../lib/errors.ts';

export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
  EACCES: 13,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENOSPC: 28,
  EROFS: 30,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  EPROTO: 71,
  EOPNOTSUPP: 95,
} as const;

const errnoOfKind: Readonly<Record<ErrorKind, number>> = {
  transient: Errno.EIO,
  invalid: Errno.EINVAL,
  integrity: Errno.EIO,
  fenced: Errno.EIO,
  denied: Errno.EACCES,
  full: Errno.ENOSPC,
  io: Errno.EIO,
  closed: Errno.EIO,
  bug: Errno.EIO,
};

export function errnoOf(error: unknown): number {
  if (!(error instanceof CaissonError)) return Errno.EIO;
  if (error.code === 'unsupported') return Errno.EOPNOTSUPP;
  if (error.code === 'volume-read-only' || error.code === 'volume-latched') return Errno.EROFS;
  return errnoOfKind[error.kind];
}
