/**
 * The file of the SQLite database: made for its user alone, recognised, brought to the newest schema and
 * checked before anything relies on it. Spec: spec/broker-state.md.
 */
import { accessSync, closeSync, constants, existsSync, fsyncSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { equalBytes } from '../../crypto/digest.ts';
import { CaissonError } from '../../lib/errors.ts';
import { brokerCheckedFileBytesMax, brokerLockMillisecondsMax } from '../../lib/limits.ts';
import { hashLeaf } from '../../wire/merkle.ts';
import { migrationFrom, schemaVersion } from './schema.ts';
import type { Dialect } from './schema.ts';
import { damaged, isSqliteBusy, toDatabaseError } from './sqlite-errors.ts';

/** "CSNB": tells our file from any other database. */
const applicationId = 0x43534e42;
const dialect: Dialect = { number: 'INTEGER', bytes: 'BLOB', place: '', tableEnd: ' WITHOUT ROWID, STRICT' };
/** Blocks the thread, so it is short; longer waiting happens between attempts. */
const busyMilliseconds = 10;
const lockPauseMilliseconds = 20;

/** Throws by name what cannot be used: no broker's, newer, damaged, read-only, locked. */
export async function openSqliteFile(file: string): Promise<DatabaseSync> {
  createPrivately(file);
  const database = open(file);
  try {
    await whileLocked(() => prepareFile(database, file));
    return database;
  } catch (error) {
    database.close();
    throw toDatabaseError(error);
  }
}

/** Only its user may read it; SQLite gives its other files the same mode, and makes them in the same folder. */
function createPrivately(file: string): void {
  try {
    if (existsSync(file)) {
      for (const place of [file, dirname(file)]) accessSync(place, constants.W_OK);
      return;
    }
    closeSync(openSync(file, constants.O_RDWR | constants.O_CREAT, 0o600));
    const folder = openSync(dirname(file), 'r');
    fsyncSync(folder);
    closeSync(folder);
  } catch (error) {
    throw cannotUse(file, error);
  }
}

function cannotUse(file: string, error: unknown): CaissonError {
  const { code } = error as { code?: unknown };
  const cause = { cause: error };
  if (code === 'EROFS' || code === 'EACCES' || code === 'EPERM') {
    return new CaissonError('denied', 'database-read-only', `the broker's database ${file} cannot be written`, {
      ...cause,
      remedy: 'Give the user of the broker the right to write it and its folder, and mount its file system writable.',
    });
  }
  if (code === 'ENOSPC') {
    return new CaissonError('full', 'database-full', `no room is left for the broker's database ${file}`, {
      ...cause,
      remedy: 'Make room on its file system.',
    });
  }
  return new CaissonError('io', 'store-io', `the broker's database ${file} cannot be made`, {
    ...cause,
    remedy: 'Check that its folder exists and that the user of the broker may use it.',
  });
}

function open(file: string): DatabaseSync {
  try {
    return new DatabaseSync(file, { timeout: busyMilliseconds, allowExtension: false });
  } catch (error) {
    throw toDatabaseError(error);
  }
}

function prepareFile(database: DatabaseSync, file: string): void {
  // Another process that begins on the same new file may be half a step ahead.
  const isNew = database.prepare('SELECT count(*) AS count FROM sqlite_schema').get()?.['count'] === 0;
  if (!isNew && pragma(database, 'application_id') !== applicationId) {
    throw new CaissonError('invalid', 'format-invalid', `${file} is a database, but not one of a broker`, {
      remedy: 'Give the file that the broker was started with before, or one that does not exist yet.',
    });
  }
  const version = pragma(database, 'user_version');
  const migration = migrationFrom(version, dialect);
  // Erased keys are overwritten where they lay, and every cell is checked as its page is read.
  for (const setting of ['journal_mode = WAL', 'synchronous = FULL', 'secure_delete = ON', 'cell_size_check = ON'])
    database.exec(`PRAGMA ${setting}`);
  database.exec('BEGIN IMMEDIATE');
  try {
    // Another process may have done it between the look and the lock.
    if (pragma(database, 'user_version') === version && version < schemaVersion) {
      for (const statement of migration) database.exec(statement);
      database.exec(`PRAGMA application_id = ${applicationId}`);
      database.exec(`PRAGMA user_version = ${schemaVersion}`);
    }
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
  if (statSync(file).size <= brokerCheckedFileBytesMax) checkPages(database);
  checkNewestLeaf(database);
}

function checkPages(database: DatabaseSync): void {
  const found = database.prepare('PRAGMA quick_check(1)').get() as { quick_check?: unknown } | undefined;
  if (found?.quick_check !== 'ok') throw damaged(String(found?.quick_check));
}

/** The state of the log must end where its leaves do. */
function checkNewestLeaf(database: DatabaseSync): void {
  const newest = database.prepare('SELECT place, bytes, hash FROM log_leaves ORDER BY place DESC LIMIT 1').get();
  const { size } = database.prepare('SELECT size FROM log_state WHERE one = 1').get() as { size?: unknown };
  const { place, bytes, hash } = (newest ?? { place: -1 }) as { place: number; bytes: Uint8Array; hash: Uint8Array };
  if (size !== place + 1) throw damaged(`the log ends at leaf ${place} and is said to have ${String(size)}`);
  if (newest !== undefined && !equalBytes(hashLeaf(bytes), Uint8Array.from(hash)))
    throw damaged(`leaf ${place} of the log is not what was hashed`);
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0]);
}

/** Tries again as long as another process holds the lock, without keeping this thread. */
export async function whileLocked<Result>(attempt: () => Result): Promise<Result> {
  const giveUpAt = performance.now() + brokerLockMillisecondsMax;
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      if (!isSqliteBusy(error) || performance.now() > giveUpAt) throw toDatabaseError(error);
    }
    await new Promise((resolve) => setTimeout(resolve, lockPauseMilliseconds));
  }
}
