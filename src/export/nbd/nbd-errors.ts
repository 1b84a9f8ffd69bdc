/**
 * What an NBD client is told when something fails: the one table from CaissonError to the error
 * numbers of the protocol (spec/nbd.md, "Errors"). The text never leaves: it goes to the log.
 */
import { isCaissonError, type ErrorKind } from '../../lib/errors.ts';
import { Command } from './request-format.ts';

export const Errno = {
  NONE: 0,
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

const errnoOfKind: Readonly<Record<ErrorKind, number>> = {
  transient: Errno.EIO,
  invalid: Errno.EINVAL,
  integrity: Errno.EIO,
  // The volume has another writer now. Nothing this client asks will succeed again, so it is told to leave.
  fenced: Errno.ESHUTDOWN,
  denied: Errno.EPERM,
  full: Errno.ENOSPC,
  io: Errno.EIO,
  closed: Errno.ESHUTDOWN,
  bug: Errno.EIO,
};

export function errnoOf(error: unknown, command: number): number {
  if (!isCaissonError(error)) return Errno.EIO;
  if (error.code === 'range-outside') return errnoPastEnd(command);
  return errnoOfKind[error.kind];
}

/** Writers are told that there is no space there, everybody else that the request is wrong. */
export function errnoPastEnd(command: number): number {
  return command === Command.WRITE || command === Command.WRITE_ZEROES ? Errno.ENOSPC : Errno.EINVAL;
}
