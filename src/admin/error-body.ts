/**
 * Errors across the admin socket: the fields of a CaissonError, nothing else. A thrown value that
 * is not one is a defect of Caisson and is named as such; its text stays, its stack does not leave.
 */
import { CaissonError, messageOf } from '../lib/errors.ts';
import type { ErrorCode, ErrorKind } from '../lib/errors.ts';
import type { ErrorBody } from './schema.ts';

const statusOfKind: Readonly<Record<ErrorKind, number>> = {
  transient: 503,
  invalid: 400,
  integrity: 409,
  fenced: 409,
  denied: 403,
  full: 507,
  io: 500,
  closed: 410,
  bug: 500,
};

export function toCaissonError(error: unknown): CaissonError {
  if (error instanceof CaissonError) return error;
  return new CaissonError('bug', 'assertion-failed', `internal error: ${messageOf(error)}`, {
    remedy: 'This is a defect of Caisson. Run again with CAISSON_DEBUG=1 and report what it prints.',
    cause: error,
  });
}

export function errorToBody(error: unknown): ErrorBody {
  const { kind, code, message, remedy, details } = toCaissonError(error);
  return { error: { kind, code, message, remedy: remedy ?? null, details: { ...details } } };
}

export function errorStatus(error: unknown): number {
  return statusOfKind[toCaissonError(error).kind];
}

/** The daemon is trusted (same user, its socket is 0600), so its kind and code are taken as they are. */
export function bodyToError(body: ErrorBody): CaissonError {
  const { kind, code, message, remedy, details } = body.error;
  return new CaissonError(kind as ErrorKind, code as ErrorCode, message, {
    ...(remedy === null ? {} : { remedy }),
    details,
  });
}
