/**
 * The root key of a broker as its database keeps it, also in the middle of a rotation (spec/broker-http.md,
 * "Keys of the broker", "Rotation"). Owns the settings and what they are wrapped by. Vectors: test/vectors/root-rotation/.
 *
 * Invariants: while a rotation goes on, the old and the new master key each open both root keys; the signing seed
 * stays the same for the life of the broker; a wrapped value opens only as what, for whom and under which name it was wrapped.
 */
import { unwrapBox, wrapBox } from '../../crypto/box.ts';
import { deriveKey, keyLabel } from '../../crypto/derive.ts';
import { sha256 } from '../../crypto/digest.ts';
import type { KeySource, KeyUse } from '../../keys/key-source.ts';
import { ByteReader, ByteWriter } from '../../lib/byte-codec.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import type { Random } from '../../lib/random.ts';
import type { BrokerDatabase } from '../state/broker-database.ts';

export const rootTenant = 'root';
export const rootKeyBytes = 32;
export const masterSetting = 'master-key';
export const rootSetting = 'root-key';
/** There while a rotation goes on, else empty or absent. */
export const rotationSetting = 'root-rotation';
/** Counts rotations; absent is none. Whoever writes wrapped values expects it unchanged. */
export const generationSetting = 'root-generation';
/** From the first rotation on: what was derived from the first root key before. */
export const seedSetting = 'signing-seed';

const wrapVersion = 1;
const rotationVersion = 1;
const parametersBytesMax = 65_536;
const noSalt = new Uint8Array(32);
const encoder = new TextEncoder();
const wrapLabel = encoder.encode('caisson broker wrap v1\0');
/** The "volume" of the broker's own slot: key sources bind what they wrap to it. */
export const brokerUse: KeyUse = {
  volumeId: sha256(encoder.encode('caisson broker master key v1')).subarray(0, 16),
};

/** What a wrapped value is; all of it is authenticated with the value. */
export interface WrapPlace {
  readonly what: 'volume-key' | 'session' | 'root-key';
  readonly tenant: string;
  readonly name: string;
  readonly id: Uint8Array;
}

export interface RootKeys {
  /** What is written is wrapped below it. */
  readonly current: Uint8Array;
  /** While a rotation goes on: what was wrapped below it opens, too. */
  readonly previous: Uint8Array | undefined;
  readonly seed: Uint8Array;
  /** As the setting was read. */
  readonly generation: Uint8Array;
}

export interface Rotation {
  /** Of the new master key. */
  readonly parameters: Uint8Array;
  /** The new root key under the new master key: the next `root-key`. */
  readonly newByMaster: Uint8Array;
  readonly newByOld: Uint8Array;
  readonly oldByNew: Uint8Array;
}

const ownPlace = (name: string): WrapPlace => ({
  ...{ what: 'root-key', tenant: rootTenant, name, id: new Uint8Array(0) },
});
export const rootPlace = ownPlace(rootSetting);
export const nextPlace = ownPlace('root-key-next');
export const previousPlace = ownPlace('root-key-previous');
export const seedPlace = ownPlace(seedSetting);

export type Settings = Pick<BrokerDatabase, 'setting'>;

/** Undefined: the database has no keys yet. `key-wrong` where `source` opens none of them. */
export async function readRootKeys(database: Settings, source: KeySource): Promise<RootKeys | undefined> {
  const parameters = await database.setting(masterSetting);
  const wrapped = await database.setting(rootSetting);
  if (parameters === undefined && wrapped === undefined) return undefined;
  if (parameters === undefined || wrapped === undefined) throw damaged('one of the settings of its keys is missing');
  const generation = (await database.setting(generationSetting)) ?? new Uint8Array(0);
  const rotation = await readRotation(database);
  const root = await openByMaster(source, parameters, wrapped, rotation !== undefined);
  const roots = rotation === undefined ? root && { current: root } : await openBoth(source, rotation, root);
  if (roots === undefined) throw masterKeyWrong(source);
  const keys = { previous: undefined, ...roots };
  return { ...keys, generation, seed: await readSeed(database, keys) };
}

export async function readRotation(database: Settings): Promise<Rotation | undefined> {
  const value = await database.setting(rotationSetting);
  return value === undefined || value.length === 0 ? undefined : decodeRotation(value);
}

/** All that is not what `encodeRotation` gives is `database-damaged`. */
export function decodeRotation(value: Uint8Array): Rotation {
  const reader = new ByteReader(value, 'rotation');
  try {
    if (reader.u8() !== rotationVersion) throw reader.invalid('it is of another version');
    const [parameters, newByMaster, newByOld, oldByNew] = [1, 2, 3, 4].map(() =>
      Uint8Array.from(reader.block(parametersBytesMax)),
    ) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    reader.end();
    return { parameters, newByMaster, newByOld, oldByNew };
  } catch (cause) {
    throw isCaissonError(cause, 'format-invalid') ? damaged(cause.message, cause) : cause;
  }
}

export function encodeRotation({ parameters, newByMaster, newByOld, oldByNew }: Rotation): Uint8Array {
  const writer = new ByteWriter().u8(rotationVersion);
  for (const part of [parameters, newByMaster, newByOld, oldByNew]) writer.block(part);
  return writer.finish();
}

/** The root key under a master key; undefined where this is not it. A source may refuse what another one enrolled. */
export async function openByMaster(
  source: KeySource,
  parameters: Uint8Array,
  wrapped: Uint8Array,
  mayBeAnother = true,
): Promise<Uint8Array | undefined> {
  let masterKey: Uint8Array;
  try {
    masterKey = await source.derive(parameters, brokerUse);
  } catch (error) {
    if (mayBeAnother && isCaissonError(error) && error.code !== 'key-source-unavailable') return undefined;
    throw error;
  }
  const root = unwrapWith(masterKey, rootPlace, wrapped);
  masterKey.fill(0);
  return root;
}

async function openBoth(
  source: KeySource,
  rotation: Rotation,
  old: Uint8Array | undefined,
): Promise<Pick<RootKeys, 'current' | 'previous'> | undefined> {
  if (old !== undefined) {
    const current = unwrapWith(old, nextPlace, rotation.newByOld);
    if (current === undefined) throw damaged('the root key of its rotation cannot be opened');
    return { current, previous: old };
  }
  const current = await openByMaster(source, rotation.parameters, rotation.newByMaster);
  if (current === undefined) return undefined;
  const previous = unwrapWith(current, previousPlace, rotation.oldByNew);
  if (previous === undefined) throw damaged('the earlier root key of its rotation cannot be opened');
  return { current, previous };
}

async function readSeed(
  database: Settings,
  { current, previous }: Pick<RootKeys, 'current' | 'previous'>,
): Promise<Uint8Array> {
  const wrapped = await database.setting(seedSetting);
  if (wrapped === undefined) return deriveKey(current, noSalt, keyLabel.brokerSigning);
  const seed =
    unwrapWith(current, seedPlace, wrapped) ??
    (previous === undefined ? undefined : unwrapWith(previous, seedPlace, wrapped));
  if (seed?.length === rootKeyBytes) return seed;
  throw damaged('the seed of its signing key cannot be opened');
}

export function wrapWith(key: Uint8Array, place: WrapPlace, secret: Uint8Array, random: Random): Uint8Array {
  const box = wrapBox(key, additionalOf(place), secret, random);
  const wrapped = new Uint8Array(1 + box.length);
  wrapped[0] = wrapVersion;
  wrapped.set(box, 1);
  return wrapped;
}

export function unwrapWith(key: Uint8Array, place: WrapPlace, wrapped: Uint8Array): Uint8Array | undefined {
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

export function masterKeyWrong({ describe }: KeySource): CaissonError {
  return new CaissonError('denied', 'key-wrong', `this ${describe} is not the master key of this broker`, {
    remedy: 'Give the master key that the broker was first started with, or the one that it was last rotated to.',
  });
}

export function damaged(what: string, cause?: CaissonError): CaissonError {
  return new CaissonError('integrity', 'database-damaged', `the broker's database does not fit together: ${what}`, {
    remedy: 'Restore the database from a backup.',
    ...(cause === undefined ? {} : { cause }),
  });
}
