/**
 * Opening a snapshot: read-only, without lock and without epoch, beside whoever writes the volume. What a snapshot needs
 * is immutable and pinned, so nothing here can race with the writer but the removal of the snapshot itself.
 */
import { toHex } from '../lib/hex.ts';
import type { ManifestState } from '../manifest/state-format.ts';
import type { ReadManifest } from '../manifest/manifest.ts';
import { changedBlocks, type MapSide } from './changed-blocks.ts';
import { MapLoader } from './map-loader.ts';
import { ObjectKeys } from './object-keys.ts';
import { anchorMissing, checkFreshness } from './freshness.ts';
import { protectionOf } from './describe.ts';
import { buildCore, pinsOf, readCatalog, unlockVolume } from './opening.ts';
import { readPinned } from './pinned-state.ts';
import { SealedVolume } from './sealed-volume.ts';
import { findSnapshot, snapshotsOf } from './snapshots.ts';
import type {
  ChangedExtent,
  DiffOptions,
  OpenSnapshotOptions,
  SnapshotInfo,
  Volume,
  VolumeEnvironment,
} from './volume-types.ts';

/** The volume as it was when the snapshot was taken. Closing it releases nothing but memory and files. */
export async function openSnapshot(environment: VolumeEnvironment, options: OpenSnapshotOptions): Promise<Volume> {
  const unlocked = await unlockVolume(environment, options);
  const { newest, keyring, state } = unlocked;
  try {
    const anchor = await environment.anchor.read(options.volumeId);
    if (anchor === undefined && options.acceptMissingAnchor !== true) throw anchorMissing(toHex(options.volumeId));
    if (anchor !== undefined)
      await checkFreshness(environment.store, unlocked.prefix, unlocked.head.head, newest, anchor);
    const pin = findSnapshot({ pins: pinsOf(newest), snapshots: state.snapshots }, options.snapshot);
    const pinned = await readPinned(environment.store, options.volumeId, keyring, pin);
    const core = await buildCore(environment, { ...unlocked, newest: pinned.read, state: pinned.state }, undefined);
    return new SealedVolume({
      core,
      lock: { release: () => Promise.resolve() },
      readOnly: true,
      start: {
        sequence: pinned.state.sequence,
        chain: pinned.state.chain,
        nextOrdinal: pinned.state.nextOrdinal,
      },
      recovery: { clean: true, segmentCount: 0, recordCount: 0, bytes: 0, tornBytes: 0, milliseconds: 0 },
    });
  } catch (error) {
    keyring.wipe();
    throw error;
  }
}

/** Snapshots of a volume that may be open elsewhere; oldest first. */
export async function listSnapshots(
  environment: VolumeEnvironment,
  options: Pick<OpenSnapshotOptions, 'volumeId' | 'keySource'>,
): Promise<SnapshotInfo[]> {
  const { newest, keyring, state } = await unlockVolume(environment, options);
  keyring.wipe();
  return snapshotsOf({ pins: pinsOf(newest), snapshots: state.snapshots });
}

/** What changed from one snapshot to another, or to the newest published state; ascending extents. */
export async function* diffSnapshots(
  environment: VolumeEnvironment,
  options: DiffOptions,
): AsyncGenerator<ChangedExtent> {
  const { newest, keyring, state } = await unlockVolume(environment, options);
  const loaders: MapLoader[] = [];
  try {
    const published = { pins: pinsOf(newest), snapshots: state.snapshots };
    const keys = new ObjectKeys(keyring, protectionOf(newest.manifest), environment.sealer);
    const sideOf = async (read: ReadManifest, its: ManifestState): Promise<MapSide> => {
      const loader = new MapLoader(environment, await readCatalog(environment.store, read), keys);
      loaders.push(loader);
      return { state: its, loader };
    };
    const pinnedSide = async (name: string): Promise<MapSide> => {
      const pinned = await readPinned(environment.store, options.volumeId, keyring, findSnapshot(published, name));
      return sideOf(pinned.read, pinned.state);
    };
    const before = await pinnedSide(options.from);
    const after = options.to === undefined ? await sideOf(newest, state) : await pinnedSide(options.to);
    yield* changedBlocks(before, after);
  } finally {
    for (const loader of loaders) await loader.closeAll();
    keyring.wipe();
  }
}
