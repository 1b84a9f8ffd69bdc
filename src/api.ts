/**
 * The package's front door: sealed volumes in the caller's own process, without daemon, socket or
 * kernel device (docs/api.md). For a Node program inside an enclave this is the whole of Caisson.
 *
 * Invariants: bytes that come in are copied before a call returns, bytes that go out belong to the
 * caller; every failure is a CaissonError; a store that was opened here is closed with its volume.
 */
import { openEnvironment, openPlacedStore, parseId, sourceOf, withEnvironment, withKey } from './api-place.ts';
import type { Key, Place } from './api-place.ts';
import type { BlockDevice, Extent } from './export/block-device.ts';
import type { KeySource } from './keys/key-source.ts';
import { OpenVolume } from './open-volume.ts';
import * as engine from './volume/volume.ts';
import type {
  ChangedExtent,
  CleanOptions,
  CleanReport,
  Durability,
  EraseReceipt,
  HousekeepingStats,
  InspectedVolume,
  KeySlotInfo,
  MoveReport,
  Progress,
  Protection,
  PublicVolumeInfo,
  SnapshotInfo,
  VerifyReport,
  VolumeInfo,
  VolumeLog,
  VolumeStats,
  VolumeTuning,
} from './volume/volume-types.ts';

export { CaissonError, isCaissonError } from './lib/errors.ts';
export type { ErrorCode, ErrorKind } from './lib/errors.ts';
export { Region } from './lib/region.ts';
export { OpenVolume } from './open-volume.ts';
export type { MoveVolumeOptions } from './open-volume.ts';
export type { Key, Place } from './api-place.ts';
export { createHashedVolume, openHashedVolume, OpenHashedVolume, verifyHashedVolume } from './hashed-api.ts';
export type {
  BuildReport,
  CreateHashedVolumeOptions,
  HashedInfo,
  HashedPlace,
  HashedStats,
  HashedVerifyReport,
  OpenHashedVolumeOptions,
  VerifyHashedVolumeOptions,
} from './hashed-api.ts';
export type {
  BlockDevice,
  ChangedExtent,
  CleanOptions,
  CleanReport,
  Durability,
  EraseReceipt,
  Extent,
  HousekeepingStats,
  InspectedVolume,
  KeySlotInfo,
  KeySource,
  MoveReport,
  Protection,
  PublicVolumeInfo,
  SnapshotInfo,
  VerifyReport,
  VolumeInfo,
  VolumeLog,
  VolumeStats,
  VolumeTuning,
};

export interface CreateVolumeOptions extends Place {
  /** Bytes, a multiple of 4096. */
  readonly size: number;
  readonly key: Key;
  /** `sealed` unless it says otherwise. */
  readonly protection?: Protection;
  /** `remote` on a store of another machine, else `local`, unless it says otherwise (docs/durability.md). */
  readonly durability?: Durability;
}

export interface OpenVolumeOptions extends Place {
  /** 32 hexadecimal digits. */
  readonly id: string;
  readonly key: Key;
  readonly readOnly?: boolean;
  /** Opens although this anchor has never seen the volume: on purpose, as on a new machine. */
  readonly acceptMissingAnchor?: boolean;
}

export interface VerifyVolumeOptions extends Place {
  readonly id: string;
  /** Without it only what is public is checked: every object's digest and the signed chain. */
  readonly key?: Key;
  readonly onProgress?: Progress;
}

export interface SnapshotOptions extends Place {
  readonly id: string;
  readonly key: Key;
  /** Its name or id. */
  readonly snapshot: string;
  readonly acceptMissingAnchor?: boolean;
}

export interface DiffSnapshotsOptions extends Place {
  readonly id: string;
  readonly key: Key;
  /** Name or id of the earlier snapshot. */
  readonly from: string;
  /** Of the later one; the newest published state when absent. */
  readonly to?: string;
}

export interface EraseVolumeOptions extends Place {
  readonly id: string;
  readonly key: Key;
  /** Leaves the sealed bytes where they are; nobody can read them any more. */
  readonly keepObjects?: boolean;
  readonly acceptMissingAnchor?: boolean;
  readonly onProgress?: Progress;
}

/** The two stores of a move that may have been interrupted. */
export interface MovePlaces extends Omit<Place, 'store'> {
  readonly id: string;
  readonly from: string;
  readonly to: string;
}

/** Makes the store too where there is none. The volume's id is in the answer. */
export async function createVolume(options: CreateVolumeOptions): Promise<PublicVolumeInfo> {
  const { size, key, protection = 'sealed' } = options;
  return withEnvironment(options, true, (environment) => {
    const durability = options.durability ?? (environment.store.isRemote ? 'remote' : 'local');
    return withKey(key, (keySource) => engine.createVolume(environment, { size, protection, durability, keySource }));
  });
}

export async function openVolume(options: OpenVolumeOptions): Promise<OpenVolume> {
  const { id, key, readOnly = false, acceptMissingAnchor = false } = options;
  const volumeId = parseId(id);
  const environment = await openEnvironment(options, false);
  try {
    const volume = await withKey(key, (keySource) =>
      engine.openVolume(environment, { volumeId, keySource, readOnly, acceptMissingAnchor }),
    );
    return new OpenVolume(volume, environment.store, options);
  } catch (error) {
    await environment.store.close();
    throw error;
  }
}

/** Checks every object. It never throws for what it finds: the report lists the findings. */
export async function verifyVolume(options: VerifyVolumeOptions): Promise<VerifyReport> {
  const { id, key, onProgress } = options;
  const common = { volumeId: parseId(id), ...(onProgress === undefined ? {} : { onProgress }) };
  return withEnvironment(options, false, (environment) => {
    if (key === undefined) return engine.verifyVolume(environment, common);
    return withKey(key, (keySource) => engine.verifyVolume(environment, { ...common, keySource }));
  });
}

/** What the store shows to anybody. */
export async function inspectVolume(place: Place & { readonly id: string }): Promise<InspectedVolume> {
  const volumeId = parseId(place.id);
  return withEnvironment(place, false, (environment) => engine.inspectVolume(environment, volumeId));
}

/** The ids of the volumes in a store. */
export async function listVolumes(place: Place): Promise<string[]> {
  return withEnvironment(place, false, (environment) => engine.listVolumes(environment.store));
}

/** Removes every object of the volume, and what the anchor remembers of it. There is no way back. */
export async function removeVolume(place: Place & { readonly id: string }): Promise<{ removedObjects: number }> {
  const volumeId = parseId(place.id);
  return withEnvironment(place, false, (environment) => engine.removeVolume(environment, volumeId));
}

/** The volume as it was, read-only, beside whoever writes it now; any number at once. */
export async function openSnapshot(options: SnapshotOptions): Promise<OpenVolume> {
  const { id, key, snapshot, acceptMissingAnchor = false } = options;
  const volumeId = parseId(id);
  const environment = await openEnvironment(options, false);
  try {
    const volume = await withKey(key, (keySource) =>
      engine.openSnapshot(environment, { volumeId, keySource, snapshot, acceptMissingAnchor }),
    );
    return new OpenVolume(volume, environment.store, options);
  } catch (error) {
    await environment.store.close();
    throw error;
  }
}

/** Oldest first; of a volume that may be open elsewhere. */
export async function listSnapshots(
  place: Place & { readonly id: string; readonly key: Key },
): Promise<SnapshotInfo[]> {
  const volumeId = parseId(place.id);
  return withEnvironment(place, false, (environment) =>
    withKey(place.key, (keySource) => engine.listSnapshots(environment, { volumeId, keySource })),
  );
}

/** What changed between two snapshots: ascending extents of the later one, as they are found. */
export async function* diffSnapshots(options: DiffSnapshotsOptions): AsyncGenerator<ChangedExtent> {
  const { id, key, from, to } = options;
  const volumeId = parseId(id);
  const environment = await openEnvironment(options, false);
  const { source, wipe } = await sourceOf(key);
  try {
    yield* engine.diffSnapshots(environment, {
      ...{ volumeId, keySource: source, from },
      ...(to === undefined ? {} : { to }),
    });
  } finally {
    wipe();
    await environment.store.close();
  }
}

/**
 * Destroys the keys: nobody can open the volume again, neither here nor from a copy of its store (docs/erase.md).
 * The answer proves it to anybody. There is no way back. What an interrupted erasure left is removed by the next.
 */
export async function eraseVolume(options: EraseVolumeOptions): Promise<EraseReceipt> {
  const { id, key, keepObjects = false, acceptMissingAnchor = false, onProgress } = options;
  const common = { volumeId: parseId(id), keepObjects, acceptMissingAnchor };
  const progress = onProgress === undefined ? {} : { onProgress };
  return withEnvironment(options, false, (environment) =>
    withKey(key, (keySource) => engine.eraseVolume(environment, { ...common, ...progress, keySource })),
  );
}

/** Checks the signed bytes of a receipt with nothing else; `manifest-tampered` when they prove nothing. */
export function checkReceipt(manifest: Uint8Array, id: string): EraseReceipt {
  return engine.checkReceipt(Uint8Array.from(manifest), parseId(id));
}

/** The receipt as it lies in the store; undefined where nothing was erased. */
export async function readReceipt(place: Place & { readonly id: string }): Promise<EraseReceipt | undefined> {
  const volumeId = parseId(place.id);
  return withEnvironment(place, false, (environment) => engine.readReceipt(environment, volumeId));
}

/** Where a volume is whose move was interrupted: the store to open it in, and to go on from. It needs no key. */
export async function locateMove(places: MovePlaces): Promise<'from' | 'to'> {
  const { id, from, to, ...place } = places;
  const volumeId = parseId(id);
  return withEnvironment({ ...place, store: from }, false, async ({ store: source, anchor }) => {
    const target = await openPlacedStore({ ...place, store: to }, true);
    try {
      return (await engine.locateMoving({ source, target, anchor }, volumeId)) === 'source' ? 'from' : 'to';
    } finally {
      await target.close();
    }
  });
}

/** Removes what a move left in the store that the volume came from; `volume-busy` while it may still be there. */
export async function removeMovedSource(
  options: Place & { readonly id: string; readonly onProgress?: Progress; readonly signal?: AbortSignal },
): Promise<{ readonly removedObjects: number }> {
  const volumeId = parseId(options.id);
  return withEnvironment(options, false, (environment) => engine.removeMovedSource(environment, volumeId, options));
}
