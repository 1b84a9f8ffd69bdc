/** The rotation of a root key in a real PostgreSQL: the server goes away in the middle, and two brokers share it. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { openBrokerKeys } from '../../src/broker/release/broker-keys.ts';
import { readRootKeys, readRotation } from '../../src/broker/release/root-key.ts';
import { rotateRootKey } from '../../src/broker/release/root-rotation.ts';
import type { BrokerDatabase } from '../../src/broker/state/broker-database.ts';
import { openPostgresDatabase } from '../../src/broker/state/postgres-database.ts';
import { systemRandom as random } from '../../src/crypto/random.ts';
import { rotationKeysMax } from '../../src/lib/broker-limits.ts';
import { toHex } from '../../src/lib/hex.ts';
import { checkLog } from '../conformance/broker-database.ts';
import { rejects } from '../conformance/store.ts';
import { Home } from '../support/caisson.ts';
import { startCliBroker } from '../support/cli-broker.ts';
import type { CliBroker } from '../support/cli-broker.ts';
import { prepareBroker, workloadAt, workloadRoot } from '../support/fake-tpm-workload.ts';
import { hasPostgres, PostgresServer } from '../support/postgres.ts';
import { addKey, masterOf, mustOpen, now, openedBy, putKeys } from '../support/rotated-keys.ts';
import { requireFile, requireRoot } from '../support/tools.ts';

const server = hasPostgres() ? await PostgresServer.start() : undefined;
after(() => server?.dispose());
const [first, second] = [masterOf(1), masterOf(2)];

test('PostgreSQL is there', (t) => {
  requireRoot(t);
  requireFile(t, '/usr/lib/postgresql');
});

/** `before` runs before each commit, which is counted from 0. */
function watched(database: BrokerDatabase, before: (count: number) => Promise<void>): BrokerDatabase {
  let count = 0;
  const commit: BrokerDatabase['commit'] = async (change) => {
    await before(count++);
    return database.commit(change);
  };
  return new Proxy(database, {
    get(target, name) {
      if (name === 'commit') return commit;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

test('the server goes away before each commit of a rotation in turn, which goes on when it is back', async () => {
  if (server === undefined) return;
  for (let commits = 0; commits < 4; commits++) {
    const url = await server.createDatabase(`away${commits}`);
    const database = await openPostgresDatabase({ url });
    const { keys } = await openBrokerKeys(database, first, random, now());
    const secrets = await putKeys(database, keys, rotationKeysMax + 2);
    const cut = watched(database, async (count) => {
      if (count === commits) await server.stopAtOnce();
    });
    await rejects(rotateRootKey({ database: cut, from: first, to: second, random, now }), 'database-unreachable');
    await server.begin();
    const isGoingOn = commits > 0;
    assert.equal((await readRotation(database)) !== undefined, isGoingOn);
    await mustOpen(database, first, secrets);
    if (isGoingOn) await mustOpen(database, second, secrets);
    const keysLeft = secrets.size - (commits > 1 ? rotationKeysMax : 0) - (commits > 2 ? 2 : 0);
    assert.deepEqual(await rotateRootKey({ database, from: isGoingOn ? second : first, to: second, random, now }), {
      ...{ generation: 1, isResumed: isGoingOn, keys: keysLeft },
    });
    await mustOpen(database, second, secrets);
    await rejects(readRootKeys(database, first), 'key-wrong');
    await checkLog(database);
    await database.close();
  }
});

test('another instance that does not know of the rotation stores nothing, and one that does goes on', async () => {
  if (server === undefined) return;
  const url = await server.createDatabase('beside');
  const [database, other] = [await openPostgresDatabase({ url }), await openPostgresDatabase({ url })];
  const { keys } = await openBrokerKeys(database, first, random, now());
  const secrets = await putKeys(database, keys, 3);
  const stale = await openedBy(other, first);
  const fought = watched(database, async (count) => {
    if (count === 0) return void secrets.set('early', await addKey(other, stale, 'early'));
    await rejects(addKey(other, stale, `lost${count}`), 'object-changed');
    const fresh = await openedBy(other, count === 1 ? first : second);
    secrets.set(`fresh${count}`, await addKey(other, fresh, `fresh${count}`));
  });
  const report = await rotateRootKey({ database: fought, from: first, to: second, random, now });
  assert.deepEqual(report, { generation: 1, isResumed: false, keys: 4 });
  await rejects(addKey(other, stale, 'late'), 'object-changed');
  assert.deepEqual([...secrets.keys()].toSorted(), ['early', 'fresh1', 'fresh2', 'k0', 'k1', 'k2']);
  await mustOpen(other, second, secrets);
  await rejects(readRootKeys(other, first), 'key-wrong');
  for (const one of [database, other]) await one.close();
});

test('two brokers on one database end when the command rotates it, and come back as the same broker', async (t) => {
  if (server === undefined) return;
  const database = `database: ${await server.createDatabase('brokers')}`;
  const [home, otherHome] = [new Home(t), new Home(t)];
  const lines = [...workloadRoot(home), database];
  const broker = await startCliBroker(home, lines);
  const master = home.path('broker', 'master.key');
  const other = await startCliBroker(otherHome, [...workloadRoot(otherHome), database, `masterKey: file:${master}`]);
  await prepareBroker(home, broker);
  const before = await keyOf(other);
  const ended = [broker, other].map(({ child }) => new Promise((resolve) => child.once('close', resolve)));
  home.write('next.key', `${toHex(random.bytes(32))}\n`);
  const to = `file:${home.path('next.key')}`;
  await home.json(['broker', 'key-rotate', '--config', home.path('broker.yaml'), '--to', to]);
  for (const code of await Promise.all(ended)) assert.notEqual(code, 0);
  for (const one of [broker, other]) assert.match(one.stderr(), /the root key of this broker was rotated while it ran/);
  await assert.rejects(startCliBroker(home, lines), /is not the master key of this broker/);
  for (const at of [home, otherHome]) {
    const again = await startCliBroker(at, [...workloadRoot(at), database, `masterKey: ${to}`]);
    assert.equal(again.identity, broker.identity);
    assert.equal(await keyOf(again), before);
    assert.equal(await again.stop(), 0);
  }
});

async function keyOf(broker: CliBroker): Promise<string> {
  const access = workloadAt(broker);
  try {
    return toHex((await access.takeKey(new Uint8Array(16))).key);
  } finally {
    access.close();
  }
}
