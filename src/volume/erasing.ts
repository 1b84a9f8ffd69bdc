/**
 * Crypto-erase: the newest manifest becomes one without keyring and sealed part, and the anchor moves on to it.
 * That takes the same few calls at any size. What remains of sealed bytes is deleted afterwards, for space's sake.
 *
 * What erasing rests on: the wraps of the data keys lie in manifests alone. Those in the store are removed; a copy that
 * somebody kept elsewhere is refused by the anchor, and is readable only to who also holds one of the volume's secrets
 * (docs/erase.md).
 */
import type { AnchorState } from '../anchor/anchor.ts';
import { equalBytes, sha256 } from '../crypto/digest.ts';
import { signingKeyFromSeed, type SigningKey } from '../crypto/signature.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { removalsInFlightMax } from '../lib/limits.ts';
import { forEachParallel } from '../lib/parallel.ts';
import { HeadState } from '../manifest/head-format.ts';
import { ManifestKind, PinKind, type ManifestPublic } from '../manifest/manifest-format.ts';
import {
  buildErasure,
  checkManifest,
  createExact,
  readHead,
  readManifest,
  swapHead,
  type ReadHead,
  type ReadManifest,
} from '../manifest/manifest.ts';
import type { ObjectTable } from '../manifest/object-table.ts';
import { PinnedNumbers } from '../manifest/pinned-numbers.ts';
import { catalogKey, headKey, manifestKey, manifestPrefix, volumePrefix } from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import { findLivingClones } from './clone-pins.ts';
import { anchorMissing, checkFreshness } from './freshness.ts';
import { objectKey } from './object-names.ts';
import { readCatalog, refuseEnded, unlockNewest, type UnlockedVolume } from './opening.ts';
import type { EraseOptions, EraseReceipt, VolumeEnvironment } from './volume-types.ts';

const noChain = new Uint8Array(16);

/**
 * Destroys the keys; returns the proof. With `keepObjects` the sealed bytes stay where they are. An erasure that was
 * interrupted is finished by the next call, which needs no key any more.
 */
export async function eraseVolume(environment: VolumeEnvironment, options: EraseOptions): Promise<EraseReceipt> {
  const prefix = volumePrefix(options.volumeId);
  const lock = await environment.store.lock(prefix);
  try {
    const anchored = await environment.anchor.read(options.volumeId);
    const { head, newest } = await readNewest(environment.store, options.volumeId, anchored);
    if (head.head.state === HeadState.erased) return await finishErasure(environment, newest, options);
    refuseEnded(head, toHex(options.volumeId));
    const unlocked = await unlockNewest(environment, options, head, newest);
    let manifests: readonly string[];
    let erased: ReadManifest;
    let bytes: Uint8Array;
    try {
      ({ erased, bytes, manifests } = await publishErasure(environment, unlocked, anchored, options));
    } finally {
      unlocked.keyring.wipe();
    }
    const removed = await removeRemains(environment, erased, options, manifests);
    return { ...receiptOf(erased, bytes), removedObjects: removed };
  } finally {
    await lock.release();
  }
}

/**
 * Head and newest manifest. The anchor mostly knows the manifest's name already, so that both are asked for at one
 * time; whether the name was right is told by the head.
 */
async function readNewest(
  store: Store,
  volumeId: Uint8Array,
  anchored: AnchorState | undefined,
): Promise<{ readonly head: ReadHead; readonly newest: ReadManifest }> {
  const prefix = volumePrefix(volumeId);
  const guessed =
    anchored === undefined
      ? undefined
      : readManifest(store, prefix, volumeId, anchored.manifestNumber, anchored.manifestDigest).catch(() => undefined);
  const head = await readHead(store, prefix, volumeId);
  const { number, manifestDigest } = head.head;
  const guess = await guessed;
  if (guess !== undefined && guess.manifest.number === number && equalBytes(guess.digest, manifestDigest))
    return { head, newest: guess };
  return { head, newest: await readManifest(store, prefix, volumeId, number, manifestDigest) };
}

/** What anybody can check of an erased volume's last manifest. Throws `manifest-tampered` if it is none. */
export function checkReceipt(bytes: Uint8Array, volumeId: Uint8Array): EraseReceipt {
  const read = checkManifest(bytes, sha256(bytes), volumeId, 'receipt');
  if (read.manifest.kind !== ManifestKind.erase) {
    throw new CaissonError(
      'integrity',
      'manifest-tampered',
      'the receipt is a manifest of another kind: nothing was erased',
    );
  }
  return receiptOf(read, bytes);
}

/** Repeats what comes after the head; each step does nothing where it was done before. */
async function finishErasure(
  environment: VolumeEnvironment,
  erased: ReadManifest,
  options: EraseOptions,
): Promise<EraseReceipt> {
  const { volumeId, epoch, number } = erased.manifest;
  const anchored = await environment.anchor.read(volumeId);
  await environment.anchor.advance({
    volumeId,
    epoch,
    manifestNumber: number,
    manifestDigest: erased.digest,
    sequence: anchored?.sequence ?? 0,
    chain: anchored?.chain ?? noChain,
  });
  const removedObjects = await removeRemains(environment, erased, options);
  return { ...receiptOf(erased, bytesOf(erased)), removedObjects };
}

interface PublishedErasure {
  readonly erased: ReadManifest;
  readonly bytes: Uint8Array;
  /** Keys of the manifests that were there while it was published. */
  readonly manifests: readonly string[];
}

async function publishErasure(
  environment: VolumeEnvironment,
  unlocked: UnlockedVolume,
  anchored: AnchorState | undefined,
  { acceptMissingAnchor }: EraseOptions,
): Promise<PublishedErasure> {
  const { store, anchor, random, clock } = environment;
  const { prefix, head, newest, keyring } = unlocked;
  const { volumeId } = newest.manifest;
  if (anchored === undefined && acceptMissingAnchor !== true) throw anchorMissing(toHex(volumeId));
  if (anchored !== undefined) await checkFreshness(store, prefix, head.head, newest, anchored);
  const signingKey: SigningKey = signingKeyFromSeed(keyring.signingSeed);
  const number = newest.manifest.number + 1;
  const epoch = Math.max(head.head.epoch, anchored?.epoch ?? 0) + 1;
  const fields: ManifestPublic = {
    ...newest.manifest,
    kind: ManifestKind.erase,
    number,
    epoch,
    previousDigest: newest.digest,
    floor: number,
    time: clock.wall(),
    keyring: new Uint8Array(0),
    // Snapshots go with their volume; what clones need stays.
    pins: newest.manifest.pins
      .filter((pin) => pin.kind === PinKind.clone)
      .map((pin) => (pin.number === newest.manifest.number ? { ...pin, digest: newest.digest } : pin)),
    added: [],
    dropped: [],
    salt: random.bytes(16),
  };
  const bytes = buildErasure(fields, signingKey);
  const digest = sha256(bytes);
  const [manifests] = await Promise.all([
    keysBelow(store, manifestPrefix(prefix)),
    createExact(store, manifestKey(prefix, number, digest), bytes),
  ]);
  const erasedHead = {
    state: HeadState.erased,
    volumeId,
    epoch,
    number,
    manifestDigest: digest,
    holder: random.bytes(16),
    writerKey: signingKey.publicKey,
  };
  await swapHead(store, prefix, head.version, erasedHead, signingKey);
  await anchor.advance({
    volumeId,
    epoch,
    manifestNumber: number,
    manifestDigest: digest,
    sequence: anchored?.sequence ?? unlocked.state.sequence,
    chain: anchored?.chain ?? unlocked.state.chain ?? noChain,
  });
  return { erased: checkManifest(bytes, digest, volumeId, 'erasure'), bytes, manifests };
}

/**
 * The other manifests first: they hold the wraps. Then the spool, then what no clone needs. `manifests`: known already;
 * the store is asked all the same, for those that a writer left who did not yet know that it is over.
 */
async function removeRemains(
  environment: VolumeEnvironment,
  erased: ReadManifest,
  options: EraseOptions,
  manifests: readonly string[] = [],
): Promise<number> {
  const { store } = environment;
  const { volumeId } = erased.manifest;
  const prefix = volumePrefix(volumeId);
  const receiptKey = manifestKey(prefix, erased.manifest.number, erased.digest);
  const old = new Set(manifests);
  old.delete(receiptKey);
  const [found] = await Promise.all([keysBelow(store, manifestPrefix(prefix)), removeAll(store, [...old])]);
  const late = found.filter((key) => key !== receiptKey && !old.has(key));
  await removeAll(store, late);
  const removed = old.size + late.length;
  const area = await store.spool(prefix);
  for (const file of await area.list()) await area.remove(file.key);
  if (options.keepObjects === true) return removed;
  const keep = await neededByClones(environment, erased);
  keep.add(headKey(prefix)).add(receiptKey);
  const keys = (await keysBelow(store, prefix)).filter((key) => !keep.has(key));
  await removeAll(store, keys, (done) => options.onProgress?.(done, keys.length, 'objects'));
  return removed + keys.length;
}

async function keysBelow(store: Store, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}

async function removeAll(store: Store, keys: readonly string[], onDone?: (count: number) => void): Promise<void> {
  let done = 0;
  await forEachParallel(keys, removalsInFlightMax, async (key) => {
    await store.remove(key);
    onDone?.(++done);
  });
}

/** Keys of the objects and catalog pages that living clones read. */
async function neededByClones(environment: VolumeEnvironment, erased: ReadManifest): Promise<Set<string>> {
  const keep = new Set<string>();
  const clones = await findLivingClones(environment.store, erased.manifest.pins);
  if (clones.length === 0) return keep;
  const pins = new PinnedNumbers(clones);
  let table: ObjectTable;
  try {
    table = await readCatalog(environment.store, erased);
  } catch (error) {
    if (!isCaissonError(error, 'manifest-tampered')) throw error;
    throw new CaissonError(
      'integrity',
      'manifest-tampered',
      'the keys are erased, but what clones need cannot be told from the catalog',
      {
        remedy: 'Nothing but keys was removed. Erase again with --keep-objects.',
        cause: error,
      },
    );
  }
  for (let index = 0; index < table.length; index++) {
    const entry = table.find(index);
    if (entry === undefined) continue;
    const death = entry.death === 0 ? erased.manifest.number : entry.death;
    if (pins.anyIn(entry.birth, death)) keep.add(objectKey(volumePrefix(entry.lineage), entry));
  }
  const prefix = volumePrefix(erased.manifest.volumeId);
  for (const page of erased.manifest.catalog)
    if (pins.anyIn(page.birth, erased.manifest.number)) keep.add(catalogKey(prefix, page.id));
  return keep;
}

function receiptOf({ manifest, digest }: ReadManifest, bytes: Uint8Array): EraseReceipt {
  return {
    volumeId: toHex(manifest.volumeId),
    manifestNumber: manifest.number,
    manifestDigest: toHex(digest),
    epoch: manifest.epoch,
    time: manifest.time,
    writerKey: toHex(manifest.writerKey),
    manifest: Uint8Array.from(bytes),
    removedObjects: 0,
  };
}

/** The receipt as it lies in the store; undefined where nothing was erased. */
export async function readReceipt(
  environment: Pick<VolumeEnvironment, 'store'>,
  volumeId: Uint8Array,
): Promise<EraseReceipt | undefined> {
  const erased = await readErasure(environment, volumeId);
  return erased === undefined ? undefined : checkReceipt(bytesOf(erased), volumeId);
}

async function readErasure(
  { store }: Pick<VolumeEnvironment, 'store'>,
  volumeId: Uint8Array,
): Promise<ReadManifest | undefined> {
  const prefix = volumePrefix(volumeId);
  const { head } = await readHead(store, prefix, volumeId);
  if (head.state !== HeadState.erased) return undefined;
  return readManifest(store, prefix, volumeId, head.number, head.manifestDigest);
}

function bytesOf({ manifest }: ReadManifest): Uint8Array {
  const { signedBytes, signature } = manifest;
  const bytes = new Uint8Array(signedBytes.length + signature.length);
  bytes.set(signedBytes);
  bytes.set(signature, signedBytes.length);
  return bytes;
}
