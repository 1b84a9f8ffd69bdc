import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { stateAt, volumeId } from '../../../test/conformance/anchor.ts';
import { advance, change, checkLog, putTenant, tenantName } from '../../../test/conformance/broker-database.ts';
import { logKey, otherLogKey } from '../../../test/support/log-file.ts';
import { sha256 } from '../../crypto/digest.ts';
import { signHead } from '../../wire/release-log.ts';
import { openSqliteDatabase } from '../state/sqlite-database.ts';
import type { SqliteBrokerDatabase } from '../state/sqlite-database.ts';
import { backupHeaderBytes, decodeBackupHeader, encodeBackupHeader } from './backup-header.ts';
import type { BackupHeader } from './backup-header.ts';
import { backupDatabase, restoreDatabase } from './broker-backup.ts';

interface Place {
  readonly folder: string;
  readonly database: SqliteBrokerDatabase;
  path(name: string): string;
}

async function newPlace(t: TestContext, advances: number): Promise<Place> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-broker-backup-'));
  const database = await openSqliteDatabase({ file: path.join(folder, 'broker.db') });
  t.after(async () => {
    await database.close();
    fs.rmSync(folder, { recursive: true });
  });
  await database.commit(change(putTenant(tenantName)));
  for (let sequence = 1; sequence <= advances; sequence++)
    await database.commit(change(advance(stateAt(1, 1, sequence))));
  return { folder, database, path: (name) => path.join(folder, name) };
}

const signed = (key = logKey) => ({
  time: 1_790_000_000_000,
  signHead: (size: number, root: Uint8Array) => signHead(key, size, root, 1_790_000_000_000),
});

test('a backup of a broker that goes on is a consistent state, and restores to it', async (t) => {
  const { database, path: at, folder } = await newPlace(t, 30);
  let isDone = false;
  let sequence = 30;
  const writer = (async () => {
    while (!isDone) await database.commit(change(advance(stateAt(1, 1, ++sequence))));
  })();
  const header = await backupDatabase(database, { file: at('one.backup'), ...signed() });
  isDone = true;
  await writer;
  assert.ok(header.logSize >= 31 && header.logSize <= sequence + 1, `${header.logSize}`);
  const restored = await restoreDatabase({ backup: at('one.backup'), file: at('new.db'), publicKey: logKey.publicKey });
  assert.deepEqual(restored, header);
  const again = await openSqliteDatabase({ file: at('new.db') });
  assert.equal(await checkLog(again), header.logSize);
  assert.equal((await again.anchor(tenantName, volumeId))?.sequence, header.logSize - 1);
  await again.close();
  assert.deepEqual(
    fs.readdirSync(folder).filter((name) => /part|raw/.test(name)),
    [],
  );
  assert.equal(fs.statSync(at('one.backup')).mode & 0o777, 0o600);
});

test('nothing that exists is replaced', async (t) => {
  const { database, path: at } = await newPlace(t, 1);
  await backupDatabase(database, { file: at('one.backup'), ...signed() });
  await assert.rejects(backupDatabase(database, { file: at('one.backup'), ...signed() }), { code: 'name-exists' });
  const target = { backup: at('one.backup'), file: at('broker.db'), publicKey: undefined };
  await assert.rejects(restoreDatabase(target), { code: 'name-exists' });
});

test('a backup that was changed anywhere, cut or extended is refused and leaves nothing behind', async (t) => {
  const { database, path: at, folder } = await newPlace(t, 3);
  await backupDatabase(database, { file: at('good.backup'), ...signed() });
  const good = new Uint8Array(fs.readFileSync(at('good.backup')));
  const before = fs.readdirSync(folder).length + 1;
  const flipped = (place: number): Uint8Array => good.with(place, good[place]! ^ 1);
  for (const [bytes, code] of [
    [flipped(0), 'backup-invalid'],
    [flipped(8), 'format-version'],
    [flipped(30), 'backup-invalid'],
    [flipped(backupHeaderBytes - 1), 'backup-invalid'],
    [flipped(backupHeaderBytes + 5000), 'backup-invalid'],
    [good.subarray(0, 100), 'backup-ended-early'],
    [good.subarray(0, good.length - 1), 'backup-ended-early'],
    [Uint8Array.of(...good, 0), 'backup-invalid'],
    [new Uint8Array(0), 'backup-ended-early'],
  ] as const) {
    fs.writeFileSync(at('bad.backup'), bytes);
    const restore = restoreDatabase({ backup: at('bad.backup'), file: at('new.db'), publicKey: undefined });
    await assert.rejects(restore, { code }, `${code} ${bytes.length}`);
    assert.equal(fs.readdirSync(folder).length, before);
  }
  await assert.rejects(restoreDatabase({ backup: at('none'), file: at('new.db'), publicKey: undefined }), {
    code: 'store-io',
  });
});

/** The backup with another header or another database, its digests made to fit. */
function rebuilt(
  good: Uint8Array,
  changes: Partial<BackupHeader>,
  database = good.subarray(backupHeaderBytes),
): Buffer {
  const header = { ...decodeBackupHeader(good), digest: sha256(database), databaseBytes: database.length, ...changes };
  return Buffer.concat([encodeBackupHeader(header), database]);
}

test('a backup whose log is not the one of its header is refused, though every digest fits', async (t) => {
  const { database, path: at } = await newPlace(t, 3);
  await backupDatabase(database, { file: at('good.backup'), ...signed() });
  const good = new Uint8Array(fs.readFileSync(at('good.backup')));
  const restore = (bytes: Uint8Array, key?: Uint8Array): Promise<unknown> => {
    fs.writeFileSync(at('bad.backup'), bytes);
    return restoreDatabase({ backup: at('bad.backup'), file: at('new.db'), publicKey: key });
  };
  const unsigned = { head: undefined };
  await assert.rejects(restore(rebuilt(good, { ...unsigned, logRoot: new Uint8Array(32) })), {
    message: /its log is not/,
  });
  await assert.rejects(restore(rebuilt(good, { ...unsigned, logSize: 3 })), { message: /its log is not/ });
  await assert.rejects(restore(rebuilt(good, { logSize: 3 })), { message: /signed head is of another log/ });
  await assert.rejects(restore(rebuilt(good, unsigned), logKey.publicKey), { message: /not signed/ });
  await assert.rejects(restore(good, otherLogKey.publicKey), { message: /not signed/ });
  const nonsense = new Uint8Array(8192).fill(7);
  await assert.rejects(restore(rebuilt(good, unsigned, nonsense)), { code: 'database-damaged' });
  await restore(rebuilt(good, unsigned));
});
