/**
 * BrokerDatabase in a file of SQLite. Spec: spec/broker-state.md.
 *
 * Invariants:
 * - A commit is answered after its transaction is in the write-ahead log and that is synced (synchronous=FULL).
 * - After an error of the disk or of the file nothing is written any more: what SQLite believes to be durable
 *   after a failed sync need not be.
 * - SQLite runs in this thread: 5,000 commits a second keep it busy for about a third of the time, and copying them to a
 *   worker would add a fifth to that (docs/broker-state.md). A lock of another process is waited for without blocking it.
 */
import { backup } from 'node:sqlite';
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import type { AnchorState } from '../../anchor/anchor.ts';
import type { CaissonError } from '../../lib/errors.ts';
import { brokerPurgeDelayMilliseconds, brokerPurgeMilliseconds, brokerPurgeRowsMax } from '../../lib/limits.ts';
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
import { CommitPlan, planCommit } from './commit-plan.ts';
import { databaseClosed, GroupCommit } from './group-commit.ts';
import type { GroupResult } from './group-commit.ts';
import { checkLeafRange, checkNodeCount, decodeFrontier, encodeFrontier, nodeMissing } from './log-rows.ts';
import { toDatabaseError } from './sqlite-errors.ts';
import { openSqliteFile, whileLocked } from './sqlite-file.ts';
import {
  anchorTable,
  asBytes,
  asNumber,
  asText,
  documentTable,
  epochTable,
  keyIdTable,
  keyTable,
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
import type { Row, Table, Value } from './tables.ts';

export interface SqliteOptions {
  /** Created where it is missing. */
  readonly file: string;
}

export async function openSqliteDatabase({ file }: SqliteOptions): Promise<SqliteBrokerDatabase> {
  return new SqliteBrokerDatabase(await openSqliteFile(file));
}

export class SqliteBrokerDatabase implements BrokerDatabase {
  readonly kind = 'sqlite';
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #ofTables = new Map<Table, RowStatements>();
  readonly #groups: GroupCommit;
  #failure: CaissonError | undefined;
  #purgedAt = 0;
  #isClosed = false;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#groups = new GroupCommit(this.#frontier().size, (group) => this.#commitGroup(group));
  }

  get counters(): DatabaseCounters {
    return this.#groups.counters;
  }

  commit(change: Commit): Promise<CommitReceipt> {
    return this.#groups.commit(change);
  }

  async tenant(name: string): Promise<Tenant | undefined> {
    return this.#one(tenantTable, [name], rowToTenant);
  }

  async tenants(): Promise<readonly Tenant[]> {
    return this.#all(tenantTable, [], rowToTenant);
  }

  async key(tenant: string, name: string): Promise<StoredKey | undefined> {
    return this.#one(keyTable, [tenant, name], rowToKey);
  }

  async keyById(tenant: string, id: Uint8Array): Promise<StoredKey | undefined> {
    const name = this.#one(keyIdTable, [tenant, id], (row) => asText(row[2]));
    return name === undefined ? undefined : this.#one(keyTable, [tenant, name], rowToKey);
  }

  async keys(tenant: string): Promise<readonly StoredKey[]> {
    return this.#all(keyTable, [tenant], rowToKey);
  }

  async document(tenant: string, kind: StoredDocument['kind'], name: string): Promise<StoredDocument | undefined> {
    return this.#one(documentTable, [tenant, kind, name], rowToDocument);
  }

  async documents(tenant: string, kind: StoredDocument['kind']): Promise<readonly StoredDocument[]> {
    return this.#all(documentTable, [tenant, kind], rowToDocument);
  }

  async anchor(tenant: string, volumeId: Uint8Array): Promise<AnchorState | undefined> {
    return this.#one(anchorTable, [tenant, volumeId], rowToAnchor);
  }

  async session(id: Uint8Array): Promise<StoredSession | undefined> {
    return this.#one(sessionTable, [id], rowToSession);
  }

  async capabilityEpoch(tenant: string, volumeId: Uint8Array): Promise<number> {
    return this.#one(epochTable, [tenant, volumeId], (row) => asNumber(row[2])) ?? 0;
  }

  async setting(name: string): Promise<Uint8Array | undefined> {
    return this.#one(settingTable, [name], (row) => asBytes(row[1]));
  }

  async logLeaves(from: number, count: number): Promise<readonly LogLeaf[]> {
    const limit = checkLeafRange(from, count);
    const sql = 'SELECT place, bytes FROM log_leaves WHERE place >= ? ORDER BY place LIMIT ?';
    const rows = this.#ask(() => this.#prepared(sql).all(from, limit) as unknown as Row[]);
    return rows.map((row) => ({ index: asNumber(row[0]), bytes: asBytes(row[1]) }));
  }

  async logTree(): Promise<{ readonly size: number; readonly root: Uint8Array }> {
    const frontier = this.#ask(() => this.#frontier());
    return { size: frontier.size, root: frontier.root() };
  }

  async logNodes(ids: readonly NodeId[]): Promise<readonly Uint8Array[]> {
    checkNodeCount(ids);
    return this.#ask(() =>
      ids.map((id) => {
        const row =
          id.level === 0
            ? this.#prepared('SELECT hash FROM log_leaves WHERE place = ?').get(id.index)
            : this.#prepared('SELECT hash FROM log_nodes WHERE level = ? AND place = ?').get(id.level, id.index);
        if (row === undefined) throw nodeMissing(id);
        return asBytes((row as unknown as Row)[0], 32);
      }),
    );
  }

  async check(): Promise<void> {
    this.#mustBeOpen();
    await whileLocked(() => {
      this.#database.exec('BEGIN IMMEDIATE');
      this.#database.exec('ROLLBACK');
    });
  }

  /** Everything committed before it is asked for, in a new file; other work goes on meanwhile. */
  async backupTo(file: string): Promise<void> {
    this.#mustBeOpen();
    for (let attempt = 1; ; attempt++) {
      try {
        await backup(this.#database, file, { rate: backupPagesPerStep });
        return;
      } catch (error) {
        // A step that met a writer ends the whole copy, with a code that says that nothing is wrong; it begins anew.
        if (attempt === backupAttemptsMax || !isNoError(error)) throw toDatabaseError(error);
      }
    }
  }

  async close(): Promise<void> {
    await this.#groups.close();
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#statements.clear();
    this.#ofTables.clear();
    this.#database.close();
  }

  async #commitGroup(group: readonly Commit[]): Promise<GroupResult> {
    this.#mustBeOpen();
    await whileLocked(() => this.#database.exec('BEGIN IMMEDIATE'));
    try {
      const plan = new CommitPlan(this.#frontier(), (table, key) => this.#row(table, key));
      const outcomes = group.map((change) => planCommit(plan, change));
      if (plan.leaves.length > 0) this.#write(plan);
      this.#database.exec(plan.leaves.length > 0 ? 'COMMIT' : 'ROLLBACK');
      return { outcomes, logSize: plan.frontier.size };
    } catch (error) {
      throw this.#failed(error);
    }
  }

  #write(plan: CommitPlan): void {
    for (const { table, key, row } of plan.changes) {
      const { remove, upsert } = this.#rowStatements(table);
      if (row === undefined) remove.run(...input(key));
      else upsert.run(...input(row));
    }
    if (plan.removedTenant !== undefined) this.#removeTenant(plan.removedTenant);
    const insertLeaf = this.#prepared('INSERT INTO log_leaves (place, bytes, hash) VALUES (?, ?, ?)');
    for (const { index, bytes, hash } of plan.leaves) insertLeaf.run(index, bytes, hash);
    const insertNode = this.#prepared('INSERT INTO log_nodes (level, place, hash) VALUES (?, ?, ?)');
    for (const { level, index, hash } of plan.nodes) insertNode.run(level, index, hash);
    const { frontier } = plan;
    this.#prepared('UPDATE log_state SET size = ?, frontier = ? WHERE one = 1').run(
      frontier.size,
      encodeFrontier(frontier),
    );
    this.#purge(plan.newestAt);
  }

  #removeTenant(tenant: string): void {
    for (const table of tables) if (table.isOfTenant) this.#prepared(deleteSql(table, 1)).run(tenant);
    this.#prepared('DELETE FROM sessions WHERE tenant = ?').run(tenant);
  }

  #purge(now: number): void {
    if (now < this.#purgedAt + brokerPurgeMilliseconds) return;
    this.#purgedAt = now;
    for (const [table, key] of [
      ['nonces', 'nonce'],
      ['sessions', 'id'],
    ] as const) {
      const expired = `SELECT ${key} FROM ${table} WHERE expires_at < ? LIMIT ?`;
      this.#prepared(`DELETE FROM ${table} WHERE ${key} IN (${expired})`).run(
        now - brokerPurgeDelayMilliseconds,
        brokerPurgeRowsMax,
      );
    }
  }

  /** Leaves no transaction behind. After all but a lack of room, trust in the file is gone. */
  #failed(error: unknown): CaissonError {
    const failure = toDatabaseError(error);
    try {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
    } catch {
      this.#failure = failure;
    }
    if (failure.kind === 'io' || failure.kind === 'integrity') this.#failure = failure;
    return failure;
  }

  #frontier(): Frontier {
    const row = this.#prepared('SELECT size, frontier FROM log_state WHERE one = 1').get() as unknown as
      Row | undefined;
    return decodeFrontier(row?.[0], row?.[1]);
  }

  #row(table: Table, key: Row): Row | undefined {
    return this.#rowStatements(table).select.get(...input(key)) as unknown as Row | undefined;
  }

  #one<Found>(table: Table, key: Row, read: (row: Row) => Found): Found | undefined {
    const row = this.#ask(() => this.#row(table, key));
    return row === undefined ? undefined : read(row);
  }

  #all<Found>(table: Table, start: Row, read: (row: Row) => Found): Found[] {
    const rows = this.#ask(
      () => this.#prepared(selectSql(table, start.length)).all(...input(start)) as unknown as Row[],
    );
    return rows.map(read);
  }

  #ask<Answer>(question: () => Answer): Answer {
    this.#mustBeOpen();
    try {
      return question();
    } catch (error) {
      throw toDatabaseError(error);
    }
  }

  #mustBeOpen(): void {
    if (this.#isClosed) throw databaseClosed();
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Found by the table and not by their text, which would be built anew for each row. */
  #rowStatements(table: Table): RowStatements {
    let statements = this.#ofTables.get(table);
    if (statements === undefined) {
      statements = {
        select: this.#prepared(selectSql(table, table.keyCount)),
        upsert: this.#prepared(upsertSql(table)),
        remove: this.#prepared(deleteSql(table, table.keyCount)),
      };
      this.#ofTables.set(table, statements);
    }
    return statements;
  }

  #prepared(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#database.prepare(sql);
      statement.setReturnArrays(true);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

interface RowStatements {
  readonly select: StatementSync;
  readonly upsert: StatementSync;
  readonly remove: StatementSync;
}

/** Pages that one step of a backup copies; other work gets its turn between steps. */
/** Copies that met a writer and began anew. */
const backupAttemptsMax = 50;
const backupPagesPerStep = 256;

function input(row: Row): SQLInputValue[] {
  return row as Value[];
}

function selectSql({ name, columns }: Table, keyCount: number): string {
  const all = columns.map((column) => column.name).join(', ');
  return `SELECT ${all} FROM ${name} ${whereKey(columns, keyCount)} ORDER BY ${columns[keyCount]?.name ?? '1'}`;
}

function upsertSql({ name, columns }: Table): string {
  const all = columns.map((column) => column.name).join(', ');
  return `INSERT OR REPLACE INTO ${name} (${all}) VALUES (${columns.map(() => '?').join(', ')})`;
}

function deleteSql({ name, columns }: Table, keyCount: number): string {
  return `DELETE FROM ${name} ${whereKey(columns, keyCount)}`;
}

function whereKey(columns: Table['columns'], keyCount: number): string {
  if (keyCount === 0) return '';
  const conditions = columns.slice(0, keyCount).map((column) => `${column.name} = ?`);
  return `WHERE ${conditions.join(' AND ')}`;
}

function isNoError(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === 0;
}
