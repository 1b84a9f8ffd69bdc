/**
 * The engine's front door. Everything that callers need of a volume is here or in `volume-types.ts`;
 * the other files of this folder are its inside.
 */
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { manifestPrefix, parseVolumePrefix, volumePrefix } from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import { HeadState } from '../manifest/head-format.ts';
import type { Pin } from '../manifest/manifest-format.ts';
import { readHead, readManifest } from '../manifest/manifest.ts';
import { findLivingClones } from './clone-pins.ts';
import { openVolume } from './opening.ts';
import { findingOf, verifyBlocks, verifyPublic } from './verify.ts';
import type { VerifyOptions, VerifyReport, VolumeEnvironment } from './volume-types.ts';

export { createVolume } from './creating.ts';
export { openVolume } from './opening.ts';
export { checkReceipt, eraseVolume, readReceipt } from './erasing.ts';
export { inspectVolume } from './inspecting.ts';
export { locateMoving, removeMovedSource } from './moved-source.ts';
export { diffSnapshots, listSnapshots, openSnapshot } from './snapshot-opening.ts';

/** Ids of the volumes in a store, 32 hex digits each, sorted. */
export async function listVolumes(store: Store): Promise<string[]> {
  const ids = new Set<string>();
  for await (const object of store.list('')) {
    const prefix = object.key.substring(0, 33);
    if (object.key === `${prefix}head` && parseVolumePrefix(prefix) !== undefined) ids.add(prefix.substring(0, 32));
  }
  return [...ids].sort();
}

/** Public checks always; with a key source also every record of the spool and every live block. */
export async function verifyVolume(environment: VolumeEnvironment, options: VerifyOptions): Promise<VerifyReport> {
  const { volumeId, keySource, onProgress } = options;
  const report = await verifyPublic(environment, { volumeId, onProgress });
  if (keySource === undefined || report.erased) return report;
  let volume;
  try {
    volume = await openVolume(environment, { volumeId, keySource, readOnly: true, acceptMissingAnchor: true });
  } catch (error) {
    if (!(error instanceof CaissonError) || error.kind !== 'integrity') throw error;
    return {
      ...report,
      public: false,
      findings: [...report.findings, findingOf(error, 'volume')],
      freshness: freshnessAfter(error, report),
    };
  }
  try {
    return await verifyBlocks(volume, report, onProgress);
  } finally {
    await volume.close();
  }
}

/**
 * Deletes a volume's objects and its anchor. The head goes first: from then on the volume does not
 * exist, and a removal that was interrupted can be repeated.
 */
export async function removeVolume(
  environment: Pick<VolumeEnvironment, 'store' | 'anchor'>,
  volumeId: Uint8Array,
): Promise<{ readonly removedObjects: number }> {
  const { store, anchor } = environment;
  const prefix = volumePrefix(volumeId);
  const keys: string[] = [];
  for await (const object of store.list(prefix)) keys.push(object.key);
  if (keys.length === 0)
    throw new CaissonError(
      'invalid',
      'volume-missing',
      `the store ${store.url} holds no volume ${prefix.substring(0, 32)}`,
    );
  const lock = await store.lock(prefix);
  try {
    const hasMoved = await refuseNeeded(store, prefix, volumeId);
    const rank = (key: string): number =>
      key === `${prefix}head` ? 0 : key.startsWith(manifestPrefix(prefix)) ? 1 : 2;
    keys.sort((left, right) => rank(left) - rank(right));
    for (const key of keys) await store.remove(key);
    const area = await store.spool(prefix);
    for (const file of await area.list()) await area.remove(file.key);
    // Of a volume that lives on in another store the anchor is still needed.
    if (!hasMoved) await anchor.forget(volumeId);
    return { removedObjects: keys.length };
  } finally {
    await lock.release();
  }
}

/**
 * Clones read objects of this volume: they would be lost with it. A head that cannot be read stops nobody from removing.
 * Answers whether the head says that the volume has moved.
 */
async function refuseNeeded(store: Store, prefix: string, volumeId: Uint8Array): Promise<boolean> {
  let pins: readonly Pin[];
  try {
    const { head } = await readHead(store, prefix, volumeId);
    if (head.state === HeadState.moved) return true;
    pins = (await readManifest(store, prefix, volumeId, head.number, head.manifestDigest)).manifest.pins;
  } catch (error) {
    if (error instanceof CaissonError && error.kind !== 'io' && error.kind !== 'transient') return false;
    throw error;
  }
  const clones = await findLivingClones(store, pins);
  if (clones.length === 0) return false;
  const ids = clones.map(({ id }) => toHex(id));
  throw new CaissonError('denied', 'volume-needed', `${ids.length} clones read objects of this volume`, {
    remedy: `Remove them first (${ids.toSpliced(3).join(', ')}), or erase this volume: its clones then keep what they need.`,
    details: { clones: ids.length },
  });
}

function freshnessAfter(error: CaissonError, report: VerifyReport): VerifyReport['freshness'] {
  if (isCaissonError(error, 'rolled-back')) return 'rolled-back';
  return isCaissonError(error, 'forked') ? 'forked' : report.freshness;
}
