/** What SQLite reports, as errors of Caisson: the one table of result codes. */
import { CaissonError, isCaissonError, messageOf } from '../../lib/errors.ts';

const ResultCode = {
  busy: 5,
  locked: 6,
  readOnly: 8,
  io: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  notADatabase: 26,
} as const;

export function isSqliteBusy(error: unknown): boolean {
  const code = primaryCode(error);
  return code === ResultCode.busy || code === ResultCode.locked;
}

export function toDatabaseError(error: unknown): CaissonError {
  if (isCaissonError(error)) return error;
  const cause = { cause: error };
  switch (primaryCode(error)) {
    case ResultCode.busy:
    case ResultCode.locked:
      return new CaissonError('transient', 'database-locked', "another process holds the broker's database", {
        ...cause,
        remedy: 'End the program that keeps a transaction open on it, such as an sqlite3 shell.',
      });
    case ResultCode.readOnly:
      return new CaissonError('denied', 'database-read-only', "the broker's database cannot be written", {
        ...cause,
        remedy: 'Give the user of the broker the right to write it, and mount its file system writable.',
      });
    case ResultCode.full:
      return new CaissonError('full', 'database-full', "no room is left for the broker's database", {
        ...cause,
        remedy: 'Make room on its file system; the broker goes on by itself.',
      });
    case ResultCode.corrupt:
    case ResultCode.notADatabase:
      return damaged(messageOf(error), error);
    case ResultCode.cannotOpen:
      return new CaissonError('io', 'store-io', "the broker's database cannot be opened", {
        ...cause,
        remedy: 'Check that its folder exists and that the user of the broker may use it.',
      });
    case undefined:
    default:
      return new CaissonError('io', 'store-io', `the broker's database failed: ${messageOf(error)}`, {
        ...cause,
        remedy: 'Look into the log of the kernel for errors of the disk, then start the broker again.',
      });
  }
}

export function damaged(reason: string, cause?: unknown): CaissonError {
  return new CaissonError('integrity', 'database-damaged', `the broker's database is damaged: ${reason}`, {
    remedy: 'Keep the file for an examination and restore a backup.',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** The low byte of what node:sqlite calls errcode; a number too large for JavaScript is damage, too. */
function primaryCode(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined;
  const { errcode, code } = error as { errcode?: unknown; code?: unknown };
  if (code === 'ERR_OUT_OF_RANGE') return ResultCode.corrupt;
  return typeof errcode === 'number' ? errcode & 0xff : undefined;
}
