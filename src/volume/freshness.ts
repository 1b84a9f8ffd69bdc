/**
 * Freshness: whether the state the store shows is the newest, judged against the anchor
 * (spec/manifest-format.md, "Accepting a state").
 */
import type { AnchorState } from '../anchor/anchor.ts';
import { equalBytes } from '../crypto/digest.ts';
import { CaissonError } from '../lib/errors.ts';
import type { DecodedHead } from '../manifest/head-format.ts';
import { readManifest, type ReadManifest } from '../manifest/manifest.ts';
import type { Store } from '../store/store.ts';

/** Throws `rolled-back` or `forked` unless the head's manifest is the anchored one or extends it. */
export async function checkFreshness(
  store: Store,
  prefix: string,
  head: DecodedHead,
  newest: ReadManifest,
  anchor: AnchorState,
): Promise<void> {
  if (head.epoch < anchor.epoch)
    throw rolledBack(`epoch ${head.epoch}`, `epoch ${anchor.epoch}`, head.epoch, anchor.epoch);
  if (newest.manifest.number < anchor.manifestNumber) {
    throw rolledBack(
      `manifest ${newest.manifest.number}`,
      `manifest ${anchor.manifestNumber}`,
      newest.manifest.number,
      anchor.manifestNumber,
    );
  }
  let read = newest;
  while (read.manifest.number > anchor.manifestNumber) {
    if (read.manifest.number <= read.manifest.floor) {
      throw new CaissonError(
        'integrity',
        'forked',
        `the store no longer holds manifest ${anchor.manifestNumber}, which the anchor names`,
        {
          remedy: 'Restore the store that belongs to the anchor, or forget the anchor on purpose.',
        },
      );
    }
    read = await readManifest(store, prefix, head.volumeId, read.manifest.number - 1, read.manifest.previousDigest);
  }
  if (!equalBytes(read.digest, anchor.manifestDigest)) {
    throw new CaissonError(
      'integrity',
      'forked',
      `the store shows another manifest ${anchor.manifestNumber} than the anchor`,
      {
        remedy:
          'The store holds another history than the one this volume wrote. Restore the store that belongs to the anchor.',
        details: { manifestNumber: anchor.manifestNumber },
      },
    );
  }
}

function rolledBack(store: string, anchor: string, storeValue: number, anchorValue: number): CaissonError {
  return new CaissonError('integrity', 'rolled-back', `rolled back: the store has ${store}, the anchor has ${anchor}`, {
    remedy: 'Put the newest state of the store back. Nothing was changed.',
    details: { store: storeValue, anchor: anchorValue },
  });
}

export function anchorMissing(volumeId: string): CaissonError {
  return new CaissonError(
    'integrity',
    'anchor-missing',
    `the anchor has never seen volume ${volumeId}, so an old copy of the store could not be told from the newest`,
    {
      remedy: 'Bring the anchor along, or accept the store as it is once: --accept-missing-anchor.',
    },
  );
}
