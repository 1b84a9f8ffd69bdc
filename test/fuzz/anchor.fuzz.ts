/**
 * Changed anchor files: what decodes is one of the states that were written, or encodes to the bytes
 * that are there; all else is refused by name.
 */
import assert from 'node:assert/strict';
import {
  anchorFileBytes,
  anchorSlotBytes,
  anchorSlotPosition,
  decodeAnchorFile,
  encodeAnchorSlot,
} from '../../src/anchor/anchor-format.ts';
import { sha256 } from '../../src/crypto/digest.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

const refusals = new Set(['anchor-tampered', 'format-version']);

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    const volumeId = random.bytes(16);
    const file = written(volumeId, random);
    const mutant = mutated(file, random);
    try {
      const { held } = decodeAnchorFile(mutant, volumeId);
      const position = anchorSlotPosition(held.counter);
      assert.equal(
        Buffer.compare(encodeAnchorSlot(held), mutant.subarray(position, position + anchorSlotBytes)),
        0,
        where,
      );
    } catch (error) {
      assert.ok(error instanceof CaissonError && refusals.has(error.code), `${where}: ${String(error)}`);
    }
  }
}

function written(volumeId: Uint8Array, random: SeededBytes): Uint8Array {
  const file = new Uint8Array(anchorFileBytes);
  const counter = 1 + random.below(1000);
  for (const one of [counter, counter + 1]) {
    const state = {
      volumeId,
      epoch: random.below(100),
      manifestNumber: random.below(2 ** 32) * 2 ** random.below(22),
      manifestDigest: random.bytes(32),
      sequence: random.below(2 ** 32),
      chain: random.bytes(16),
    };
    file.set(encodeAnchorSlot({ counter: one, state }), anchorSlotPosition(one));
  }
  return file;
}

/** Flips bits of the body, cuts and extends, and half of the time repairs the checksum, so that the checks behind it are reached. */
function mutated(file: Uint8Array, random: SeededBytes): Uint8Array {
  if (random.below(8) === 0) return file.subarray(0, random.below(anchorFileBytes));
  if (random.below(16) === 0) return new Uint8Array([...file, random.below(256)]);
  const mutant = new Uint8Array(file);
  const slot = random.below(2) * anchorSlotBytes;
  for (let count = 1 + random.below(3); count > 0; count--) {
    const place = slot + (random.below(4) === 0 ? random.below(anchorSlotBytes) : random.below(120));
    mutant[place] = mutant[place]! ^ (1 << random.below(8));
  }
  if (random.below(2) === 0)
    mutant.set(sha256(mutant.subarray(slot, slot + anchorSlotBytes - 32)), slot + anchorSlotBytes - 32);
  return mutant;
}
