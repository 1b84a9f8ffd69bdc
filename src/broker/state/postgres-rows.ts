/** Rows of PostgreSQL, many at a time: one statement for each table, however large the group. */
import type { QueryArrayConfig, QueryArrayResult } from 'pg';
import type { Column, Row, Table, Value } from './tables.ts';

/** In front of each table: a schema of our own, so that the database may hold other things, too. */
export const schemaPlace = 'caisson_broker.';

export interface Asker {
  query(config: QueryArrayConfig): Promise<QueryArrayResult<unknown[]>>;
}

const int8Type = 20;
const int4Type = 23;
const byteaType = 17;

/** Numbers as numbers; whoever reads a row refuses those that JavaScript cannot hold. */
const types = {
  getTypeParser: (type: number) => (value: string | Buffer) => {
    if (type === int8Type || type === int4Type) return Number(value);
    if (type === byteaType) return Buffer.from(String(value).substring(2), 'hex');
    return String(value);
  },
};

export async function ask(asker: Asker, text: string, values: readonly unknown[] = []): Promise<Row[]> {
  const config = { text, values: [...values], rowMode: 'array', types } as unknown as QueryArrayConfig;
  return (await asker.query(config)).rows as Row[];
}

export function loadRows(asker: Asker, table: Table, keys: readonly Row[]): Promise<Row[]> {
  const { columns, keyCount } = table;
  const all = columns.map((column) => column.name).join(', ');
  const key = columns.slice(0, keyCount);
  const text = `SELECT ${all} FROM ${schemaPlace}${table.name} WHERE ${among(key)}`;
  return ask(asker, text, columnLists(key, keys));
}

export async function upsertRows(asker: Asker, table: Table, rows: readonly Row[]): Promise<void> {
  const { columns, keyCount } = table;
  const all = columns.map((column) => column.name).join(', ');
  const key = columns.slice(0, keyCount).map((column) => column.name);
  const rest = columns.slice(keyCount).map(({ name }) => `${name} = EXCLUDED.${name}`);
  const text =
    `INSERT INTO ${schemaPlace}${table.name} (${all}) SELECT * FROM ${unnested(columns)} ` +
    `ON CONFLICT (${key.join(', ')}) DO UPDATE SET ${rest.join(', ')}`;
  await ask(asker, text, columnLists(columns, rows));
}

export async function deleteRows(asker: Asker, table: Table, keys: readonly Row[]): Promise<void> {
  const key = table.columns.slice(0, table.keyCount);
  await ask(asker, `DELETE FROM ${schemaPlace}${table.name} WHERE ${among(key)}`, columnLists(key, keys));
}

export async function insertRows(
  asker: Asker,
  name: string,
  columns: readonly Column[],
  rows: readonly Row[],
): Promise<void> {
  const all = columns.map((column) => column.name).join(', ');
  const text = `INSERT INTO ${schemaPlace}${name} (${all}) SELECT * FROM ${unnested(columns)}`;
  await ask(asker, text, columnLists(columns, rows));
}

/** A list for each column, as parameters of `unnest`. */
export function columnLists(columns: readonly Column[], rows: readonly Row[]): Value[][] {
  return columns.map((_, index) => rows.map((row) => toParameter(row[index] ?? null)));
}

export function unnested(columns: readonly Column[]): string {
  const lists = columns.map(({ type }, index) => `$${index + 1}::${typeNames[type]}[]`);
  return `unnest(${lists.join(', ')})`;
}

const typeNames = { text: 'text', number: 'bigint', bytes: 'bytea' } as const;

function among(key: readonly Column[]): string {
  return `(${key.map(({ name }) => name).join(', ')}) IN (SELECT * FROM ${unnested(key)})`;
}

function toParameter(value: Value): Value {
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value;
}
