/**
 * A new root key under a new master key (spec/broker-http.md, "Rotation"), in commits that each leave a database
 * that both master keys open, until the last one ends the old.
 *
 * Invariants: whatever moment it is killed at, asking again goes on where it was; no key is ever wrapped below a root
 * key alone that the settings no longer hold, because whoever writes expects the generation that it opened.
 */
import type { KeySource } from '../../keys/key-source.ts';
import { ByteReader, ByteWriter } from '../../lib/byte-codec.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import { rotationKeysMax } from '../../lib/broker-limits.ts';
import type { Random } from '../../lib/random.ts';
import type { LogFact } from '../../wire/release-log.ts';
import type { BrokerDatabase, Effect, StoredKey } from '../state/broker-database.ts';
import { isBelow, keysBelow } from './broker-keys.ts';
import type { BrokerKeys } from './broker-keys.ts';
import {
  brokerUse,
  encodeRotation,
  generationSetting,
  masterKeyWrong,
  masterSetting,
  nextPlace,
  openByMaster,
  previousPlace,
  readRootKeys,
  readRotation,
  rootKeyBytes,
  rootPlace,
  rootSetting,
  rootTenant,
  rotationSetting,
  seedPlace,
  seedSetting,
  wrapWith,
} from './root-key.ts';
import type { RootKeys, Rotation } from './root-key.ts';
import { placeOf, rewrapped } from './volume-keys.ts';

export interface RotationOptions {
  readonly database: BrokerDatabase;
  /** The master key as it is. */
  readonly from: KeySource;
  /** The master key as it is to be; may be the same source, which is enrolled anew. */
  readonly to: KeySource;
  readonly random: Random;
  readonly now: () => number;
}

export interface RotationReport {
  /** Rotations of this broker so far. */
  readonly generation: number;
  /** Whether one was going on already. */
  readonly isResumed: boolean;
  /** Keys that this run wrapped anew. */
  readonly keys: number;
}

export async function rotateRootKey(options: RotationOptions): Promise<RotationReport> {
  const { database, random } = options;
  const isResumed = (await readRotation(database)) !== undefined;
  if (!isResumed) await begin(options);
  const { rotation, roots } = await goingOn(options);
  const keys = keysBelow(roots, random);
  let count = 0;
  for (const { name: tenant } of await database.tenants()) count += await rewrapTenant(options, tenant, roots, keys);
  await finish(options, rotation, count, keys);
  return { generation: generationOf(roots.generation), isResumed, keys: count };
}

/** From here on new values are wrapped below the new root key, and both master keys open both. */
async function begin({ database, from, to, random, now }: RotationOptions): Promise<void> {
  const held = await readRootKeys(database, from);
  if (held === undefined) {
    throw new CaissonError('invalid', 'name-missing', 'this database has no keys yet', {
      remedy: 'Start the broker once; name its database in the configuration.',
    });
  }
  const { parameters, key: masterKey } = await to.enroll(brokerUse);
  const root = random.bytes(rootKeyBytes);
  const value = encodeRotation({
    parameters,
    newByMaster: wrapWith(masterKey, rootPlace, root, random),
    newByOld: wrapWith(held.current, nextPlace, root, random),
    oldByNew: wrapWith(root, previousPlace, held.current, random),
  });
  masterKey.fill(0);
  const generation = generationOf(held.generation) + 1;
  const effects: Effect[] = [
    { kind: 'expect-setting', name: generationSetting, value: held.generation },
    { kind: 'put-setting', name: generationSetting, value: new ByteWriter().u64(generation).finish() },
    { kind: 'put-setting', name: rotationSetting, value },
    { kind: 'put-setting', name: seedSetting, value: wrapWith(root, seedPlace, held.seed, random) },
  ];
  root.fill(0);
  await log(database, rootTenant, now(), { change: 'root-rotation-begun', generation, source: to.kind }, effects);
}

/** The rotation that goes on, which must be one to this new master key. */
async function goingOn({ database, from, to }: RotationOptions): Promise<{ rotation: Rotation; roots: RootKeys }> {
  const rotation = await readRotation(database);
  const roots = await readRootKeys(database, from);
  if (rotation === undefined || roots === undefined) throw overtaken();
  const root = await openByMaster(to, rotation.parameters, rotation.newByMaster);
  if (root === undefined) throw masterKeyWrong(to);
  root.fill(0);
  return { rotation, roots };
}

async function rewrapTenant(
  { database, now }: RotationOptions,
  tenant: string,
  roots: RootKeys,
  keys: BrokerKeys,
): Promise<number> {
  const isOld = (key: StoredKey): boolean =>
    key.erasedAt === undefined && !isBelow(roots.current, placeOf(key), key.wrapped);
  const generation = generationOf(roots.generation);
  let count = 0;
  for (;;) {
    const left = (await database.keys(tenant)).filter(isOld);
    if (left.length === 0) return count;
    for (let at = 0; at < left.length; at += rotationKeysMax) {
      const batch = left.slice(at, at + rotationKeysMax);
      const effects = batch.map((key): Effect => {
        return { kind: 'rewrap-key', tenant, name: key.name, wrapped: rewrapped(key, keys) };
      });
      const facts = { change: 'root-rotation-keys', generation, keys: batch.length };
      try {
        await log(database, tenant, now(), facts, [...effects, keys.expected]);
        count += batch.length;
      } catch (error) {
        // One of them was erased between our look and our commit: the next look does not find it.
        if (!isCaissonError(error, 'name-missing')) throw error;
      }
    }
  }
}

/** The old master key opens nothing from here on. */
async function finish(
  { database, to, now }: RotationOptions,
  rotation: Rotation,
  count: number,
  keys: BrokerKeys,
): Promise<void> {
  const effects: Effect[] = [
    keys.expected,
    { kind: 'expect-setting', name: rotationSetting, value: encodeRotation(rotation) },
    { kind: 'put-setting', name: masterSetting, value: rotation.parameters },
    { kind: 'put-setting', name: rootSetting, value: rotation.newByMaster },
    { kind: 'put-setting', name: rotationSetting, value: new Uint8Array(0) },
  ];
  await log(database, rootTenant, now(), { change: 'root-rotated', source: to.kind, keys: count }, effects);
}

async function log(
  database: BrokerDatabase,
  tenant: string,
  at: number,
  facts: Readonly<Record<string, LogFact>>,
  effects: readonly Effect[],
): Promise<void> {
  await database.commit({ effects, entries: [{ kind: 'admin-change', at, tenant, facts }] });
}

export function generationOf(value: Uint8Array): number {
  return value.length === 0 ? 0 : new ByteReader(value, 'generation').u64();
}

function overtaken(): CaissonError {
  return new CaissonError('transient', 'object-changed', 'another process ended this rotation meanwhile', {
    remedy: 'Look into the log for "root-rotated", and ask again if it is not there.',
  });
}
