/**
 * VolumeCore: what the parts of an open volume share. One is made by each opening; nothing outside
 * `volume/` ever sees it.
 */
import type { AnchorState } from '../anchor/anchor.ts';
import type { BlockMap } from '../block-map/block-map.ts';
import type { PageReference } from '../block-map/map-format.ts';
import type { SigningKey } from '../crypto/signature.ts';
import type { Keyring } from '../keys/keyring.ts';
import * as limits from '../lib/limits.ts';
import type { HeadState } from '../manifest/head-format.ts';
import type { Parent, Pin } from '../manifest/manifest-format.ts';
import { swapHead } from '../manifest/manifest.ts';
import { DurabilityCode, type ManifestState, type SnapshotRecord } from '../manifest/state-format.ts';
import type { ObjectTable } from '../manifest/object-table.ts';
import type { SpoolArea, Store } from '../store/store.ts';
import type { MapLoader } from './map-loader.ts';
import type { ObjectKeys } from './object-keys.ts';
import type { SegmentHandles } from './segment-handles.ts';
import type { Durability, ObjectDigester, Protection, VolumeEnvironment, VolumeTuning } from './volume-types.ts';

/** The newest manifest and head, as this process published or read them. */
export interface Published {
  number: number;
  digest: Uint8Array;
  floor: number;
  /** Numbers and digests of the manifests kept, oldest first, the newest included. */
  kept: { readonly number: number; readonly digest: Uint8Array }[];
  headVersion: string;
  root: { readonly reference: PageReference; readonly bytes: number } | undefined;
  /** The sealed part. */
  state: ManifestState;
  sequence: number;
  chain: Uint8Array;
  nextOrdinal: number;
  /** Pins, each with its digest, and what is said of those that are snapshots; the next manifest lists them. */
  pins: readonly Pin[];
  snapshots: readonly SnapshotRecord[];
  readonly parent: Parent | undefined;
  /** Key epoch below which objects are to be sealed anew; 0 for none. */
  rekeyBelow: number;
}

/** The environment of one opening; a move puts another store into it, so it is asked each time and never kept apart. */
export interface CurrentEnvironment extends Omit<VolumeEnvironment, 'store'> {
  store: Store;
}

export interface VolumeCore {
  readonly environment: CurrentEnvironment;
  readonly tuning: VolumeTuning;
  readonly prefix: string;
  readonly volumeId: Uint8Array;
  readonly protection: Protection;
  readonly durability: Durability;
  readonly keyring: Keyring;
  readonly signingKey: SigningKey;
  readonly keys: ObjectKeys;
  readonly table: ObjectTable;
  readonly handles: SegmentHandles;
  area: SpoolArea;
  digester: ObjectDigester;
  readonly map: BlockMap;
  /** What the map calls when every leaf in memory is dirty. */
  readonly mapRoom: { makeRoom: () => Promise<void> };
  readonly mapLoader: MapLoader;
  readonly pageCounts: Map<number, number>;
  epoch: number;
  holder: Uint8Array;
  readonly published: Published;
}

export function tuningOf(environment: VolumeEnvironment): VolumeTuning {
  return {
    segmentBytesMax: limits.segmentBytesDefault,
    zeroAheadBytes: limits.zeroAheadBytesDefault,
    mapBytesMax: limits.mapBytesDefault,
    spoolBufferBytesMax: limits.spoolBufferBytesDefault,
    checkpointBytes: limits.checkpointBytesDefault,
    checkpointMilliseconds: limits.checkpointMillisecondsDefault,
    unpublishedBytesMax: limits.unpublishedBytesDefault,
    anchorMilliseconds: limits.anchorMillisecondsDefault,
    cleaningSlackBytes: limits.cleaningSlackBytesDefault,
    cleaningBytesPerSecond: limits.cleaningBytesPerSecondDefault,
    ...environment.tuning,
  };
}

/** The anchor's view of the newest manifest with the spool durable up to `sequence`. */
export function anchorStateOf(core: VolumeCore, sequence: number, chain: Uint8Array): AnchorState {
  const { published } = core;
  // A manifest covers everything up to its own sequence, whatever was synced in the spool.
  const newer = sequence > published.sequence;
  return {
    volumeId: core.volumeId,
    epoch: core.epoch,
    manifestNumber: published.number,
    manifestDigest: published.digest,
    sequence: newer ? sequence : published.sequence,
    chain: newer ? chain : published.chain,
  };
}

/** Swaps in a head that names the newest manifest. */
export async function swapCoreHead(
  core: VolumeCore,
  state: HeadState,
  number: number,
  digest: Uint8Array,
): Promise<void> {
  const head = {
    state,
    volumeId: core.volumeId,
    epoch: core.epoch,
    number,
    manifestDigest: digest,
    holder: core.holder,
    writerKey: core.signingKey.publicKey,
  };
  core.published.headVersion = await swapHead(
    core.environment.store,
    core.prefix,
    core.published.headVersion,
    head,
    core.signingKey,
  );
}

/** Where a volume goes on after a move, and what its head there says. */
export interface NewPlace extends Pick<VolumeCore, 'area' | 'digester' | 'epoch' | 'holder'> {
  readonly store: Store;
  readonly headVersion: string;
}

/** From this turn on everything is read from and written to another store; nothing may be on its way to the old one. */
export function putInStore(core: VolumeCore, { store, headVersion, ...place }: NewPlace): void {
  core.environment.store = store;
  Object.assign(core, place);
  core.published.headVersion = headVersion;
  core.handles.reopenAll();
  core.mapLoader.reopenAll();
}

export function durabilityCode(durability: Durability): DurabilityCode {
  return DurabilityCode[durability];
}

export function durabilityOf(code: DurabilityCode): Durability {
  return code === DurabilityCode.anchored ? 'anchored' : code === DurabilityCode.remote ? 'remote' : 'local';
}
