/** `caisson broker backup` and `restore` by the real command. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { openSqliteDatabase } from '../../src/broker/state/sqlite-database.ts';
import { change, checkLog, putTenant, tenantName } from '../conformance/broker-database.ts';
import { decodeBackupHeader, encodeBackupHeader } from '../../src/broker/backup/backup-header.ts';
import { signHead } from '../../src/wire/release-log.ts';
import { Home } from '../support/caisson.ts';
import { startCliBroker } from '../support/cli-broker.ts';
import { logKey } from '../support/log-file.ts';
import { toHex } from '../../src/lib/hex.ts';

test('a database is copied beside its broker, checked, and made anew from the copy', async (t) => {
  const home = new Home(t);
  const database = await openSqliteDatabase({ file: home.path('broker.sqlite') });
  await database.commit(change(putTenant(tenantName)));
  const backup = ['broker', 'backup', '--database', 'broker.sqlite', '--to', 'one.backup'];
  const made = await home.json(backup);
  assert.deepEqual([made['logSize'], made['isHeadSigned']], [1, false]);
  await database.commit(change(putTenant('second')));
  assert.equal((await home.error(backup)).code, 'name-exists');
  await database.close();
  const restore = ['broker', 'restore', '--from', 'one.backup', '--database'];
  assert.equal((await home.error([...restore, 'broker.sqlite'])).code, 'name-exists');
  assert.equal((await home.error([...restore, 'x', '--key', toHex(logKey.publicKey)])).code, 'backup-invalid');
  const text = await home.run([...restore, 'new.sqlite']);
  assert.equal(text.code, 0);
  assert.match(text.stdout, /a log of 1 lines, every line checked/);
  const again = await openSqliteDatabase({ file: home.path('new.sqlite') });
  assert.equal(await checkLog(again), 1);
  await again.close();
  fs.writeFileSync(home.path('bad.backup'), 'hello');
  const bad = ['broker', 'restore', '--from', 'bad.backup', '--database', 'x'];
  assert.equal((await home.error(bad)).code, 'backup-ended-early');
  const nowhere = ['broker', 'backup', '--database', 'missing.sqlite', '--to', 'two.backup'];
  assert.equal((await home.error(nowhere)).code, 'name-missing');
  assert.ok(!fs.existsSync(home.path('missing.sqlite')));
});

test('a backup is signed by the broker that it is of, and a restore asks for that signature', async (t) => {
  const home = new Home(t);
  const broker = await startCliBroker(home);
  const state = home.path('broker');
  const database = `${state}/broker.sqlite`;
  const made = await home.json(['broker', 'backup', '--database', database, '--to', 'signed.backup']);
  assert.equal(made['isHeadSigned'], true);
  assert.equal(await broker.stop(), 0);
  const masterKey = `file:${state}/master.key`;
  const restore = (from: string, to: string, ...more: string[]): string[] => {
    return ['broker', 'restore', '--from', from, '--database', to, ...more];
  };
  const restored = await home.json(restore('signed.backup', 'one.sqlite', '--master-key', masterKey));
  assert.deepEqual([restored['isHeadSigned'], restored['isHeadChecked']], [true, true]);
  assert.equal((await home.json(restore('signed.backup', 'two.sqlite')))['isHeadChecked'], false);
  // Another master key opens no keys in it; a head that another broker signed is of no use.
  const other = home.keyFile('other.key');
  const wrong = await home.error(restore('signed.backup', 'x', '--master-key', `file:${other}`));
  assert.equal(wrong.code, 'key-wrong');
  const forged = fs.readFileSync(home.path('signed.backup'));
  const { logSize, logRoot, head, ...header } = decodeBackupHeader(forged);
  assert.ok(head !== undefined);
  const strange = signHead(logKey, logSize, logRoot, 1);
  for (const [name, by] of [
    ['strange', strange],
    ['unsigned', undefined],
  ] as const) {
    const bytes = encodeBackupHeader({ ...header, logSize, logRoot, head: by });
    fs.writeFileSync(home.path(name), Buffer.concat([bytes, forged.subarray(bytes.length)]));
    assert.equal((await home.error(restore(name, 'x', '--master-key', masterKey))).code, 'backup-invalid', name);
    assert.ok(!fs.existsSync(home.path('x')));
  }
  const bad = ['broker', 'backup', '--database', database, '--to', 'y', '--master-key', `file:${other}`];
  assert.equal((await home.error(bad)).code, 'key-wrong');
  assert.ok(!fs.existsSync(home.path('y')));
});
