/** Errors as HTTP answers: the fields of a CaissonError, nothing else; no stack and no cause leaves (spec/broker-http.md). */
import { CaissonError } from '../../lib/errors.ts';
import type { ErrorKind } from '../../lib/errors.ts';

const statusOfKind: Readonly<Record<ErrorKind, number>> = {
  transient: 503,
  invalid: 400,
  integrity: 409,
  fenced: 409,
  denied: 403,
  full: 507,
  io: 500,
  closed: 503,
  bug: 500,
};

const statusOfCode: Readonly<Record<string, number>> = {
  'admin-refused': 401,
  'session-missing': 401,
  'rate-limited': 429,
  'limit-exceeded': 413,
  'tenant-missing': 404,
  'policy-missing': 404,
  'name-missing': 404,
};

export function asCaissonError(error: unknown): CaissonError {
  if (error instanceof CaissonError) return error;
  return new CaissonError('bug', 'assertion-failed', 'the broker met a defect of its own', { cause: error });
}

export function statusOf({ kind, code }: CaissonError): number {
  return kind === 'full' ? statusOfKind.full : (statusOfCode[code] ?? statusOfKind[kind]);
}

export function bodyOf({ kind, code, message, remedy, details }: CaissonError): string {
  return JSON.stringify({ error: { kind, code, message, remedy: remedy ?? null, details } });
}
