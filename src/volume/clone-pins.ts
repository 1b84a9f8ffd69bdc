/** Pins that clones hold on their parent: which are still needed, and taking the others away. */
import { isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { HeadState } from '../manifest/head-format.ts';
import { PinKind, type Pin } from '../manifest/manifest-format.ts';
import { readHead, readManifest } from '../manifest/manifest.ts';
import { PinnedNumbers } from '../manifest/pinned-numbers.ts';
import { volumePrefix } from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import type { VolumeCore } from './volume-core.ts';

/** Clones of clones are looked through this far; deeper ones count as needing everything. */
const depthMax = 32;

/**
 * The pins of clones that still read something of the volume, or whose own clones do. A clone needs nothing when the
 * store says that it has no head, or its signed manifest says that it is erased or reads nothing of a parent any more;
 * any doubt keeps the pin.
 */
export async function findLivingClones(store: Store, pins: readonly Pin[], depth = 0): Promise<Pin[]> {
  const living: Pin[] = [];
  for (const pin of pins) if (pin.kind === PinKind.clone && (await needsParent(store, pin.id, depth))) living.push(pin);
  return living;
}

async function needsParent(store: Store, cloneId: Uint8Array, depth: number): Promise<boolean> {
  if (depth >= depthMax) return true;
  const prefix = volumePrefix(cloneId);
  try {
    const { head } = await readHead(store, prefix, cloneId);
    const { manifest } = await readManifest(store, prefix, cloneId, head.number, head.manifestDigest);
    if (head.state !== HeadState.erased && manifest.parent !== undefined) return true;
    return (await findLivingClones(store, manifest.pins, depth + 1)).length > 0;
  } catch (error) {
    return !isCaissonError(error, 'volume-missing');
  }
}

/** Takes away the pins of all clones but these; what only the others needed leaves with the next manifest. */
export function unpinOtherClones(core: VolumeCore, living: readonly Pin[]): void {
  const names = new Set(living.map(({ id }) => toHex(id)));
  core.published.pins = core.published.pins.filter((pin) => pin.kind !== PinKind.clone || names.has(toHex(pin.id)));
  core.table.releaseUnpinned(new PinnedNumbers(core.published.pins));
}
