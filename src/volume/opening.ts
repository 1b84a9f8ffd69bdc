/**
 * Opening: from the head on the store to a volume that serves. The order is the security argument:
 * lock, head, manifest, keys, freshness, then the epoch (which fences whoever had the volume), and only
 * then anything that another writer could still be changing (spec/manifest-format.md).
 *
 * Invariant: until the epoch is taken nothing was changed, so a refused opening leaves no trace.
 */
import type { AnchorState } from '../anchor/anchor.ts';
import { BlockMap } from '../block-map/block-map.ts';
import { assertLittleEndian } from '../block-map/map-format.ts';
import { equalBytes, sha256 } from '../crypto/digest.ts';
import { signingKeyFromSeed } from '../crypto/signature.ts';
import { openKeyring } from '../keys/keyring.ts';
import type { Keyring } from '../keys/keyring.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { catalogPageBytesMax, decodeCatalogPage } from '../manifest/catalog-format.ts';
import { HeadState } from '../manifest/head-format.ts';
import { ManifestKind, type Pin } from '../manifest/manifest-format.ts';
import type { ManifestState } from '../manifest/state-format.ts';
import { openState, readHead, readManifest, type ReadHead, type ReadManifest } from '../manifest/manifest.ts';
import { ObjectTable } from '../manifest/object-table.ts';
import { catalogKey, manifestKey, manifestPrefix, parseKey, volumePrefix } from '../store/paths.ts';
import type { Store, WriterLock } from '../store/store.ts';
import { protectionOf } from './describe.ts';
import { anchorMissing, checkFreshness } from './freshness.ts';
import { InlineDigester } from './inline-digester.ts';
import { MapLoader } from './map-loader.ts';
import { ObjectKeys } from './object-keys.ts';
import { recover } from './recovery.ts';
import { SealedVolume } from './sealed-volume.ts';
import { SegmentHandles } from './segment-handles.ts';
import { durabilityOf, swapCoreHead, tuningOf, type Published, type VolumeCore } from './volume-core.ts';
import type { OpenOptions, Volume, VolumeEnvironment } from './volume-types.ts';

/** What opening and verifying read before any key epoch or map matters. */
export interface UnlockedVolume {
  readonly prefix: string;
  readonly head: ReadHead;
  readonly newest: ReadManifest;
  readonly keyring: Keyring;
  readonly state: ManifestState;
}

export async function openVolume(environment: VolumeEnvironment, options: OpenOptions): Promise<Volume> {
  assertLittleEndian();
  const { store } = environment;
  const prefix = volumePrefix(options.volumeId);
  // Before the lock, so that asking for a volume that is not there creates nothing.
  await readHead(store, prefix, options.volumeId);
  const lock = await store.lock(prefix);
  try {
    return await openLocked(environment, options, lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function openLocked(environment: VolumeEnvironment, options: OpenOptions, lock: WriterLock): Promise<Volume> {
  const startedAt = environment.clock.monotonic();
  const readOnly = options.readOnly === true;
  const unlocked = await unlockVolume(environment, options);
  try {
    const anchor = await environment.anchor.read(options.volumeId);
    if (anchor === undefined && options.acceptMissingAnchor !== true) throw anchorMissing(toHex(options.volumeId));
    if (anchor !== undefined)
      await checkFreshness(environment.store, unlocked.prefix, unlocked.head.head, unlocked.newest, anchor);
    const core = await buildCore(environment, unlocked, anchor);
    if (!readOnly) await swapCoreHead(core, HeadState.open, core.published.number, core.published.digest);
    const recovered = await recover(core, anchor, readOnly, startedAt, unlocked.head.head.state === HeadState.closed);
    const volume = new SealedVolume({ core, lock, readOnly, start: recovered.position, recovery: recovered.report });
    if (!readOnly) volume.releaseGoneClones().catch((error: unknown) => warnOfClones(environment, error));
    return volume;
  } catch (error) {
    unlocked.keyring.wipe();
    throw error;
  }
}

function warnOfClones(environment: VolumeEnvironment, error: unknown): void {
  environment.log?.('warn', 'pins of clones could not be looked through; they keep space and do no harm', {
    error: String(error),
  });
}

/** Head, manifest and keyring, each checked against the one before; changes nothing. */
export async function unlockVolume(
  environment: VolumeEnvironment,
  options: Pick<OpenOptions, 'volumeId' | 'keySource'>,
): Promise<UnlockedVolume> {
  const { store } = environment;
  const { volumeId } = options;
  const prefix = volumePrefix(volumeId);
  const head = await readHead(store, prefix, volumeId);
  refuseEnded(head, toHex(volumeId));
  const newest = await readManifest(store, prefix, volumeId, head.head.number, head.head.manifestDigest);
  return unlockNewest(environment, options, head, newest);
}

/** As `unlockVolume`, of a head and the manifest that it names. */
export async function unlockNewest(
  { random }: VolumeEnvironment,
  options: Pick<OpenOptions, 'volumeId' | 'keySource'>,
  head: ReadHead,
  newest: ReadManifest,
): Promise<UnlockedVolume> {
  const { volumeId } = options;
  const prefix = volumePrefix(volumeId);
  const keyring = await openKeyring(newest.manifest.keyring, volumeId, options.keySource, random);
  try {
    if (!equalBytes(signingKeyFromSeed(keyring.signingSeed).publicKey, head.head.writerKey)) {
      throw new CaissonError(
        'integrity',
        'keyring-tampered',
        'the keyring holds another signing key than the one the volume id names',
      );
    }
    const state = openState(
      newest.manifest,
      keyring.dataKey(keyring.currentKeyEpoch),
      manifestKey(prefix, newest.manifest.number, newest.digest),
    );
    return { prefix, head, newest, keyring, state };
  } catch (error) {
    keyring.wipe();
    throw error;
  }
}

export function refuseEnded({ head }: ReadHead, volumeId: string): void {
  if (head.state === HeadState.erased)
    throw new CaissonError('denied', 'volume-erased', `volume ${volumeId} was erased: its keys are destroyed`, {
      remedy: 'Nothing can bring its content back. `caisson volume verify --public` shows the signed receipt.',
    });
  if (head.state === HeadState.moved)
    throw new CaissonError('denied', 'volume-moved', `volume ${volumeId} was moved to another store`, {
      remedy: 'Open it where it is now; what is left here may be removed.',
    });
}

/** The object table that the manifest's catalog names; every page is checked by digest. */
export async function readCatalog(store: Store, newest: ReadManifest): Promise<ObjectTable> {
  const table = new ObjectTable(newest.manifest.volumeId);
  for (const reference of newest.manifest.catalog) {
    const key = catalogKey(volumePrefix(reference.owner), reference.id);
    const bytes = await getNamed(store, key, reference.bytes);
    if (bytes.length !== reference.bytes || !equalBytes(sha256(bytes), reference.digest))
      throw catalogTampered(key, 'its digest is not the one in the manifest');
    const page = decodeCatalogPage(bytes);
    if (
      page.firstIndex !== reference.firstIndex ||
      page.entries.length !== reference.entryCount ||
      !equalBytes(page.volumeId, reference.owner)
    ) {
      throw catalogTampered(key, 'it is not the page that the manifest names');
    }
    table.restore(page, reference);
  }
  table.restored();
  return table;
}

async function getNamed(store: Store, key: string, bytes: number): Promise<Uint8Array> {
  if (bytes > catalogPageBytesMax) throw catalogTampered(key, `it is said to have ${bytes} bytes`);
  try {
    return await store.get(key, bytes);
  } catch (error) {
    if (isCaissonError(error, 'object-missing')) throw catalogTampered(key, 'it is missing', error);
    if (isCaissonError(error, 'object-too-large'))
      throw catalogTampered(key, 'it is longer than the manifest says', error);
    throw error;
  }
}

export async function buildCore(
  environment: VolumeEnvironment,
  unlocked: UnlockedVolume,
  anchor: AnchorState | undefined,
): Promise<VolumeCore> {
  const { prefix, head, newest, keyring, state } = unlocked;
  const { store, random, clock } = environment;
  const current = { ...environment };
  const tuning = tuningOf(environment);
  const protection = protectionOf(newest.manifest);
  const keys = new ObjectKeys(keyring, protection, environment.sealer);
  const table = await readCatalog(store, newest);
  const loader = new MapLoader(current, table, keys);
  const mapRoom = {
    makeRoom: (): Promise<void> =>
      Promise.reject(new CaissonError('full', 'limit-exceeded', 'the block map does not fit its memory')),
  };
  const map = new BlockMap(state.blockCount, tuning.mapBytesMax, loader, () => mapRoom.makeRoom());
  if (state.root !== undefined) map.restore(await loader.loadRoot(state.root, state.root.bytes));
  await restoreUsage(map, loader, state);
  return {
    environment: current,
    tuning,
    prefix,
    volumeId: newest.manifest.volumeId,
    protection,
    durability: durabilityOf(state.durability),
    keyring,
    signingKey: signingKeyFromSeed(keyring.signingSeed),
    keys,
    table,
    handles: new SegmentHandles(current, table, keys),
    area: await store.spool(prefix),
    digester: environment.digester ?? new InlineDigester(store, clock),
    map,
    mapRoom,
    mapLoader: loader,
    pageCounts: new Map(state.pageCounts),
    epoch: Math.max(head.head.epoch, anchor?.epoch ?? 0) + epochStep(newest),
    holder: random.bytes(16),
    published: await publishedOf(store, prefix, unlocked),
  };
}

/** After a move that was interrupted two stores may hold this manifest, their heads one epoch apart: opening one passes the other by. */
function epochStep({ manifest }: ReadManifest): number {
  return manifest.kind === ManifestKind.move ? 2 : 1;
}

/** Counts of live blocks that the manifest does not name are not known: cleaning counts anew (spec/map-format.md). */
async function restoreUsage(map: BlockMap, loader: MapLoader, state: ManifestState): Promise<void> {
  if (state.usage.length === 0 && state.root !== undefined) map.usage.uncountedLeaves = map.leafCount;
  for (const reference of state.usage)
    map.usage.restore(reference.page, reference, await loader.loadUsage(reference.page, reference));
}

export async function publishedOf(store: Store, prefix: string, unlocked: UnlockedVolume): Promise<Published> {
  const { head, newest, state } = unlocked;
  const { number } = newest.manifest;
  const kept: { number: number; digest: Uint8Array }[] = [];
  for await (const object of store.list(manifestPrefix(prefix))) {
    const parsed = parseKey(object.key);
    // Older ones are remains of an interrupted cleaning: between them and the floor there may be gaps.
    if (parsed?.kind === 'manifest' && parsed.manifestNumber < number && parsed.manifestNumber >= newest.manifest.floor)
      kept.push({ number: parsed.manifestNumber, digest: parsed.digestStart });
  }
  kept.sort((left, right) => left.number - right.number);
  kept.push({ number, digest: newest.digest });
  const { root } = state;
  return {
    number,
    digest: newest.digest,
    floor: newest.manifest.floor,
    kept,
    headVersion: head.version,
    root:
      root === undefined
        ? undefined
        : { reference: { object: root.object, slot: root.slot, tag: root.tag }, bytes: root.bytes },
    state,
    sequence: state.sequence,
    chain: state.chain,
    nextOrdinal: state.nextOrdinal,
    pins: pinsOf(newest),
    snapshots: state.snapshots,
    parent: newest.manifest.parent,
    rekeyBelow: state.rekeyBelow,
  };
}

/** The pins of a manifest; of itself it cannot say the digest. */
export function pinsOf({ manifest, digest }: ReadManifest): Pin[] {
  return manifest.pins.map((pin) => (pin.number === manifest.number ? { ...pin, digest } : pin));
}

function catalogTampered(key: string, message: string, cause?: unknown): CaissonError {
  return new CaissonError('integrity', 'manifest-tampered', `catalog page ${key} is not what was written: ${message}`, {
    remedy: 'The store was changed from outside. Restore it from a copy that is at least as new as the anchor.',
    details: { object: key },
    cause,
  });
}
