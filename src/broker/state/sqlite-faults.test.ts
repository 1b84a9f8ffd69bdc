/** Files that cannot be used, disks that are full, processes that are killed: each named, nothing acknowledged lost. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { stateAt, volumeId } from '../../../test/conformance/anchor.ts';
import { advance, change, checkLog, entry, putTenant, tenantName } from '../../../test/conformance/broker-database.ts';
import { advanceUntilKilled, mustHold } from '../../../test/support/killed-advances.ts';
import { requireRoot, run } from '../../../test/support/tools.ts';
import { openSqliteDatabase } from './sqlite-database.ts';
import type { SqliteBrokerDatabase } from './sqlite-database.ts';

function newFile(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-broker-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return path.join(folder, 'broker.db');
}

async function openNew(t: TestContext, file: string): Promise<SqliteBrokerDatabase> {
  const database = await openSqliteDatabase({ file });
  t.after(() => database.close());
  await database.commit(change(putTenant(tenantName)));
  return database;
}

/** A file system of its own, small or read-only at will. */
async function smallFileSystem(t: TestContext, size: string): Promise<string> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-broker-small-'));
  const mounted = await run('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder]);
  assert.equal(mounted.status, 0, mounted.output);
  t.after(async () => {
    await run('umount', ['-l', folder]);
    fs.rmdirSync(folder);
  });
  return folder;
}

const long = (place: number): { effects: []; entries: [ReturnType<typeof entry>] } => ({
  effects: [],
  entries: [entry({ place, text: 'x'.repeat(12_000) })],
});

test('the file is for its user alone', async (t) => {
  const file = newFile(t);
  await openNew(t, file);
  for (const name of ['', '-wal', '-shm']) assert.equal(fs.statSync(file + name).mode & 0o777, 0o600, name);
});

test('a broker that is killed in mid-advance loses nothing that it acknowledged', async (t) => {
  const file = newFile(t);
  await (await openNew(t, file)).close();
  for (const [index, advancesMin] of [1, 100, 400].entries()) {
    // Volumes of its own for each: what one of them began, the next would begin anew.
    const acknowledged = await advanceUntilKilled('sqlite', file, index * 20, advancesMin);
    const database = await openSqliteDatabase({ file });
    await mustHold(database, acknowledged);
    await checkLog(database);
    await database.close();
  }
});

test('a lock of another process is waited for, and named where it stays', async (t) => {
  const file = newFile(t);
  const database = await openNew(t, file);
  const other = new DatabaseSync(file);
  other.exec('BEGIN IMMEDIATE');
  setTimeout(() => other.exec('ROLLBACK'), 200);
  await database.commit(change(advance(stateAt(1, 1, 1))));
  other.exec('BEGIN IMMEDIATE');
  await assert.rejects(database.commit(change(advance(stateAt(1, 1, 2)))), {
    code: 'database-locked',
    kind: 'transient',
  });
  other.exec('ROLLBACK');
  other.close();
  await database.commit(change(advance(stateAt(1, 1, 2))));
});

test('a full disk is named, loses nothing, and the broker goes on once there is room', async (t) => {
  if (!requireRoot(t)) return;
  const folder = await smallFileSystem(t, '4m');
  const database = await openNew(t, path.join(folder, 'broker.db'));
  let written = 1;
  let failure: unknown;
  while (failure === undefined) {
    await database.commit(long(written)).then(
      () => written++,
      (error: unknown) => (failure = error),
    );
  }
  assert.equal((failure as { code?: unknown }).code, 'database-full');
  assert.equal((await database.logTree()).size, written);
  const grown = await run('mount', ['-o', 'remount,size=16m', folder]);
  assert.equal(grown.status, 0, grown.output);
  assert.deepEqual(await database.commit(long(written)), { firstIndex: written });
  assert.equal(await checkLog(database), written + 1);
});

test('a file that cannot be written is named', async (t) => {
  if (!requireRoot(t)) return;
  const folder = await smallFileSystem(t, '4m');
  const file = path.join(folder, 'broker.db');
  await (await openNew(t, file)).close();
  assert.equal((await run('mount', ['-o', 'remount,ro', folder])).status, 0);
  await assert.rejects(openSqliteDatabase({ file }), { code: 'database-read-only', kind: 'denied' });
  await assert.rejects(openSqliteDatabase({ file: path.join(folder, 'new.db') }), { code: 'database-read-only' });
  await assert.rejects(openSqliteDatabase({ file: path.join(folder, 'no', 'folder.db') }), { code: 'store-io' });
});

test('what is no database, another one, or a newer one is named', async (t) => {
  const file = newFile(t);
  fs.writeFileSync(file, 'this is not a database '.repeat(400));
  await assert.rejects(openSqliteDatabase({ file }), { code: 'database-damaged', kind: 'integrity' });
  fs.rmSync(file);
  const foreign = new DatabaseSync(file);
  foreign.exec('CREATE TABLE recipes (name TEXT)');
  foreign.close();
  await assert.rejects(openSqliteDatabase({ file }), { code: 'format-invalid' });
  fs.rmSync(file);
  await (await openNew(t, file)).close();
  const newer = new DatabaseSync(file);
  newer.exec('PRAGMA user_version = 99');
  newer.close();
  await assert.rejects(openSqliteDatabase({ file }), { code: 'format-version' });
});

test('a damaged page is seen when the database is opened', async (t) => {
  const file = newFile(t);
  const database = await openNew(t, file);
  for (let place = 1; place < 60; place++) await database.commit(long(place));
  await database.close();
  // In the middle: neither the schema nor the newest line lies there.
  const page = Math.floor(fs.statSync(file).size / 4096 / 2);
  const handle = fs.openSync(file, 'r+');
  fs.writeSync(handle, new Uint8Array(64).fill(0xa5), 0, 64, page * 4096);
  fs.closeSync(handle);
  await assert.rejects(openSqliteDatabase({ file }), { code: 'database-damaged', kind: 'integrity' });
});

for (const [what, sql] of [
  ['the newest leaf is gone', 'DELETE FROM log_leaves WHERE place = 5'],
  ['the newest leaf is another', "UPDATE log_leaves SET bytes = x'7b7d' WHERE place = 5"],
  ['the state of the log is of another size', 'UPDATE log_state SET size = 3'],
  ['the frontier is cut off', "UPDATE log_state SET frontier = x''"],
] as const) {
  test(`refused: ${what}`, async (t) => {
    const file = newFile(t);
    const database = await openNew(t, file);
    for (let place = 1; place < 6; place++) await database.commit(change(advance(stateAt(1, 1, place))));
    await database.close();
    const hand = new DatabaseSync(file);
    hand.exec(sql);
    hand.close();
    await assert.rejects(openSqliteDatabase({ file }), { code: 'database-damaged' });
  });
}

test('a row that cannot be read is damage, and nothing is written after it', async (t) => {
  const file = newFile(t);
  const database = await openNew(t, file);
  await database.commit(change(advance(stateAt(1, 1, 1))));
  const hand = new DatabaseSync(file);
  hand.exec("UPDATE anchors SET manifest_digest = x'00'");
  hand.close();
  await assert.rejects(database.anchor(tenantName, volumeId), { code: 'database-damaged' });
  await assert.rejects(database.commit(change(advance(stateAt(1, 1, 2)))), { code: 'database-damaged' });
  await assert.rejects(database.commit(change()), { code: 'database-damaged' });
  await assert.rejects(database.check(), { code: 'database-damaged' });
});

test('an erased key leaves no trace in the file', async (t) => {
  const file = newFile(t);
  const database = await openNew(t, file);
  const wrapped = new TextEncoder().encode('wrapped-key-that-must-be-gone');
  const key = {
    tenant: tenantName,
    name: 'data',
    id: volumeId,
    wrapped,
    policy: 'p',
    createdAt: 1,
    erasedAt: undefined,
  };
  await database.commit(change({ kind: 'create-key', key }));
  await database.commit(change({ kind: 'erase-key', tenant: tenantName, name: 'data', at: 2 }));
  await database.close();
  for (const name of fs.readdirSync(path.dirname(file)))
    assert.ok(!fs.readFileSync(path.join(path.dirname(file), name)).includes(Buffer.from(wrapped)), name);
});

test('more commits than the queue holds are told to come back', async (t) => {
  const database = await openNew(t, newFile(t));
  const line = { effects: [], entries: [entry()] };
  const all = Array.from({ length: 16_384 + 5 }, () =>
    database.commit(line).catch((error: { code: string }) => error.code),
  );
  const answers = await Promise.all(all);
  assert.equal(answers.filter((answer) => answer === 'rate-limited').length, 5);
  assert.equal((await database.logTree()).size, 16_384 + 1);
  assert.equal(database.counters.groupCommitsLargest, 512);
});
