/** Keys of a tenant in a broker's database, and what must still open them while its root key is rotated. */
import assert from 'node:assert/strict';
import { keysBelow } from '../../src/broker/release/broker-keys.ts';
import type { BrokerKeys } from '../../src/broker/release/broker-keys.ts';
import { readRootKeys } from '../../src/broker/release/root-key.ts';
import { newVolumeKey, openVolumeKey } from '../../src/broker/release/volume-keys.ts';
import type { BrokerDatabase, Effect } from '../../src/broker/state/broker-database.ts';
import { systemRandom as random } from '../../src/crypto/random.ts';
import { createKeyFileSource } from '../../src/keys/key-file.ts';
import type { KeySource } from '../../src/keys/key-source.ts';
import { toHex } from '../../src/lib/hex.ts';

export const now = (): number => 1_790_000_000_000;

export const masterOf = (fill: number): KeySource =>
  createKeyFileSource({ content: Uint8Array.from({ length: 32 }, (_, at) => at * fill + 1), random });

export async function put(database: BrokerDatabase, ...effects: Effect[]): Promise<void> {
  await database.commit({ effects, entries: [{ kind: 'admin-change', at: now(), tenant: 'root', facts: {} }] });
}

/** The tenant `acme` with so many keys; gives their secrets by name. */
export async function putKeys(database: BrokerDatabase, keys: BrokerKeys, count: number): Promise<Map<string, string>> {
  const tenant = { name: 'acme', adminTokenDigest: new Uint8Array(32) };
  await put(database, { kind: 'put-tenant', tenant, isNew: true });
  const made = Array.from({ length: count }, (_, at) =>
    newVolumeKey({ tenant: 'acme', key: `k${at}` }, 'main', keys, random, now()),
  );
  await put(database, ...made.map(({ stored: key }) => ({ kind: 'create-key', key }) as const));
  return new Map(made.map(({ key, stored }) => [stored.name, toHex(key)]));
}

/** As a broker does that opened `keys` some time ago; gives the secret. */
export async function addKey(database: BrokerDatabase, keys: BrokerKeys, name: string): Promise<string> {
  const { key, stored } = newVolumeKey({ tenant: 'acme', key: name }, 'main', keys, random, now());
  await put(database, { kind: 'create-key', key: stored }, keys.expected);
  return toHex(key);
}

export async function openedBy(database: BrokerDatabase, source: KeySource): Promise<BrokerKeys> {
  const roots = await readRootKeys(database, source);
  assert.ok(roots !== undefined);
  return keysBelow(roots, random);
}

export async function mustOpen(
  database: BrokerDatabase,
  source: KeySource,
  secrets: ReadonlyMap<string, string>,
): Promise<void> {
  const keys = await openedBy(database, source);
  const held = await database.keys('acme');
  for (const stored of held) {
    if (stored.erasedAt === undefined)
      assert.equal(toHex(openVolumeKey(stored, keys)), secrets.get(stored.name), stored.name);
  }
  assert.equal(held.length, secrets.size, 'no key is lost');
}
