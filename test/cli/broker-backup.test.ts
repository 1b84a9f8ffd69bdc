/** `caisson broker backup` and `restore` by the real command. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { openSqliteDatabase } from '../../src/broker/state/sqlite-database.ts';
import { change, checkLog, putTenant, tenantName } from '../conformance/broker-database.ts';
import { Home } from '../support/caisson.ts';
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
