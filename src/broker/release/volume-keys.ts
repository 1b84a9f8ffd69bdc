/** The keys that a broker releases: 32 random bytes each, wrapped at rest (spec/broker-http.md, "Keys of the broker"). */
import { CaissonError } from '../../lib/errors.ts';
import type { Random } from '../../lib/random.ts';
import type { StoredKey } from '../state/broker-database.ts';
import type { BrokerKeys, WrapPlace } from './broker-keys.ts';

const keyBytes = 32;
const keyIdBytes = 16;

export function newVolumeKey(
  { tenant, key: name }: { readonly tenant: string; readonly key: string },
  policy: string,
  keys: BrokerKeys,
  random: Random,
  now: number,
): { readonly key: Uint8Array; readonly stored: StoredKey } {
  const key = random.bytes(keyBytes);
  const id = random.bytes(keyIdBytes);
  const wrapped = keys.wrap(placeOf({ tenant, name, id }), key);
  return { key, stored: { tenant, name, id, wrapped, policy, createdAt: now, erasedAt: undefined } };
}

/** The key itself; whoever gets it wipes it. */
export function openVolumeKey(stored: StoredKey, keys: BrokerKeys): Uint8Array {
  const key = keys.unwrap(placeOf(stored), stored.wrapped);
  if (key.length === keyBytes) return key;
  throw new CaissonError('integrity', 'database-damaged', `the key ${stored.name} has ${key.length} bytes`);
}

/** The same key under a fresh nonce of the present wrapping key. */
export function rewrapped(stored: StoredKey, keys: BrokerKeys): Uint8Array {
  const key = openVolumeKey(stored, keys);
  try {
    return keys.wrap(placeOf(stored), key);
  } finally {
    key.fill(0);
  }
}

export function placeOf({ tenant, name, id }: Pick<StoredKey, 'tenant' | 'name' | 'id'>): WrapPlace {
  return { what: 'volume-key', tenant, name, id };
}
