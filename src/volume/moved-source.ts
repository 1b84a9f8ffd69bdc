/**
 * What a move leaves behind and what tells the two stores apart afterwards (docs/moving.md).
 *
 * Invariant: objects of a source are deleted only when its own head, or the anchor, says that the volume is elsewhere.
 */
import type { Anchor } from '../anchor/anchor.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { HeadState, type DecodedHead } from '../manifest/head-format.ts';
import { readHead } from '../manifest/manifest.ts';
import { headKey, manifestPrefix, volumePrefix } from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import type { Progress } from './volume-types.ts';

/** Deletes a volume's objects and spool from a store that it has left; the head comes last. The caller holds the lock. */
export async function deleteMovedSource(
  store: Store,
  prefix: string,
  options: { readonly onProgress?: Progress | undefined; readonly signal?: AbortSignal | undefined },
): Promise<number> {
  const { onProgress, signal } = options;
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  // Manifests hold the wrapped keys: they go first.
  const rank = (key: string): number => (key === headKey(prefix) ? 2 : key.startsWith(manifestPrefix(prefix)) ? 0 : 1);
  keys.sort((left, right) => rank(left) - rank(right));
  const area = await store.spool(prefix);
  for (const file of await area.list()) await area.remove(file.key);
  for (const [done, key] of keys.entries()) {
    signal?.throwIfAborted();
    await store.remove(key);
    onProgress?.(done + 1, keys.length, 'objects');
  }
  return keys.length;
}

/** Ends what an interrupted move left in its source. `volume-busy` unless the volume really is elsewhere. */
export async function removeMovedSource(
  environment: { readonly store: Store; readonly anchor: Anchor },
  volumeId: Uint8Array,
  options: { readonly onProgress?: Progress | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<{ readonly removedObjects: number }> {
  const { store, anchor } = environment;
  const prefix = volumePrefix(volumeId);
  const head = await headOf(store, volumeId);
  if (head === undefined) return { removedObjects: 0 };
  const lock = await store.lock(prefix);
  try {
    const anchored = await anchor.read(volumeId);
    if (head.state !== HeadState.moved && !(anchored !== undefined && head.epoch < anchored.epoch)) {
      throw new CaissonError(
        'denied',
        'volume-busy',
        `nothing says that volume ${toHex(volumeId)} has left ${store.url}: it is not touched`,
      );
    }
    return { removedObjects: await deleteMovedSource(store, prefix, options) };
  } finally {
    await lock.release();
  }
}

/**
 * Where a volume is whose move may have been interrupted; needs no key. As long as nothing says otherwise it is the
 * source: a target that has a head by then is refused once the source is open again, because that takes an epoch
 * beyond it.
 */
export async function locateMoving(
  places: { readonly source: Store; readonly target: Store; readonly anchor: Anchor },
  volumeId: Uint8Array,
): Promise<'source' | 'target'> {
  const anchored = await places.anchor.read(volumeId);
  const source = await headOf(places.source, volumeId);
  const hasLeft = source === undefined || source.state === HeadState.moved || source.epoch < (anchored?.epoch ?? 0);
  if (!hasLeft) return 'source';
  const target = await headOf(places.target, volumeId);
  if (target === undefined || target.state === HeadState.moved) return 'source';
  return target.epoch >= (anchored?.epoch ?? 0) ? 'target' : 'source';
}

async function headOf(store: Store, volumeId: Uint8Array): Promise<DecodedHead | undefined> {
  try {
    return (await readHead(store, volumePrefix(volumeId), volumeId)).head;
  } catch (error) {
    if (isCaissonError(error, 'volume-missing')) return undefined;
    throw error;
  }
}
