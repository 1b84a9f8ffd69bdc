/**
 * The broker's own keys: a root key, wrapped by the master key that a key source gives, and the keys
 * below it, one for each purpose (spec/broker-http.md, "Keys of the broker").
 *
 * Invariants: nothing secret reaches the database unwrapped; a wrapped value opens only as what, for
 * whom and under which name it was wrapped. Several brokers that start on one empty database agree on one root
 * key, because the tenant `root` can be added once.
 */
import { unwrapBox, wrapBox } from '../../crypto/box.ts';
import { deriveKey, keyLabel } from '../../crypto/derive.ts';
import { sha256 } from '../../crypto/digest.ts';
import { signingKeyFromSeed } from '../../crypto/signature.ts';
import type { SigningKey } from '../../crypto/signature.ts';
import type { KeySource, KeyUse } from '../../keys/key-source.ts';
import { ByteWriter } from '../../lib/byte-codec.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import { toHex } from '../../lib/hex.ts';
import type { Random } from '../../lib/random.ts';
import { brokerIdFromPublicKey } from '../../wire/request-statement.ts';
import type { BrokerDatabase } from '../state/broker-database.ts';

export const rootTenant = 'root';

const masterSetting = 'master-key';
const rootSetting = 'root-key';
const keyBytes = 32;
const wrapVersion = 1;
const noSalt = new Uint8Array(32);
const encoder = new TextEncoder();
const wrapLabel = encoder.encode('caisson broker wrap v1\0');
/** The "volume" of the broker's own slot: key sources bind what they wrap to it. */
const brokerUse: KeyUse = { volumeId: sha256(encoder.encode('caisson broker master key v1')).subarray(0, 16) };

/** What a wrapped value is; all of it is authenticated with the value. */
export interface WrapPlace {
  readonly what: 'volume-key' | 'session' | 'root-key';
  readonly tenant: string;
  readonly name: string;
  readonly id: Uint8Array;
}

export interface BrokerKeys {
  /** Signs tree heads and answers. */
  readonly signing: SigningKey;
  readonly brokerId: Uint8Array;
  readonly nonceKey: Uint8Array;
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
  const found = await readRoot(database, source);
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
  const rootKey = random.bytes(keyBytes);
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

async function rootOfAnother(database: BrokerDatabase, source: KeySource): Promise<Uint8Array> {
  const rootKey = await readRoot(database, source);
  if (rootKey !== undefined) return rootKey;
  throw damaged('it has a root tenant and no root key');
}

async function readRoot(database: BrokerDatabase, source: KeySource): Promise<Uint8Array | undefined> {
  const parameters = await database.setting(masterSetting);
  const wrapped = await database.setting(rootSetting);
  if (parameters === undefined && wrapped === undefined) return undefined;
  if (parameters === undefined || wrapped === undefined) throw damaged('one of the settings of its keys is missing');
  const masterKey = await source.derive(parameters, brokerUse);
  const rootKey = unwrapWith(masterKey, rootPlace, wrapped);
  masterKey.fill(0);
  if (rootKey !== undefined) return rootKey;
  throw new CaissonError('denied', 'key-wrong', `this ${source.describe} is not the master key of this broker`, {
    remedy: 'Give the master key that the broker was first started with.',
  });
}

function keysBelow(rootKey: Uint8Array, random: Random): BrokerKeys {
  const below = (label: (typeof keyLabel)[keyof typeof keyLabel]): Uint8Array => deriveKey(rootKey, noSalt, label);
  const wrapKeys = {
    'volume-key': below(keyLabel.brokerKeys),
    session: below(keyLabel.brokerSessions),
    'root-key': rootKey,
  };
  const seed = below(keyLabel.brokerSigning);
  const signing = signingKeyFromSeed(seed);
  seed.fill(0);
  return {
    signing,
    brokerId: brokerIdFromPublicKey(signing.publicKey),
    nonceKey: below(keyLabel.brokerNonces),
    wrap: (place, secret) => wrapWith(wrapKeys[place.what], place, secret, random),
    unwrap: (place, wrapped) => {
      const secret = unwrapWith(wrapKeys[place.what], place, wrapped);
      if (secret !== undefined) return secret;
      throw damaged(`the ${place.what} ${place.name} of ${place.tenant} was not wrapped by this broker`);
    },
  };
}

const rootPlace: WrapPlace = { what: 'root-key', tenant: rootTenant, name: rootSetting, id: new Uint8Array(0) };

function wrapWith(key: Uint8Array, place: WrapPlace, secret: Uint8Array, random: Random): Uint8Array {
  const box = wrapBox(key, additionalOf(place), secret, random);
  const wrapped = new Uint8Array(1 + box.length);
  wrapped[0] = wrapVersion;
  wrapped.set(box, 1);
  return wrapped;
}

function unwrapWith(key: Uint8Array, place: WrapPlace, wrapped: Uint8Array): Uint8Array | undefined {
  return wrapped[0] === wrapVersion ? unwrapBox(key, additionalOf(place), wrapped.subarray(1)) : undefined;
}

function additionalOf({ what, tenant, name, id }: WrapPlace): Uint8Array {
  return new ByteWriter()
    .bytes(wrapLabel)
    .block(encoder.encode(what))
    .block(encoder.encode(tenant))
    .block(encoder.encode(name))
    .bytes(id)
    .finish();
}

function damaged(what: string): CaissonError {
  return new CaissonError('integrity', 'database-damaged', `the broker's database does not fit together: ${what}`, {
    remedy: 'Restore the database from a backup.',
  });
}
