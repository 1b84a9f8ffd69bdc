/**
 * The broker's own keys: a root key, wrapped by the master key that a key source gives, and the keys
 * below it, one for each purpose (spec/broker-http.md, "Keys of the broker").
 *
 * Invariants: nothing secret reaches the database unwrapped; a wrapped value opens only as what, for
 * whom and under which name it was wrapped. Several brokers that start on one empty database agree on one root
 * key, because the tenant `root` can be added once.
 */
import { deriveKey, keyLabel } from '../../crypto/derive.ts';
import { equalBytes, sha256 } from '../../crypto/digest.ts';
import { signingKeyFromSeed } from '../../crypto/signature.ts';
import type { SigningKey } from '../../crypto/signature.ts';
import type { KeySource } from '../../keys/key-source.ts';
import { isCaissonError } from '../../lib/errors.ts';
import { toHex } from '../../lib/hex.ts';
import type { Random } from '../../lib/random.ts';
import { brokerIdFromPublicKey } from '../../wire/request-statement.ts';
import type { BrokerDatabase, Effect } from '../state/broker-database.ts';
import {
  brokerUse,
  damaged,
  generationSetting,
  masterSetting,
  readRootKeys,
  rootKeyBytes,
  rootPlace,
  rootSetting,
  rootTenant,
  unwrapWith,
  wrapWith,
} from './root-key.ts';
import type { RootKeys, WrapPlace } from './root-key.ts';

export { rootTenant } from './root-key.ts';
export type { WrapPlace } from './root-key.ts';

const noSalt = new Uint8Array(32);
const encoder = new TextEncoder();

export interface BrokerKeys {
  /** Signs tree heads and answers. */
  readonly signing: SigningKey;
  readonly brokerId: Uint8Array;
  readonly nonceKey: Uint8Array;
  /** Belongs into each commit that stores a wrapped value: it is refused when the root key was rotated meanwhile. */
  readonly expected: Effect;
  /** Whether no rotation has begun since they were opened. */
  areNewest(database: BrokerDatabase): Promise<boolean>;
  wrap(place: WrapPlace, secret: Uint8Array): Uint8Array;
  /** `database-damaged` where the value was not wrapped by this broker, for this place. */
  unwrap(place: WrapPlace, wrapped: Uint8Array): Uint8Array;
}

export interface FirstStart {
  /** In hexadecimal: shown once, only its digest is kept. */
  readonly adminToken: string;
}

/** Where the token of the root administrator is kept from the first start on. */
export interface TokenKeeper {
  keep(token: string): void;
  /** It is nobody's token after all. */
  drop(): void;
}

export interface OpenedKeys {
  readonly keys: BrokerKeys;
  /** Where this very start made the keys. */
  readonly first: FirstStart | undefined;
}

/** Opens the keys of a database, or makes them where it is empty. */
export async function openBrokerKeys(
  database: BrokerDatabase,
  source: KeySource,
  random: Random,
  now: number,
  keeper?: TokenKeeper,
): Promise<OpenedKeys> {
  const found = await readRootKeys(database, source);
  if (found !== undefined) return { keys: keysBelow(found, random), first: undefined };
  const adminToken = toHex(random.bytes(32));
  // Before the commit: the database never has an administrator whose token nobody has.
  keeper?.keep(adminToken);
  try {
    await createRoot(database, source, random, now, adminToken);
  } catch (error) {
    keeper?.drop();
    if (!isCaissonError(error, 'name-exists')) throw error;
    return { keys: keysBelow(await rootOfAnother(database, source), random), first: undefined };
  }
  return { keys: keysBelow(await rootOfAnother(database, source), random), first: { adminToken } };
}

export function tokenDigest(token: string): Uint8Array {
  return sha256(encoder.encode(token));
}

async function createRoot(
  database: BrokerDatabase,
  source: KeySource,
  random: Random,
  now: number,
  adminToken: string,
): Promise<void> {
  const { parameters, key: masterKey } = await source.enroll(brokerUse);
  const rootKey = random.bytes(rootKeyBytes);
  const wrapped = wrapWith(masterKey, rootPlace, rootKey, random);
  rootKey.fill(0);
  masterKey.fill(0);
  await database.commit({
    effects: [
      { kind: 'put-tenant', tenant: { name: rootTenant, adminTokenDigest: tokenDigest(adminToken) }, isNew: true },
      { kind: 'put-setting', name: masterSetting, value: parameters },
      { kind: 'put-setting', name: rootSetting, value: wrapped },
    ],
    entries: [
      { kind: 'admin-change', at: now, tenant: rootTenant, facts: { change: 'broker-created', source: source.kind } },
    ],
  });
}

async function rootOfAnother(database: BrokerDatabase, source: KeySource): Promise<RootKeys> {
  const rootKey = await readRootKeys(database, source);
  if (rootKey !== undefined) return rootKey;
  throw damaged('it has a root tenant and no root key');
}

/** Whether a wrapped value is below the newest root key. */
export function isBelow(root: Uint8Array, place: WrapPlace, wrapped: Uint8Array): boolean {
  const secret = unwrapWith(wrapKeysBelow(root)[place.what], place, wrapped);
  secret?.fill(0);
  return secret !== undefined;
}

function wrapKeysBelow(root: Uint8Array): Readonly<Record<WrapPlace['what'], Uint8Array>> {
  return {
    'volume-key': deriveKey(root, noSalt, keyLabel.brokerKeys),
    session: deriveKey(root, noSalt, keyLabel.brokerSessions),
    'root-key': root,
  };
}

export function keysBelow({ current, previous, seed, generation }: RootKeys, random: Random): BrokerKeys {
  const wrapKeys = wrapKeysBelow(current);
  const earlier = previous === undefined ? undefined : wrapKeysBelow(previous);
  const signing = signingKeyFromSeed(seed);
  return {
    signing,
    brokerId: brokerIdFromPublicKey(signing.publicKey),
    nonceKey: deriveKey(current, noSalt, keyLabel.brokerNonces),
    expected: { kind: 'expect-setting', name: generationSetting, value: generation },
    areNewest: async (database) =>
      equalBytes((await database.setting(generationSetting)) ?? new Uint8Array(0), generation),
    wrap: (place, secret) => wrapWith(wrapKeys[place.what], place, secret, random),
    unwrap: (place, wrapped) => {
      const { what, name, tenant } = place;
      const secret =
        unwrapWith(wrapKeys[what], place, wrapped) ??
        (earlier === undefined ? undefined : unwrapWith(earlier[what], place, wrapped));
      if (secret !== undefined) return secret;
      throw damaged(`the ${what} ${name} of ${tenant} was not wrapped by this broker, or its root key was rotated`);
    },
  };
}
