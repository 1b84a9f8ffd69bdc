/** Pins that clones hold on their parent: which are still needed, and taking the others away. */
import { isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { HeadState } from '../manifest/head-format.ts';
import { PinKind, type Pin } from '../manifest/manifest-format.ts';
import { readHead } from '../manifest/manifest.ts';
import { PinnedNumbers } from '../manifest/pinned-numbers.ts';
import { volumePrefix } from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import type { VolumeCore } from './volume-core.ts';

/**
 * The pins of clones that are there. A clone is gone when the store says that it has no head, or its signed head says
 * that it is erased; any doubt keeps the pin.
 */
export async function findLivingClones(store: Store, pins: readonly Pin[]): Promise<Pin[]> {
  const living: Pin[] = [];
  for (const pin of pins) {
    if (pin.kind !== PinKind.clone) continue;
    try {
      const { head } = await readHead(store, volumePrefix(pin.id), pin.id);
      if (head.state !== HeadState.erased) living.push(pin);
    } catch (error) {
      if (!isCaissonError(error, 'volume-missing')) living.push(pin);
    }
  }
  return living;
}

/** Takes away the pins of all clones but these; what only the others needed leaves with the next manifest. */
export function unpinOtherClones(core: VolumeCore, living: readonly Pin[]): void {
  const names = new Set(living.map(({ id }) => toHex(id)));
  core.published.pins = core.published.pins.filter((pin) => pin.kind !== PinKind.clone || names.has(toHex(pin.id)));
  core.table.releaseUnpinned(new PinnedNumbers(core.published.pins));
}
