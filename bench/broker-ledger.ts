/**
 * The ledger of a broker by itself: anchors that advance a second, each durable before it is answered, with the
 * log line that belongs to it. On the disk, since the time of a sync is what this is about. Figures of
 * PostgreSQL appear where a server is installed and this runs as root.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { AnchorState } from '../src/anchor/anchor.ts';
import { toHex } from '../src/lib/hex.ts';
import type { BrokerDatabase } from '../src/broker/state/broker-database.ts';
import { openPostgresDatabase } from '../src/broker/state/postgres-database.ts';
import { openSqliteDatabase } from '../src/broker/state/sqlite-database.ts';
import { hasPostgres, PostgresServer } from '../test/support/postgres.ts';
import { part } from './part.ts';
import type { PartContext } from './part.ts';
import { median } from './statistics.ts';

const tenant = 'bench';
const waitersOfSqlite = [1, 64, 512] as const;
const waitersOfPostgres = 256;
const warmUpMilliseconds = 200;

export async function brokerLedgerFigures(context: PartContext): Promise<void> {
  await part(context, 'broker-ledger', async () => {
    await measureSqlite(context);
    if (hasPostgres()) await measurePostgres(context);
  });
}

async function measureSqlite(context: PartContext): Promise<void> {
  const folder = fs.mkdtempSync(path.join(context.disk, 'broker-'));
  try {
    const database = await openSqliteDatabase({ file: path.join(folder, 'broker.sqlite') });
    await addTenant(database);
    for (const waiters of waitersOfSqlite) await addFigure(context, `sqlite-${waiters}`, [database], waiters);
    await database.close();
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

async function measurePostgres(context: PartContext): Promise<void> {
  // PostgreSQL runs as a user of its own, which has to pass through.
  fs.chmodSync(context.disk, 0o711);
  const server = await PostgresServer.start(context.disk);
  try {
    const one = await openPostgresDatabase({ url: server.url() });
    const two = await openPostgresDatabase({ url: server.url() });
    await addTenant(one);
    await addFigure(context, 'postgresql-1', [one], waitersOfPostgres);
    await addFigure(context, 'postgresql-2', [one, two], waitersOfPostgres);
    await one.close();
    await two.close();
  } finally {
    await server.dispose();
  }
}

async function addTenant(database: BrokerDatabase): Promise<void> {
  await database.commit({
    effects: [{ kind: 'put-tenant', tenant: { name: tenant, adminTokenDigest: new Uint8Array(32) }, isNew: true }],
    entries: [{ kind: 'tenant-change', at: 1, tenant, facts: { name: tenant } }],
  });
}

async function addFigure(
  context: PartContext,
  name: string,
  databases: readonly BrokerDatabase[],
  waiters: number,
): Promise<void> {
  await advancesPerSecond(databases, waiters, warmUpMilliseconds);
  const rates: number[] = [];
  const groupsBefore = sum(databases, 'groups');
  const commitsBefore = sum(databases, 'commits');
  for (let round = 0; round < context.rounds; round++)
    rates.push(await advancesPerSecond(databases, waiters, context.seconds * 1000));
  const group = (sum(databases, 'commits') - commitsBefore) / (sum(databases, 'groups') - groupsBefore);
  context.add({
    id: `broker-ledger-${name}`,
    title: `broker ledger, durable anchor advances, ${name}`,
    value: median(rates),
    unit: 'op/s',
    note: `${waiters} waiting, ${group.toFixed(1)} in a group`,
  });
}

/** Each waiter has a volume of its own and asks for the next advance when the last one is durable. */
async function advancesPerSecond(
  databases: readonly BrokerDatabase[],
  waiters: number,
  milliseconds: number,
): Promise<number> {
  const started = performance.now();
  const endsAt = started + milliseconds;
  let advances = 0;
  const wait = async (waiter: number): Promise<void> => {
    const database = databases[waiter % databases.length]!;
    const volumeId = new Uint8Array(16);
    new DataView(volumeId.buffer).setUint32(0, waiter);
    for (let sequence = nextSequence(); performance.now() < endsAt; sequence = nextSequence()) {
      await advance(database, stateAt(volumeId, sequence));
      advances++;
    }
  };
  await Promise.all(Array.from({ length: waiters }, (_, waiter) => wait(waiter)));
  return (advances * 1000) / (performance.now() - started);
}

/** One count for all volumes and rounds: every state is after the one before. */
let sequences = 0;
const nextSequence = (): number => ++sequences;

function stateAt(volumeId: Uint8Array, sequence: number): AnchorState {
  const chain = new Uint8Array(16);
  new DataView(chain.buffer).setUint32(0, sequence);
  return { volumeId, epoch: 1, manifestNumber: 1, manifestDigest: new Uint8Array(32), sequence, chain };
}

/** With the facts that the broker itself logs. */
async function advance(database: BrokerDatabase, state: AnchorState): Promise<void> {
  const facts = {
    volume: toHex(state.volumeId),
    epoch: state.epoch,
    manifestNumber: state.manifestNumber,
    manifestDigest: toHex(state.manifestDigest),
    sequence: state.sequence,
    session: toHex(state.chain),
  };
  await database.commit({
    effects: [{ kind: 'advance-anchors', tenant, states: [state] }],
    entries: [{ kind: 'anchor-advance', at: 1_790_000_000_000, tenant, facts }],
  });
}

function sum(databases: readonly BrokerDatabase[], counter: 'groups' | 'commits'): number {
  return databases.reduce((total, { counters }) => total + counters[counter], 0);
}
