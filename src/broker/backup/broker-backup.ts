/**
 * Backup and restore of a broker's SQLite database. Spec: spec/broker-state.md, "Backup of SQLite".
 *
 * Invariants: a backup is a consistent state of a running broker, in a new file that has its name once it is
 * whole; a restore checks everything before the database gets its name, and never replaces one.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import fs from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { equalBytes } from '../../crypto/digest.ts';
import { CaissonError, isCaissonError, messageOf } from '../../lib/errors.ts';
import { brokerBackupPieceBytes, brokerLogLeavesMax } from '../../lib/limits.ts';
import { Frontier, hashLeaf } from '../../wire/merkle.ts';
import { isHeadSignedBy } from '../../wire/release-log.ts';
import type { SignedHead } from '../../wire/release-log.ts';
import type { BrokerDatabase } from '../state/broker-database.ts';
import { decodeFrontier } from '../state/log-rows.ts';
import type { SqliteBrokerDatabase } from '../state/sqlite-database.ts';
import { openSqliteDatabase } from '../state/sqlite-database.ts';
import { toDatabaseError } from '../state/sqlite-errors.ts';
import type { Row } from '../state/tables.ts';
import { backupHeaderBytes, backupInvalid, decodeBackupHeader, encodeBackupHeader } from './backup-header.ts';
import type { BackupHeader } from './backup-header.ts';

export interface BackupOptions {
  /** A new file. */
  readonly file: string;
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Signs the head of the log that is in the backup, where its key is at hand. */
  readonly signHead?: (size: number, root: Uint8Array) => SignedHead;
}

export async function backupDatabase(
  database: SqliteBrokerDatabase,
  { file, time, signHead }: BackupOptions,
): Promise<BackupHeader> {
  mustBeNew(file);
  const raw = `${file}.raw`;
  const draft = `${file}.part`;
  return withoutLeavings([raw, `${raw}-journal`, draft], async () => {
    await database.backupTo(raw);
    const { size, root } = readTree(raw);
    const { bytes, digest } = await copyContent(raw, 0, draft, backupHeaderBytes);
    const head = signHead?.(size, root);
    const header = { databaseBytes: bytes, digest, logSize: size, logRoot: root, time, head };
    const handle = await fs.open(draft, 'r+');
    await writeDurably(handle, encodeBackupHeader(header));
    await giveName(draft, file);
    return header;
  });
}

export interface RestoreOptions {
  readonly backup: string;
  /** A new file. */
  readonly file: string;
  /** The key of the log: the backup must have a head that it signed. */
  readonly publicKey: Uint8Array | undefined;
  /** The same key, as the keys in the restored database give it. */
  readonly signerOf?: ((database: BrokerDatabase) => Promise<Uint8Array>) | undefined;
}

export async function restoreDatabase({ backup, file, publicKey, signerOf }: RestoreOptions): Promise<BackupHeader> {
  mustBeNew(file);
  const header = decodeBackupHeader(await readHeader(backup));
  if (publicKey !== undefined) mustBeSigned(header, publicKey);
  const draft = `${file}.part`;
  return withoutLeavings([draft, `${draft}-wal`, `${draft}-shm`], async () => {
    const { bytes, digest } = await copyContent(backup, backupHeaderBytes, draft, 0);
    if (bytes < header.databaseBytes)
      throw new CaissonError(
        'integrity',
        'backup-ended-early',
        `the backup ends after ${bytes} bytes of the database`,
        {
          remedy: 'Copy it again from where it was made.',
        },
      );
    if (bytes > header.databaseBytes || !equalBytes(digest, header.digest))
      throw backupInvalid('the database in it is not the one that its header names');
    const database = await openSqliteDatabase({ file: draft });
    try {
      await checkLeaves(database, header);
      if (signerOf !== undefined) mustBeSigned(header, await signerOf(database));
    } finally {
      await database.close();
    }
    await giveName(draft, file);
    return header;
  });
}

function mustBeSigned({ head }: BackupHeader, publicKey: Uint8Array): void {
  if (head === undefined || !isHeadSignedBy(publicKey, head))
    throw backupInvalid('its head is not signed by the key of the log');
}

/** Every leaf is hashed anew: the log of the restored database is the log of the header. */
async function checkLeaves(database: BrokerDatabase, { logSize, logRoot }: BackupHeader): Promise<void> {
  const frontier = new Frontier();
  while (frontier.size < logSize) {
    const leaves = await database.logLeaves(frontier.size, brokerLogLeavesMax);
    if (leaves.length === 0 || leaves[0]?.index !== frontier.size) break;
    for (const { bytes } of leaves) frontier.append(hashLeaf(bytes));
  }
  const tree = await database.logTree();
  const isWhole = tree.size === logSize && frontier.size === logSize;
  if (!isWhole || !equalBytes(frontier.root(), logRoot) || !equalBytes(tree.root, logRoot))
    throw backupInvalid('its log is not the one that its header names');
}

/** Of the copy itself, since commits go on beside it; in one file afterward, without a write-ahead log. */
function readTree(file: string): { readonly size: number; readonly root: Uint8Array } {
  const copy = new DatabaseSync(file);
  try {
    copy.exec('PRAGMA journal_mode = DELETE');
    const statement = copy.prepare('SELECT size, frontier FROM log_state WHERE one = 1');
    statement.setReturnArrays(true);
    const row = statement.get() as unknown as Row | undefined;
    const frontier = decodeFrontier(row?.[0], row?.[1]);
    return { size: frontier.size, root: frontier.root() };
  } catch (error) {
    throw toDatabaseError(error);
  } finally {
    copy.close();
  }
}

interface Copied {
  readonly bytes: number;
  readonly digest: Uint8Array;
}

/** From `begin` of one file to `target` of another, which is made for it; durable when it resolves. */
async function copyContent(from: string, begin: number, to: string, target: number): Promise<Copied> {
  const source = await fs.open(from, 'r');
  const sink = await fs.open(to, 'wx', 0o600);
  try {
    const piece = new Uint8Array(brokerBackupPieceBytes);
    const hash = createHash('sha256');
    let bytes = 0;
    for (;;) {
      const { bytesRead } = await source.read(piece, 0, piece.length, begin + bytes);
      if (bytesRead === 0) break;
      hash.update(piece.subarray(0, bytesRead));
      for (let done = 0; done < bytesRead;)
        done += (await sink.write(piece, done, bytesRead - done, target + bytes + done)).bytesWritten;
      bytes += bytesRead;
    }
    await sink.sync();
    return { bytes, digest: Uint8Array.from(hash.digest()) };
  } finally {
    await source.close();
    await sink.close();
  }
}

async function readHeader(file: string): Promise<Uint8Array> {
  try {
    const handle = await fs.open(file, 'r');
    try {
      const bytes = new Uint8Array(backupHeaderBytes);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
      return bytes.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw unusable(error);
  }
}

async function writeDurably(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  try {
    await handle.write(bytes, 0, bytes.length, 0);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function giveName(draft: string, file: string): Promise<void> {
  // A link, and not a rename: it does not replace a file that came meanwhile.
  await fs.link(draft, file);
  const folder = await fs.open(dirname(file), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function withoutLeavings<Result>(files: readonly string[], work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw unusable(error);
  } finally {
    for (const file of files) await fs.rm(file, { force: true });
  }
}

function mustBeNew(file: string): void {
  if (!existsSync(file)) return;
  throw new CaissonError('invalid', 'name-exists', `${file} exists already`, {
    remedy: 'Give a new name; nothing is replaced.',
  });
}

function unusable(error: unknown): CaissonError {
  if (isCaissonError(error)) return error;
  const { code } = error as { code?: unknown };
  if (code === 'ENOSPC') {
    return new CaissonError('full', 'store-full', 'no room is left for the copy of the database', {
      remedy: 'Make room, or write it elsewhere.',
      cause: error,
    });
  }
  return new CaissonError('io', 'store-io', `the copy of the database failed: ${messageOf(error)}`, {
    remedy: 'Check the paths and the rights of the files.',
    cause: error,
  });
}
