/** The broker's database in a real PostgreSQL: the suite of every database, two instances, and a server that goes away. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { BrokerDatabase } from '../../src/broker/state/broker-database.ts';
import { openPostgresDatabase } from '../../src/broker/state/postgres-database.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { stateAt, volumeId } from '../conformance/anchor.ts';
import {
  advance,
  change,
  checkLog,
  databaseConformance,
  putTenant,
  tenantName,
} from '../conformance/broker-database.ts';
import { advanceUntilKilled, mustHold } from '../support/killed-advances.ts';
import { hasPostgres, PostgresServer } from '../support/postgres.ts';
import { requireFile, requireRoot } from '../support/tools.ts';

const server = hasPostgres() ? await PostgresServer.start() : undefined;
after(() => server?.dispose());
let databases = 0;

if (server !== undefined) {
  databaseConformance('PostgreSQL', async () => {
    const url = await server.createDatabase(`conformance${databases++}`);
    const opened: BrokerDatabase[] = [];
    return {
      async open() {
        const database = await openPostgresDatabase({ url });
        opened.push(database);
        return database;
      },
      async dispose() {
        for (const database of opened) await database.close();
      },
    };
  });
}

test('PostgreSQL is there', (t) => {
  requireRoot(t);
  requireFile(t, '/usr/lib/postgresql');
});

test('a server that goes away in mid-advance is named, and everything that was acknowledged is there when it is back', async () => {
  if (server === undefined) return;
  const url = await server.createDatabase('restart');
  const database = await openPostgresDatabase({ url });
  await database.commit(change(putTenant(tenantName)));
  let acknowledged = 0;
  let failure: unknown;
  const writer = (async () => {
    for (let sequence = 1; failure === undefined; sequence++) {
      try {
        await database.commit(change(advance(stateAt(1, 1, sequence))));
        acknowledged = sequence;
      } catch (error) {
        failure = error;
      }
    }
  })();
  while (acknowledged < 20) await new Promise((resolve) => setTimeout(resolve, 5));
  await server.stopAtOnce();
  await writer;
  assert.ok(isCaissonError(failure, 'database-unreachable') && failure.kind === 'transient', String(failure));
  await assert.rejects(database.commit(change(advance(stateAt(1, 1, 10_000)))), { code: 'database-unreachable' });
  await assert.rejects(database.check(), { code: 'database-unreachable' });
  await server.begin();
  await database.check();
  const held = (await database.anchor(tenantName, volumeId))?.sequence ?? 0;
  assert.ok(held === acknowledged || held === acknowledged + 1, `held ${held}, acknowledged ${acknowledged}`);
  await database.commit(change(advance(stateAt(1, 1, 10_000))));
  assert.equal(await checkLog(database), held + 2);
  await database.close();
});

test('what the server cannot do is said by name', async () => {
  if (server === undefined) return;
  const url = await server.createDatabase('refusals');
  const wrong = (part: string, by: string): string => url.replace(part, by);
  await assert.rejects(openPostgresDatabase({ url: wrong('/refusals', '/nowhere') }), {
    code: 'configuration-invalid',
  });
  await assert.rejects(openPostgresDatabase({ url: wrong('postgres@', 'nobody@') }), { code: 'configuration-invalid' });
  await assert.rejects(openPostgresDatabase({ url: 'mysql://x' }), { code: 'configuration-invalid' });
  await assert.rejects(openPostgresDatabase({ url: 'postgresql://postgres@/x?host=/nowhere' }), {
    code: 'database-unreachable',
    kind: 'transient',
  });
  const database = await openPostgresDatabase({ url });
  await database.commit(change(putTenant(tenantName)));
  await server.sql('ALTER DATABASE refusals SET default_transaction_read_only = on');
  const readOnly = await openPostgresDatabase({ url }).catch((error: unknown) => error);
  assert.ok(isCaissonError(readOnly, 'database-read-only'), String(readOnly));
  await server.sql('ALTER DATABASE refusals RESET default_transaction_read_only');
  await server.sql('UPDATE caisson_broker.schema_version SET version = 99', 'refusals');
  await assert.rejects(openPostgresDatabase({ url }), { code: 'format-version' });
  await server.sql('UPDATE caisson_broker.schema_version SET version = 1', 'refusals');
  await server.sql("UPDATE caisson_broker.log_state SET frontier = ''", 'refusals');
  await assert.rejects(database.commit(change()), { code: 'database-damaged' });
  await database.close();
});

test('a session that keeps the log locked does not stop the broker for ever', async () => {
  if (server === undefined) return;
  const url = await server.createDatabase('locked');
  const database = await openPostgresDatabase({ url });
  const holding = server.sql(
    'BEGIN; SELECT size FROM caisson_broker.log_state FOR UPDATE; SELECT pg_sleep(8)',
    'locked',
  );
  while ((await server.sql("SELECT count(*) FROM pg_locks WHERE mode = 'RowShareLock'")) === '0\n') continue;
  await assert.rejects(database.commit(change()), { code: 'database-locked', kind: 'transient' });
  await holding;
  await database.commit(change(putTenant(tenantName)));
  await database.close();
});

test('of two brokers on one database one is killed in mid-advance, the other goes on, and the log holds', async () => {
  if (server === undefined) return;
  const url = await server.createDatabase('killed');
  const survivor = await openPostgresDatabase({ url });
  await survivor.commit(change(putTenant(tenantName)));
  let isDone = false;
  const own = { volumeId: new Uint8Array(16).fill(200) };
  let acknowledged = 0;
  const surviving = (async () => {
    for (let sequence = 1; !isDone; sequence++) {
      await survivor.commit(change(advance(stateAt(1, 1, sequence, own))));
      acknowledged = sequence;
    }
  })();
  const first = await advanceUntilKilled('postgresql', url, 0, 100);
  const second = await advanceUntilKilled('postgresql', url, 100, 300);
  const atKill = acknowledged;
  while (acknowledged < atKill + 20) await new Promise((resolve) => setTimeout(resolve, 5));
  isDone = true;
  await surviving;
  for (const told of [first, second, new Map([[200, acknowledged]])]) await mustHold(survivor, told);
  await checkLog(survivor);
  await survivor.close();
});
