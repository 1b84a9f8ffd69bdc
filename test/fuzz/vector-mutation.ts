/** For targets over frozen vectors: takes one, changes it, and says which refusals are in order. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { CaissonError } from '../../src/lib/errors.ts';
import { seededBytes, type SeededBytes } from './seeded.ts';

export interface FuzzedVector {
  readonly part: string;
  /** `decodes`, or the code of the refusal. */
  readonly expect: string;
  readonly objectBytes: number;
  readonly volumeId: Uint8Array;
  readonly dataKey: Uint8Array;
  readonly bytes: Uint8Array;
}

interface StoredVector {
  readonly part?: string;
  readonly expect: string;
  readonly objectBytes?: number;
  readonly volumeId?: string;
  readonly dataKey?: string;
  readonly bytes: number;
  readonly pieces: readonly (readonly [offset: number, hex: string])[];
}

/** Runs `decode` on changed vectors of `format`; it may refuse with one of `refusals` and with nothing else. */
export function fuzzVectors(
  format: string,
  refusals: readonly string[],
  seed: number,
  iterations: number,
  decode: (vector: FuzzedVector) => void,
): void {
  const vectors = loadVectors(format);
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const vector = vectors[random.below(vectors.length)]!;
    const changed = { ...vector, bytes: mutated(vector.bytes, random) };
    try {
      decode(changed);
    } catch (error) {
      const isNamed = error instanceof CaissonError && refusals.includes(error.code);
      assert.ok(isNamed, `seed ${seed} iteration ${iteration}: ${String(error)}`);
    }
  }
}

export function loadVectors(format: string): FuzzedVector[] {
  const folder = new URL(`../vectors/${format}/`, import.meta.url);
  const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
  return names.sort().map((name) => {
    const stored = JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as StoredVector;
    const bytes = new Uint8Array(stored.bytes);
    for (const [offset, hex] of stored.pieces) bytes.set(Buffer.from(hex, 'hex'), offset);
    const { part = '', expect, objectBytes = bytes.length, volumeId = '', dataKey = '' } = stored;
    return {
      part,
      expect,
      objectBytes,
      volumeId: Buffer.from(volumeId, 'hex'),
      dataKey: Buffer.from(dataKey, 'hex'),
      bytes,
    };
  });
}

/** Flips, overwrites with telling values, moves, cuts and extends. */
export function mutated(bytes: Uint8Array, random: SeededBytes): Uint8Array {
  let mutant = Uint8Array.from(bytes);
  for (let count = random.below(5); count > 0 && mutant.length > 0; count--) {
    const place = random.below(mutant.length);
    const kind = random.below(10);
    if (kind < 4) mutant[place]! ^= 1 << random.below(8);
    else if (kind < 6) mutant.fill([0, 1, 0x7f, 0xff][random.below(4)]!, place, place + 1 + random.below(8));
    else if (kind < 7) mutant.copyWithin(place, random.below(mutant.length), mutant.length);
    else if (kind < 8) mutant = mutant.subarray(0, place);
    else if (kind < 9) mutant = Uint8Array.from([...mutant, ...random.bytes(random.below(40))]);
    else mutant.set(random.bytes(Math.min(16, mutant.length - place)), place);
  }
  return mutant;
}

export function assertSame(encoded: Uint8Array, bytes: Uint8Array): void {
  assert.equal(Buffer.compare(encoded, bytes), 0, 'what decodes has one form');
}
