/** When one state of a volume may follow another: the rule that all anchors share (spec/anchor.md). */
import { CaissonError } from '../lib/errors.ts';
import { equalBytes } from '../crypto/digest.ts';
import type { AnchorState } from './anchor.ts';

/** Throws `forked` or `rolled-back` unless `next` is `held` or comes after it. */
export function checkAdvance(held: AnchorState, next: AnchorState): void {
  const order = comparePositions(held, next);
  const isSameManifest = held.epoch === next.epoch && held.manifestNumber === next.manifestNumber;
  if (isSameManifest && !equalBytes(held.manifestDigest, next.manifestDigest))
    throw forked(held, 'two manifests have this number');
  if (order === 0 && !equalBytes(held.chain, next.chain)) throw forked(held, 'two records have this sequence');
  if (order > 0) {
    throw new CaissonError(
      'integrity',
      'rolled-back',
      `the anchor holds a newer state than ${describePosition(next)}: ${describePosition(held)}`,
      {
        remedy: 'Put the newest copy of the store back; an old copy was opened.',
        details: positionDetails(held, next),
      },
    );
  }
}

/** Negative when `left` is older. */
export function comparePositions(left: AnchorState, right: AnchorState): number {
  return left.epoch - right.epoch || left.manifestNumber - right.manifestNumber || left.sequence - right.sequence;
}

function forked(held: AnchorState, reason: string): CaissonError {
  return new CaissonError(
    'integrity',
    'forked',
    `the volume has two histories at ${describePosition(held)}: ${reason}`,
    {
      remedy: 'Two copies of this volume were written to; find out which one is right before opening either.',
      details: positionDetails(held, held),
    },
  );
}

function describePosition({ epoch, manifestNumber, sequence }: AnchorState): string {
  return `epoch ${epoch}, manifest ${manifestNumber}, record ${sequence}`;
}

function positionDetails(held: AnchorState, next: AnchorState): Record<string, number> {
  return {
    heldEpoch: held.epoch,
    heldManifestNumber: held.manifestNumber,
    heldSequence: held.sequence,
    epoch: next.epoch,
    manifestNumber: next.manifestNumber,
    sequence: next.sequence,
  };
}
