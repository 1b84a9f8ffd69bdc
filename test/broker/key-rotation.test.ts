/** The rotation of a broker's root key: what opens before, during and after it, wherever it is killed. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { describe, it, test } from 'node:test';
import { keysBelow, openBrokerKeys } from '../../src/broker/release/broker-keys.ts';
import { readRootKeys, readRotation } from '../../src/broker/release/root-key.ts';
import { rotateRootKey } from '../../src/broker/release/root-rotation.ts';
import { newVolumeKey, openVolumeKey } from '../../src/broker/release/volume-keys.ts';
import { openSqliteDatabase } from '../../src/broker/state/sqlite-database.ts';
import { systemRandom } from '../../src/crypto/random.ts';
import { createKeyFileSource } from '../../src/keys/key-file.ts';
import type { KeySource } from '../../src/keys/key-source.ts';
import { rotationKeysMax } from '../../src/lib/broker-limits.ts';
import { patientClock } from '../../src/lib/clock.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { toHex } from '../../src/lib/hex.ts';
import { decodeLeaf } from '../../src/wire/release-log.ts';
import { rejects } from '../conformance/store.ts';
import { Home } from '../support/caisson.ts';
import { startCliBroker } from '../support/cli-broker.ts';
import { clientOf, prepareBroker, workloadAt, workloadEvidence, workloadRoot } from '../support/fake-tpm-workload.ts';
import { MemoryBrokerDatabase } from '../support/memory-broker-database.ts';
import { addKey, masterOf, mustOpen, now, openedBy, put, putKeys } from '../support/rotated-keys.ts';

const random = systemRandom;
const [first, second, third] = [masterOf(1), masterOf(2), masterOf(3)];

async function newDatabase(
  keyCount: number,
): Promise<{ database: MemoryBrokerDatabase; secrets: Map<string, string> }> {
  const database = new MemoryBrokerDatabase();
  const { keys } = await openBrokerKeys(database, first, random, now());
  return { database, secrets: await putKeys(database, keys, keyCount) };
}

const rotate = (database: MemoryBrokerDatabase, from = first, to = second): ReturnType<typeof rotateRootKey> =>
  rotateRootKey({ database, from, to, random, now });

describe('a rotation of the root key', () => {
  it('leaves the keys and the identity as they are, under the new master key alone', async () => {
    const { database, secrets } = await newDatabase(3);
    const before = await openedBy(database, first);
    const wrapped = (await database.keys('acme')).map((key) => toHex(key.wrapped));
    assert.deepEqual(await rotate(database), { generation: 1, isResumed: false, keys: 3 });
    await mustOpen(database, second, secrets);
    const after = await openedBy(database, second);
    assert.deepEqual(after.brokerId, before.brokerId);
    assert.notDeepEqual(after.nonceKey, before.nonceKey);
    for (const { wrapped: now_ } of await database.keys('acme')) assert.ok(!wrapped.includes(toHex(now_)));
    await rejects(readRootKeys(database, first), 'key-wrong');
    const [renewed] = await database.keys('acme');
    assert.throws(() => openVolumeKey(renewed!, before), { code: 'database-damaged' });
    const changes = database.entries.map(({ facts }) => facts['change']).filter((change) => change !== undefined);
    assert.deepEqual(changes, ['broker-created', 'root-rotation-begun', 'root-rotation-keys', 'root-rotated']);
    assert.deepEqual(await rotate(database, second, second), { generation: 2, isResumed: false, keys: 3 });
    assert.deepEqual((await openedBy(database, second)).brokerId, before.brokerId);
  });

  it('is opened by both master keys after each of its commits, and goes on from each', async () => {
    for (let commits = 0; ; commits++) {
      const { database, secrets } = await newDatabase(rotationKeysMax + 2);
      let left = commits;
      database.beforeCommit = async () => {
        if (left-- === 0) throw new CaissonError('io', 'store-io', 'killed');
      };
      const isDone = await rotate(database).then(
        () => true,
        () => false,
      );
      database.beforeCommit = undefined;
      if (isDone) {
        assert.equal(commits, 4, 'begin, two batches of keys, end');
        return;
      }
      const isGoingOn = (await readRotation(database)) !== undefined;
      assert.equal(isGoingOn, commits > 0);
      await mustOpen(database, first, secrets);
      if (isGoingOn) {
        await mustOpen(database, second, secrets);
        await rejects(rotate(database, first, third), 'key-wrong');
        await rejects(rotate(database, third, second), 'key-wrong');
      }
      // The configuration may name the new master key already.
      const from = isGoingOn && commits % 2 === 0 ? second : first;
      const { isResumed } = await rotate(database, from);
      assert.equal(isResumed, isGoingOn);
      await mustOpen(database, second, secrets);
      await rejects(readRootKeys(database, first), 'key-wrong');
    }
  });

  it('lets nobody write below the old root key from its first commit on', async () => {
    const { database, secrets } = await newDatabase(2);
    const stale = await openedBy(database, first);
    assert.equal(await stale.areNewest(database), true);
    let refused: unknown;
    let isBegun = false;
    database.beforeCommit = async (change) => {
      if (isBegun) {
        // Between two commits of the rotation, by a broker that does not know of it.
        database.beforeCommit = undefined;
        refused = await addKey(database, stale, 'lost').catch((error: unknown) => error);
        assert.equal(await stale.areNewest(database), false);
        const fresh = await openedBy(database, first);
        secrets.set('fresh', await addKey(database, fresh, 'fresh'));
      }
      isBegun = change.effects.some((effect) => effect.kind === 'put-setting' && effect.name === 'root-rotation');
    };
    await rotate(database);
    assert.equal((refused as CaissonError).code, 'object-changed');
    assert.equal(await database.key('acme', 'lost'), undefined);
    await mustOpen(database, second, secrets);
  });

  it('passes over a key that is erased meanwhile', async () => {
    const { database, secrets } = await newDatabase(3);
    database.beforeCommit = async (change) => {
      if (change.effects[0]?.kind !== 'rewrap-key') return;
      database.beforeCommit = undefined;
      await put(database, { kind: 'erase-key', tenant: 'acme', name: 'k1', at: now() });
    };
    assert.equal((await rotate(database)).keys, 2);
    await mustOpen(database, second, secrets);
  });

  it('refuses a master key that is not the one, and changes nothing', async () => {
    const { database } = await newDatabase(1);
    const lines = database.leaves.length;
    await rejects(rotate(database, third, second), 'key-wrong');
    assert.equal(database.leaves.length, lines);
    await rejects(rotate(new MemoryBrokerDatabase()), 'name-missing');
  });
});

async function mustNotOpen(file: string, source: KeySource): Promise<void> {
  const database = await openSqliteDatabase({ file });
  await rejects(readRootKeys(database, source), 'key-wrong');
  await database.close();
}

/** Without a broker, in few commits; gives the size of the log. */
async function addManyKeys(file: string, source: KeySource, count: number): Promise<number> {
  const database = await openSqliteDatabase({ file });
  const roots = await readRootKeys(database, source);
  const keys = keysBelow(roots!, random);
  const effects = Array.from({ length: count }, (_, at) => {
    const { stored } = newVolumeKey({ tenant: 'acme', key: `many-${at}` }, 'main', keys, random, now());
    return { kind: 'create-key', key: stored } as const;
  });
  const entry = { kind: 'key-create', at: now(), tenant: 'acme', facts: { keys: count } } as const;
  const { firstIndex } = await database.commit({ effects, entries: [entry] });
  await database.close();
  return firstIndex + 1;
}

test('the command is killed at any moment, goes on, and the broker then releases the same keys', async (t) => {
  const home = new Home(t);
  const roots = workloadRoot(home);
  const names = ['data', 'more'];
  const broker = await startCliBroker(home, roots);
  await prepareBroker(home, broker, names);
  const before = new Map<string, string>();
  for (const name of names) {
    const access = workloadAt(broker, name);
    before.set(name, toHex((await access.takeKey(new Uint8Array(16))).key));
    access.close();
  }
  assert.equal(await broker.stop(), 0);
  const state = home.path('broker');
  home.write('next.key', `${toHex(random.bytes(32))}\n`);
  const file = `${state}/broker.sqlite`;
  const from = createKeyFileSource({ content: fs.readFileSync(`${state}/master.key`), random });
  const begun = await addManyKeys(file, from, 16 * rotationKeysMax);
  const command = ['broker', 'key-rotate', '--state', state, '--to', `file:${home.path('next.key')}`];
  let kills = 0;
  // Once it has begun, after some of its keys, after most of them: whenever another process sees that much in the log.
  for (const lines of [1, 4, 9]) {
    const child = home.spawn(command);
    const ended = new Promise<NodeJS.Signals | null>((resolve) => child.once('close', (_, signal) => resolve(signal)));
    const watching = new DatabaseSync(file, { readOnly: true });
    const size = watching.prepare('SELECT size FROM log_state');
    while (child.exitCode === null && Number(size.get()?.['size']) < begun + lines) await patientClock.turn();
    child.kill('SIGKILL');
    watching.close();
    if ((await ended) === 'SIGKILL') kills++;
  }
  assert.ok(kills > 0, 'it was killed in the middle');
  const ended = await home.run(command);
  assert.equal(ended.code, 0, ended.stderr);
  await assert.rejects(startCliBroker(home, roots), /is not the master key of this broker/);
  const again = await startCliBroker(home, [...roots, `masterKey: file:${home.path('next.key')}`]);
  assert.equal(again.identity, broker.identity);
  for (const name of names) {
    const access = workloadAt(again, name);
    assert.equal(toHex((await access.takeKey(new Uint8Array(16))).key), before.get(name), name);
    access.close();
  }
  assert.equal(await again.stop(), 0);
  await mustNotOpen(file, from);
  const database = await openSqliteDatabase({ file: `${state}/broker.sqlite` });
  const changes = (await database.logLeaves(begun, 100)).map(({ bytes }) => decodeLeaf(bytes).facts['change']);
  assert.equal(changes.filter((change) => change === 'root-rotation-begun').length, 1);
  assert.equal(changes.filter((change) => change === 'root-rotated').length, 1);
  await database.close();
});

test('a broker that runs while its root key is rotated ends with a name, and ends no session wrongly before', async (t) => {
  const home = new Home(t);
  const roots = workloadRoot(home);
  const broker = await startCliBroker(home, roots);
  await prepareBroker(home, broker);
  const client = clientOf(broker);
  home.write('next.key', `${toHex(random.bytes(32))}\n`);
  const ended = new Promise<number | null>((resolve) => broker.child.once('close', resolve));
  const source = workloadEvidence();
  await home.json(['broker', 'key-rotate', '--state', home.path('broker'), '--to', `file:${home.path('next.key')}`]);
  const released = client.release({ tenant: 'acme', key: 'data' }, source);
  // Either it has noticed and is gone, or the commit tells it; a key that it cannot keep is never given out.
  await assert.rejects(released, (error) => error instanceof CaissonError);
  assert.notEqual(await ended, 0);
  assert.match(broker.stderr(), /the root key of this broker was rotated while it ran/);
  client.close();
});
