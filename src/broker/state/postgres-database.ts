/**
 * BrokerDatabase in PostgreSQL, shared by several brokers. Spec: spec/broker-state.md.
 *
 * Invariants:
 * - Whoever writes holds the row `log_state` from its first statement on: groups of all instances happen one
 *   after another, and what a group reads after taking the row is the newest there is.
 * - Nothing is kept between transactions that another instance could change.
 * - A connection that is lost answers `database-unreachable`: whether that group is there is not known. Asking
 *   again is safe: an anchor may advance to where it is, and a nonce that was taken is refused.
 */
import { Pool } from 'pg';
import type { PoolClient } from 'pg';
import type { AnchorState } from '../../anchor/anchor.ts';
import { CaissonError } from '../../lib/errors.ts';
import {
  brokerLockMillisecondsMax,
  brokerPostgresAttemptsMax,
  brokerPostgresConnectionsMax,
  brokerPostgresConnectMilliseconds,
  brokerPostgresStatementMilliseconds,
  brokerPurgeDelayMilliseconds,
  brokerPurgeMilliseconds,
  brokerPurgeRowsMax,
} from '../../lib/limits.ts';
import type { Frontier, NodeId } from '../../wire/merkle.ts';
import type {
  BrokerDatabase,
  Commit,
  CommitReceipt,
  DatabaseCounters,
  LogLeaf,
  StoredDocument,
  StoredKey,
  StoredSession,
  Tenant,
} from './broker-database.ts';
import { CommitPlan, planCommit, rowsTouched } from './commit-plan.ts';
import { databaseClosed, GroupCommit } from './group-commit.ts';
import type { GroupResult } from './group-commit.ts';
import { checkLeafRange, checkNodeCount, decodeFrontier, encodeFrontier, nodeMissing } from './log-rows.ts';
import { isSerializationFailure, toPostgresError } from './postgres-errors.ts';
import {
  ask,
  columnLists,
  deleteRows,
  insertRows,
  loadRows,
  schemaPlace,
  unnested,
  upsertRows,
} from './postgres-rows.ts';
import type { Asker } from './postgres-rows.ts';
import { migrationFrom, schemaVersion } from './schema.ts';
import {
  anchorTable,
  asBytes,
  asNumber,
  asText,
  documentTable,
  epochTable,
  keyIdTable,
  keyTable,
  keyText,
  rowToAnchor,
  rowToDocument,
  rowToKey,
  rowToSession,
  rowToTenant,
  sessionTable,
  settingTable,
  tables,
  tenantTable,
} from './tables.ts';
import type { Column, Row, Table } from './tables.ts';

const dialect = { number: 'bigint', bytes: 'bytea', place: schemaPlace, tableEnd: '' };
/** Any number, the same in every instance: who makes or changes the schema holds this lock. */
const schemaLock = 0x43534e42;

const leafColumns: readonly Column[] = [
  { name: 'place', type: 'number' },
  { name: 'bytes', type: 'bytes' },
  { name: 'hash', type: 'bytes' },
];
const nodeColumns: readonly Column[] = [
  { name: 'level', type: 'number' },
  { name: 'place', type: 'number' },
  { name: 'hash', type: 'bytes' },
];

export interface PostgresOptions {
  /** postgresql://user:password@host/database?sslmode=verify-full&sslrootcert=… */
  readonly url: string;
}

export async function openPostgresDatabase({ url }: PostgresOptions): Promise<BrokerDatabase> {
  const pool = makePool(url);
  try {
    const beginning = await withClient(pool, (client) => prepareSchema(client));
    return new PostgresDatabase(pool, beginning, (await readFrontier(pool)).size);
  } catch (error) {
    await pool.end();
    throw toPostgresError(error);
  }
}

class PostgresDatabase implements BrokerDatabase {
  readonly kind = 'postgresql';
  readonly #pool: Pool;
  readonly #beginning: string;
  readonly #groups: GroupCommit;
  #purgedAt = 0;
  #isClosed = false;

  constructor(pool: Pool, beginning: string, logSize: number) {
    this.#pool = pool;
    this.#beginning = beginning;
    this.#groups = new GroupCommit(logSize, (group) => this.#commitGroup(group));
  }

  get counters(): DatabaseCounters {
    return this.#groups.counters;
  }

  commit(change: Commit): Promise<CommitReceipt> {
    return this.#groups.commit(change);
  }

  tenant(name: string): Promise<Tenant | undefined> {
    return this.#one(tenantTable, [name], rowToTenant);
  }

  tenants(): Promise<readonly Tenant[]> {
    return this.#all(tenantTable, [], rowToTenant);
  }

  key(tenant: string, name: string): Promise<StoredKey | undefined> {
    return this.#one(keyTable, [tenant, name], rowToKey);
  }

  async keyById(tenant: string, id: Uint8Array): Promise<StoredKey | undefined> {
    const name = await this.#one(keyIdTable, [tenant, id], (row) => asText(row[2]));
    return name === undefined ? undefined : this.key(tenant, name);
  }

  keys(tenant: string): Promise<readonly StoredKey[]> {
    return this.#all(keyTable, [tenant], rowToKey);
  }

  document(tenant: string, kind: StoredDocument['kind'], name: string): Promise<StoredDocument | undefined> {
    return this.#one(documentTable, [tenant, kind, name], rowToDocument);
  }

  documents(tenant: string, kind: StoredDocument['kind']): Promise<readonly StoredDocument[]> {
    return this.#all(documentTable, [tenant, kind], rowToDocument);
  }

  anchor(tenant: string, volumeId: Uint8Array): Promise<AnchorState | undefined> {
    return this.#one(anchorTable, [tenant, volumeId], rowToAnchor);
  }

  session(id: Uint8Array): Promise<StoredSession | undefined> {
    return this.#one(sessionTable, [id], rowToSession);
  }

  async capabilityEpoch(tenant: string, volumeId: Uint8Array): Promise<number> {
    return (await this.#one(epochTable, [tenant, volumeId], (row) => asNumber(row[2]))) ?? 0;
  }

  setting(name: string): Promise<Uint8Array | undefined> {
    return this.#one(settingTable, [name], (row) => asBytes(row[1]));
  }

  async logLeaves(from: number, count: number): Promise<readonly LogLeaf[]> {
    const limit = checkLeafRange(from, count);
    const text = `SELECT place, bytes FROM ${schemaPlace}log_leaves WHERE place >= $1 ORDER BY place LIMIT $2`;
    const rows = await this.#ask((asker) => ask(asker, text, [from, limit]));
    return rows.map((row) => ({ index: asNumber(row[0]), bytes: asBytes(row[1]) }));
  }

  async logTree(): Promise<{ readonly size: number; readonly root: Uint8Array }> {
    const frontier = await this.#ask(readFrontier);
    return { size: frontier.size, root: frontier.root() };
  }

  async logNodes(ids: readonly NodeId[]): Promise<readonly Uint8Array[]> {
    checkNodeCount(ids);
    const place: readonly Column[] = nodeColumns.slice(0, 2);
    const text =
      `SELECT n.level, n.place, n.hash FROM ${schemaPlace}log_nodes n JOIN ${unnested(place)} AS w(level, place) ` +
      `ON n.level = w.level AND n.place = w.place UNION ALL ` +
      `SELECT 0, l.place, l.hash FROM ${schemaPlace}log_leaves l JOIN ${unnested(place)} AS w(level, place) ` +
      `ON w.level = 0 AND l.place = w.place`;
    const wanted = ids.map(({ level, index }) => [level, index]);
    const rows = await this.#ask((asker) => ask(asker, text, columnLists(place, wanted)));
    const found = new Map(rows.map((row) => [`${asNumber(row[0])} ${asNumber(row[1])}`, asBytes(row[2], 32)]));
    return ids.map((id) => {
      const hash = found.get(`${id.level} ${id.index}`);
      if (hash === undefined) throw nodeMissing(id);
      return hash;
    });
  }

  async check(): Promise<void> {
    const [row] = await this.#ask((asker) => ask(asker, "SELECT current_setting('transaction_read_only')"));
    if (row?.[0] !== 'off') throw toPostgresError({ code: '25006' });
  }

  async close(): Promise<void> {
    await this.#groups.close();
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#pool.end();
  }

  async #commitGroup(group: readonly Commit[]): Promise<GroupResult> {
    if (this.#isClosed) throw databaseClosed();
    for (let attempt = 1; ; attempt++) {
      try {
        return await withClient(this.#pool, (client) => this.#transaction(client, group));
      } catch (error) {
        if (!isSerializationFailure(error) || attempt >= brokerPostgresAttemptsMax) throw toPostgresError(error);
      }
    }
  }

  async #transaction(client: PoolClient, group: readonly Commit[]): Promise<GroupResult> {
    const frontier = await this.#begin(client);
    const held = await loadTouched(client, group);
    const plan = new CommitPlan(frontier, (table, key) => held.get(keyText(table, key)));
    const outcomes = group.map((change) => planCommit(plan, change));
    if (plan.leaves.length > 0) await this.#write(client, plan);
    await client.query(plan.leaves.length > 0 ? 'COMMIT' : 'ROLLBACK');
    return { outcomes, logSize: plan.frontier.size };
  }

  async #begin(client: PoolClient): Promise<Frontier> {
    // One message for several statements: the row is held after one turn of the network.
    const results = (await client.query({
      text: `${this.#beginning}; SELECT size::text, encode(frontier, 'hex') FROM ${schemaPlace}log_state WHERE one = 1 FOR UPDATE`,
      rowMode: 'array',
    })) as unknown as { rows: string[][] }[];
    const [size, frontier] = results.at(-1)?.rows[0] ?? [];
    return decodeFrontier(Number(size), Buffer.from(frontier ?? '', 'hex'));
  }

  async #write(client: PoolClient, plan: CommitPlan): Promise<void> {
    for (const table of tables) {
      const changes = [...plan.changes].filter((change) => change.table === table);
      const rows = changes.flatMap(({ row }) => (row === undefined ? [] : [row]));
      const gone = changes.flatMap(({ row, key }) => (row === undefined ? [key] : []));
      if (rows.length > 0) await upsertRows(client, table, rows);
      if (gone.length > 0) await deleteRows(client, table, gone);
    }
    if (plan.removedTenant !== undefined) await removeTenant(client, plan.removedTenant);
    const leaves = plan.leaves.map(({ index, bytes, hash }): Row => [index, bytes, hash]);
    const nodes = plan.nodes.map(({ level, index, hash }): Row => [level, index, hash]);
    await insertRows(client, 'log_leaves', leafColumns, leaves);
    if (nodes.length > 0) await insertRows(client, 'log_nodes', nodeColumns, nodes);
    const state = `UPDATE ${schemaPlace}log_state SET size = $1, frontier = $2 WHERE one = 1`;
    await ask(client, state, [plan.frontier.size, Buffer.from(encodeFrontier(plan.frontier))]);
    await this.#purge(client, plan.newestAt);
  }

  async #purge(client: PoolClient, now: number): Promise<void> {
    if (now < this.#purgedAt + brokerPurgeMilliseconds) return;
    this.#purgedAt = now;
    for (const [name, key] of [
      ['nonces', 'nonce'],
      ['sessions', 'id'],
    ] as const) {
      const place = `${schemaPlace}${name}`;
      const text = `DELETE FROM ${place} WHERE ${key} IN (SELECT ${key} FROM ${place} WHERE expires_at < $1 LIMIT $2)`;
      await ask(client, text, [now - brokerPurgeDelayMilliseconds, brokerPurgeRowsMax]);
    }
  }

  async #one<Found>(table: Table, key: Row, read: (row: Row) => Found): Promise<Found | undefined> {
    if (!key.every(canBeHeld)) return undefined;
    const [row] = await this.#ask((asker) => loadRows(asker, table, [key]));
    return row === undefined ? undefined : read(row);
  }

  async #all<Found>(table: Table, start: readonly string[], read: (row: Row) => Found): Promise<Found[]> {
    if (!start.every(canBeHeld)) return [];
    const names = table.columns.map(({ name }) => name);
    const conditions = start.map((_, index) => `${names[index]} = $${index + 1}`);
    const where = start.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
    // Byte by byte, as SQLite orders: not as the locale of the server has it.
    const order = `ORDER BY ${names[start.length]} COLLATE "C"`;
    const text = `SELECT ${names.join(', ')} FROM ${schemaPlace}${table.name} ${where} ${order}`;
    return (await this.#ask((asker) => ask(asker, text, start))).map(read);
  }

  async #ask<Answer>(question: (asker: Asker) => Promise<Answer>): Promise<Answer> {
    if (this.#isClosed) throw databaseClosed();
    try {
      return await question(this.#pool);
    } catch (error) {
      throw toPostgresError(error);
    }
  }
}

function makePool(url: string): Pool {
  if (!/^postgres(ql)?:\/\//.test(url)) {
    throw new CaissonError('invalid', 'configuration-invalid', 'the database is not given as postgresql://…', {
      remedy: 'Give a URL such as postgresql://broker@db.example/caisson?sslmode=verify-full.',
    });
  }
  const pool = new Pool({
    connectionString: url,
    application_name: 'caisson-broker',
    max: brokerPostgresConnectionsMax,
    connectionTimeoutMillis: brokerPostgresConnectMilliseconds,
    query_timeout: brokerPostgresStatementMilliseconds,
    statement_timeout: brokerPostgresStatementMilliseconds,
    idle_in_transaction_session_timeout: brokerPostgresStatementMilliseconds,
    lock_timeout: brokerLockMillisecondsMax,
    keepAlive: true,
  });
  // An idle connection that is lost is replaced when the next one is needed.
  pool.on('error', () => undefined);
  return pool;
}

/** A connection on which anything failed is not used again: its transaction ends with it. */
async function withClient<Result>(pool: Pool, work: (client: PoolClient) => Promise<Result>): Promise<Result> {
  const client = await pool.connect();
  // Lost between two statements: the next one fails, and says so.
  client.on('error', ignore);
  try {
    const result = await work(client);
    client.off('error', ignore);
    client.release();
    return result;
  } catch (error) {
    client.release(true);
    throw error;
  }
}

const ignore = (): void => undefined;

/** Brings the schema to the newest version and gives the statements that every transaction begins with. */
async function prepareSchema(client: PoolClient): Promise<string> {
  const settings =
    "current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')";
  const [row] = await ask(client, `SELECT ${settings}`);
  const [fsync, pages, synchronous] = row ?? [];
  if (fsync !== 'on' || pages !== 'on') {
    throw new CaissonError('invalid', 'configuration-invalid', 'the server may lose what it has confirmed', {
      remedy: 'Set fsync and full_page_writes to "on" on the server of the database.',
    });
  }
  await client.query('BEGIN');
  await ask(client, 'SELECT pg_advisory_xact_lock($1)', [schemaLock]);
  const [found] = await ask(client, `SELECT to_regclass('${schemaPlace}schema_version')::text`);
  if (found?.[0] === null || found?.[0] === undefined) {
    await client.query(`CREATE SCHEMA IF NOT EXISTS ${schemaPlace.replace('.', '')}`);
    await client.query(`CREATE TABLE ${schemaPlace}schema_version (version bigint NOT NULL)`);
    await client.query(`INSERT INTO ${schemaPlace}schema_version VALUES (0)`);
  }
  const [held] = await ask(client, `SELECT version FROM ${schemaPlace}schema_version`);
  for (const statement of migrationFrom(asNumber(held?.[0]), dialect)) await client.query(statement);
  await ask(client, `UPDATE ${schemaPlace}schema_version SET version = $1`, [schemaVersion]);
  await client.query('COMMIT');
  // Stronger levels, which wait for other servers, stay as they are.
  return synchronous === 'off' ? 'BEGIN; SET LOCAL synchronous_commit = on' : 'BEGIN';
}

async function readFrontier(asker: Asker): Promise<Frontier> {
  const [row] = await ask(asker, `SELECT size, frontier FROM ${schemaPlace}log_state WHERE one = 1`);
  return decodeFrontier(row?.[0], row?.[1]);
}

/** Every row that the group looks at: one statement for each table. */
async function loadTouched(asker: Asker, group: readonly Commit[]): Promise<ReadonlyMap<string, Row>> {
  const wanted = new Map<Table, Map<string, Row>>();
  for (const { effects } of group) {
    for (const { table, key } of effects.flatMap(rowsTouched)) {
      if (!key.every(canBeHeld)) continue;
      if (!wanted.has(table)) wanted.set(table, new Map());
      wanted.get(table)?.set(keyText(table, key), key);
    }
  }
  const held = new Map<string, Row>();
  for (const [table, keys] of wanted) {
    for (const row of await loadRows(asker, table, [...keys.values()])) held.set(keyText(table, row), row);
  }
  return held;
}

async function removeTenant(asker: Asker, tenant: string): Promise<void> {
  for (const { name, isOfTenant } of [...tables, { name: sessionTable.name, isOfTenant: true }])
    if (isOfTenant) await ask(asker, `DELETE FROM ${schemaPlace}${name} WHERE tenant = $1`, [tenant]);
}

/** Text that PostgreSQL cannot hold is in no row. */
function canBeHeld(value: unknown): boolean {
  return typeof value !== 'string' || (!value.includes('\0') && value.isWellFormed());
}
