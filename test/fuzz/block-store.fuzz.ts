/** Changed superblocks, batches and records: refused by name, taken for nothing, or of one form. */
import { CaissonError } from '../../src/lib/errors.ts';
import { batchBytes } from '../../src/store/block/journal-format.ts';
import { putChecksum } from '../../src/store/block/superblock-format.ts';
import { decodeBlockStorePart } from '../support/block-store-decoding.ts';
import { fuzzVectors } from './vector-mutation.ts';

const refusals = ['format-invalid', 'format-version'];
const checksumAt = 12;
const lengthAt = 40;

export function fuzz(seed: number, iterations: number): void {
  fuzzVectors('block-store', refusals, seed, iterations, ({ part, bytes }) => {
    decodeUnlessRefused(part, bytes);
    // With the checksum put right, so that the checks behind it are reached.
    if (part !== 'record') decodeBlockStorePart(part, repaired(part, bytes));
  });
}

function decodeUnlessRefused(part: string, bytes: Uint8Array): void {
  try {
    decodeBlockStorePart(part, bytes);
  } catch (error) {
    if (!(error instanceof CaissonError) || !refusals.includes(error.code)) throw error;
  }
}

function repaired(part: string, bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes);
  if (copy.length < lengthAt + 4) return copy;
  const length = part === 'batch' ? batchBytes(new DataView(copy.buffer).getUint32(lengthAt, true)) : copy.length;
  if (length <= copy.length) putChecksum(copy.subarray(0, length), checksumAt);
  return copy;
}
