/**
 * The tables of the broker's database, once for both kinds of database: columns, keys, and what a row
 * is as a value. Spec: spec/broker-state.md.
 *
 * Invariant: a row is found by its whole key, and each key of a tenant's row begins with the tenant.
 */
import type { AnchorState } from '../../anchor/anchor.ts';
import { assert } from '../../lib/assert.ts';
import { CaissonError } from '../../lib/errors.ts';
import { toHex } from '../../lib/hex.ts';
import type { StoredDocument, StoredKey, StoredSession, Tenant } from './broker-database.ts';

export type Value = string | number | Uint8Array | null;
export type Row = readonly Value[];

export interface Column {
  readonly name: string;
  readonly type: 'text' | 'number' | 'bytes';
}

export interface Table {
  readonly name: string;
  /** The key first. */
  readonly columns: readonly Column[];
  readonly keyCount: number;
  /** Whether removing a tenant removes its rows: the first column is the tenant then. */
  readonly isOfTenant: boolean;
}

const text = (name: string): Column => ({ name, type: 'text' });
const number = (name: string): Column => ({ name, type: 'number' });
const bytes = (name: string): Column => ({ name, type: 'bytes' });

export const tenantTable = table('tenants', false, [text('name')], [bytes('admin_token_digest')]);
export const keyTable = table(
  'volume_keys',
  true,
  [text('tenant'), text('name')],
  [bytes('id'), bytes('wrapped'), text('policy'), number('created_at'), number('erased_at')],
);
/** Finds a key by its id; the names of a tenant's ids never change. */
export const keyIdTable = table('volume_key_ids', true, [text('tenant'), bytes('id')], [text('name')]);
export const documentTable = table(
  'documents',
  true,
  [text('tenant'), text('kind'), text('name')],
  [text('content'), number('version')],
);
export const anchorTable = table(
  'anchors',
  true,
  [text('tenant'), bytes('volume_id')],
  [
    number('epoch'),
    number('manifest_number'),
    bytes('manifest_digest'),
    number('record_sequence'),
    bytes('record_chain'),
  ],
);
export const nonceTable = table('nonces', false, [bytes('nonce')], [number('expires_at')]);
export const sessionTable = table(
  'sessions',
  false,
  [bytes('id')],
  [text('tenant'), text('key_name'), bytes('wrapped_secret'), number('expires_at')],
);
export const epochTable = table('capability_epochs', true, [text('tenant'), bytes('volume_id')], [number('epoch')]);
export const settingTable = table('settings', false, [text('name')], [bytes('content')]);

export const tables: readonly Table[] = [
  tenantTable,
  keyTable,
  keyIdTable,
  documentTable,
  anchorTable,
  nonceTable,
  sessionTable,
  epochTable,
  settingTable,
];

/** One text for one key of one table. Texts of a key never hold a zero character (checked where rows are made). */
export function keyText(table: Table, row: Row): string {
  let joined = table.name;
  for (let index = 0; index < table.keyCount; index++) {
    const value = row[index];
    joined += `\0${value instanceof Uint8Array ? toHex(value) : String(value)}`;
  }
  return joined;
}

export function tenantRow({ name, adminTokenDigest }: Tenant): Row {
  return [name, adminTokenDigest];
}

export function rowToTenant(row: Row): Tenant {
  return { name: asText(row[0]), adminTokenDigest: asBytes(row[1]) };
}

export function keyRow({ tenant, name, id, wrapped, policy, createdAt, erasedAt }: StoredKey): Row {
  return [tenant, name, id, wrapped, policy, createdAt, erasedAt ?? null];
}

export function rowToKey(row: Row): StoredKey {
  return {
    tenant: asText(row[0]),
    name: asText(row[1]),
    id: asBytes(row[2]),
    wrapped: asBytes(row[3]),
    policy: asText(row[4]),
    createdAt: asNumber(row[5]),
    erasedAt: row[6] === null ? undefined : asNumber(row[6]),
  };
}

export function documentRow({ tenant, kind, name, text: content, version }: StoredDocument): Row {
  return [tenant, kind, name, content, version];
}

export function rowToDocument(row: Row): StoredDocument {
  const kind = asText(row[1]);
  if (kind !== 'policy' && kind !== 'reference-values') throw damagedRow(`a document of the kind ${kind}`);
  return { tenant: asText(row[0]), kind, name: asText(row[2]), text: asText(row[3]), version: asNumber(row[4]) };
}

export function anchorRow(tenant: string, state: AnchorState): Row {
  const { volumeId, epoch, manifestNumber, manifestDigest, sequence, chain } = state;
  return [tenant, volumeId, epoch, manifestNumber, manifestDigest, sequence, chain];
}

export function rowToAnchor(row: Row): AnchorState {
  return {
    volumeId: asBytes(row[1], 16),
    epoch: asNumber(row[2]),
    manifestNumber: asNumber(row[3]),
    manifestDigest: asBytes(row[4], 32),
    sequence: asNumber(row[5]),
    chain: asBytes(row[6], 16),
  };
}

export function sessionRow({ id, tenant, keyName, wrappedSecret, expiresAt }: StoredSession): Row {
  return [id, tenant, keyName, wrappedSecret, expiresAt];
}

export function rowToSession(row: Row): StoredSession {
  return {
    id: asBytes(row[0]),
    tenant: asText(row[1]),
    keyName: asText(row[2]),
    wrappedSecret: asBytes(row[3]),
    expiresAt: asNumber(row[4]),
  };
}

export function asText(value: Value | undefined): string {
  if (typeof value !== 'string') throw damagedRow('something that is not text');
  return value;
}

export function asNumber(value: Value | undefined): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw damagedRow('something that is not a count');
  return value;
}

/** A copy of its own: drivers may give views of a larger buffer. */
export function asBytes(value: Value | undefined, length?: number): Uint8Array {
  if (!(value instanceof Uint8Array) || (length !== undefined && value.length !== length))
    throw damagedRow('bytes that are none, or of another length');
  return Uint8Array.from(value);
}

export function damagedRow(what: string): CaissonError {
  return new CaissonError('integrity', 'database-damaged', `the broker's database holds ${what}`, {
    remedy: 'Restore the database from a backup.',
  });
}

function table(name: string, isOfTenant: boolean, key: readonly Column[], rest: readonly Column[]): Table {
  assert(!isOfTenant || key[0]?.name === 'tenant', 'the rows of a tenant begin with it');
  return { name, columns: [...key, ...rest], keyCount: key.length, isOfTenant };
}
