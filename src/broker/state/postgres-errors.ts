/** What PostgreSQL and its connection report, as errors of Caisson: the one table of SQLSTATE codes. */
import { CaissonError, isCaissonError, messageOf } from '../../lib/errors.ts';

/** Given up by the server for the sake of another transaction: the same again may succeed. */
export function isSerializationFailure(error: unknown): boolean {
  const state = sqlState(error);
  return state === '40001' || state === '40P01';
}

export function toPostgresError(error: unknown): CaissonError {
  if (isCaissonError(error)) return error;
  const state = sqlState(error) ?? '';
  const cause = { cause: error };
  if (state === '55P03' || state === '57014' || isSerializationFailure(error)) {
    return new CaissonError('transient', 'database-locked', 'another transaction holds the database of the broker', {
      ...cause,
      remedy: 'Look for a session that stays in a transaction (pg_stat_activity), and end it.',
    });
  }
  if (state === '53100') {
    return new CaissonError('full', 'database-full', 'the server of the database has no room left', {
      ...cause,
      remedy: 'Make room there; the broker goes on by itself.',
    });
  }
  if (state === '25006') {
    return new CaissonError('denied', 'database-read-only', 'the server of the database takes no changes', {
      ...cause,
      remedy: 'Point the URL at the primary server, for example with target_session_attrs at a proxy.',
    });
  }
  if (state.startsWith('XX') || state === '42P01' || state === '42703') {
    return new CaissonError('integrity', 'database-damaged', `the database is damaged: ${messageOf(error)}`, {
      ...cause,
      remedy: 'Restore the database from a backup.',
    });
  }
  if (state === '42501') {
    return new CaissonError('denied', 'permission-missing', 'the role in the URL may not use the database', {
      ...cause,
      remedy: 'Make the role the owner of the database, or of the schema caisson_broker in it.',
    });
  }
  if (state.startsWith('28') || state.startsWith('3D')) {
    return new CaissonError('invalid', 'configuration-invalid', `the server refuses the URL: ${messageOf(error)}`, {
      ...cause,
      remedy: 'Correct the user, the password or the name of the database in the URL.',
    });
  }
  return new CaissonError('transient', 'database-unreachable', `the database does not answer: ${messageOf(error)}`, {
    ...cause,
    remedy: 'The broker tries again with each request; look after the server of the database.',
  });
}

function sqlState(error: unknown): string | undefined {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !/^E[A-Z]+$/.test(code) ? code : undefined;
}
