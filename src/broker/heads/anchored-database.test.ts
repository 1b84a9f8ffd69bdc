/** Old copies of a broker's database are put back, at rest and under its feet: each is refused. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { stateAt } from '../../../test/conformance/anchor.ts';
import { advance, change, entry, putTenant, tenantName } from '../../../test/conformance/broker-database.ts';
import { systemClock } from '../../lib/clock.ts';
import type { Clock } from '../../lib/clock.ts';
import { CaissonError } from '../../lib/errors.ts';
import { decodeLeaf } from '../../wire/release-log.ts';
import type { BrokerDatabase } from '../state/broker-database.ts';
import { openSqliteDatabase } from '../state/sqlite-database.ts';
import { openAnchoredDatabase } from './anchored-database.ts';
import type { AnchoringOptions } from './anchored-database.ts';
import { openFileHeadAnchor } from './file-head-anchor.ts';
import type { LogHead, LogHeadAnchor } from './log-head-anchor.ts';
import { checkHeadAdvance } from './log-head-anchor.ts';

interface Place {
  readonly file: string;
  readonly headFile: string;
  open(changes?: Partial<AnchoringOptions>): Promise<BrokerDatabase>;
}

function newPlace(t: TestContext): Place {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-anchored-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const file = path.join(folder, 'broker.db');
  const headFile = path.join(folder, 'log.head');
  return {
    file,
    headFile,
    async open(changes = {}) {
      const anchor = openFileHeadAnchor(headFile);
      const database = await openSqliteDatabase({ file });
      t.after(() => database.close());
      const options = { anchor, clock: systemClock, everyMilliseconds: 0, acceptsRollback: false, ...changes };
      return openAnchoredDatabase(database, options).catch(async (error: unknown) => {
        await database.close();
        throw error;
      });
    },
  };
}

const advanceTo = (database: BrokerDatabase, sequence: number): Promise<unknown> =>
  database.commit(change(advance(stateAt(1, 1, sequence))));

/** A head in memory that counts its moves and can be made to fail. */
class MemoryHead implements LogHeadAnchor {
  readonly describe = 'memory';
  readonly millisecondsMin = 0;
  held: LogHead | undefined;
  moves = 0;
  isAway = false;

  read(): Promise<LogHead | undefined> {
    if (this.isAway) return Promise.reject(new CaissonError('transient', 'broker-unreachable', 'away'));
    return Promise.resolve(this.held);
  }

  async advance(head: LogHead): Promise<void> {
    checkHeadAdvance(this.held, head);
    await this.replace(head);
  }

  replace(head: LogHead): Promise<void> {
    this.held = head;
    this.moves++;
    return Promise.resolve();
  }
}

test('an older copy of the database is refused, until it is accepted and logged', async (t) => {
  const place = newPlace(t);
  const database = await place.open();
  await database.commit(change(putTenant(tenantName)));
  await database.close();
  const old = fs.readFileSync(place.file);
  const again = await place.open();
  await advanceTo(again, 1);
  await again.close();
  fs.writeFileSync(place.file, old);
  await assert.rejects(place.open(), { code: 'database-rolled-back', details: { heldSize: 2, size: 1 } });
  await assert.rejects(place.open(), { code: 'database-rolled-back' });
  const accepted = await place.open({ acceptsRollback: true });
  const [leaf] = await accepted.logLeaves(1, 1);
  const { kind, facts } = decodeLeaf(leaf!.bytes);
  assert.deepEqual([kind, facts['heldSize'], facts['size']], ['restore', 2, 1]);
  await accepted.close();
  await (await place.open()).close();
});

test('an older copy that went on by itself is refused, too', async (t) => {
  const place = newPlace(t);
  const database = await place.open();
  await database.commit(change(putTenant(tenantName)));
  await database.close();
  const old = fs.readFileSync(place.file);
  const again = await place.open();
  await advanceTo(again, 1);
  await again.close();
  fs.writeFileSync(place.file, old);
  const aside = await openSqliteDatabase({ file: place.file });
  for (let place = 1; place < 4; place++) await aside.commit({ effects: [], entries: [entry({ aside: place })] });
  await aside.close();
  await assert.rejects(place.open(), { code: 'database-rolled-back', message: /first 2 lines are others/ });
});

test('without an interval every answer is covered by the kept head, and waiting commits share a move', async (t) => {
  const place = newPlace(t);
  const anchor = new MemoryHead();
  const database = await place.open({ anchor });
  await database.commit(change(putTenant(tenantName)));
  assert.equal(anchor.held?.size, 1);
  anchor.moves = 0;
  await Promise.all(Array.from({ length: 40 }, () => advanceTo(database, 1)));
  assert.equal(anchor.held?.size, 41);
  assert.ok(anchor.moves <= 2, `${anchor.moves} moves`);
  assert.equal(database.counters.headAnchoredSize, 41);
  await database.close();
});

test('a place that is away is named, nothing is answered meanwhile, and the head follows later', async (t) => {
  const place = newPlace(t);
  const anchor = new MemoryHead();
  const database = await place.open({ anchor });
  await database.commit(change(putTenant(tenantName)));
  anchor.isAway = true;
  await assert.rejects(advanceTo(database, 1), { code: 'broker-unreachable', kind: 'transient' });
  assert.equal(database.counters.headAnchorFailures, 1);
  anchor.isAway = false;
  await advanceTo(database, 1);
  assert.equal(anchor.held?.size, 3);
  anchor.isAway = true;
  await database.close();
  await assert.rejects(place.open({ anchor }), { code: 'broker-unreachable' });
});

test('with an interval the head moves when it is over, and when the database is closed', async (t) => {
  const place = newPlace(t);
  const anchor = new MemoryHead();
  const due: { callback: () => void; milliseconds: number }[] = [];
  const clock: Clock = {
    ...systemClock,
    after: (milliseconds, callback) => {
      due.push({ callback, milliseconds });
      return () => undefined;
    },
  };
  const database = await place.open({ anchor, clock, everyMilliseconds: 500 });
  await database.commit(change(putTenant(tenantName)));
  await advanceTo(database, 1);
  assert.equal(anchor.held?.size, 0);
  assert.deepEqual(
    due.map(({ milliseconds }) => milliseconds),
    [500],
  );
  anchor.isAway = true;
  due.shift()!.callback();
  while (database.counters.headAnchorFailures === 0) await systemClock.turn();
  await systemClock.turn();
  anchor.isAway = false;
  due.shift()!.callback();
  while (database.counters.headAnchoredSize !== 2) await systemClock.turn();
  assert.equal((await anchor.read())?.size, 2);
  await advanceTo(database, 2);
  await database.close();
  assert.equal(anchor.held?.size, 3);
});

test('a database that falls back under the broker stops it for good', async (t) => {
  const place = newPlace(t);
  const anchor = new MemoryHead();
  const database = await place.open({ anchor });
  await database.commit(change(putTenant(tenantName)));
  // As after a failover to a server that lagged behind: another history, as far as the head goes.
  anchor.held = { size: 1, root: new Uint8Array(32) };
  await assert.rejects(advanceTo(database, 1), { code: 'database-rolled-back' });
  for (const work of [
    () => database.commit({ effects: [], entries: [entry()] }),
    () => database.tenant(tenantName),
    () => database.key(tenantName, 'a'),
    () => database.logTree(),
    () => database.check(),
  ])
    await assert.rejects(async () => work(), { code: 'database-rolled-back' });
  await database.close();
});

test('two brokers on one database share a place for its head', async (t) => {
  const place = newPlace(t);
  const anchor = new MemoryHead();
  const one = await place.open({ anchor });
  const two = await place.open({ anchor });
  await one.commit(change(putTenant(tenantName)));
  await Promise.all(Array.from({ length: 60 }, (_, index) => advanceTo(index % 2 === 0 ? one : two, 1)));
  assert.equal(anchor.held?.size, 61);
  assert.equal(one.counters.headAnchorFailures, 0);
  await one.close();
  await two.close();
});

test('a kept head that was changed is refused, until it is accepted', async (t) => {
  const place = newPlace(t);
  await (await place.open()).close();
  fs.writeFileSync(place.headFile, 'what is this');
  await assert.rejects(place.open(), { code: 'anchor-tampered' });
  const accepted = await place.open({ acceptsRollback: true });
  assert.equal(decodeLeaf((await accepted.logLeaves(0, 1))[0]!.bytes).facts['held'], 'unreadable');
  await accepted.close();
  await (await place.open()).close();
});
