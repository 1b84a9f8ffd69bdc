/**
 * Changed rotations: what decodes encodes to the same bytes, all else is refused by name, and whichever master key still
 * opens one opens the root keys that were put into it.
 */
import assert from 'node:assert/strict';
import { decodeRotation, encodeRotation, readRootKeys, rotationSetting } from '../../src/broker/release/root-key.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { toHex } from '../../src/lib/hex.ts';
import { rotationSides, rotationVectors, settingsOf, sourceOf } from '../support/rotation-vectors.ts';
import type { RotationVector } from '../support/rotation-vectors.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';
import { mutated } from './vector-mutation.ts';

const vectors = rotationVectors();

export async function fuzz(seed: number, iterations: number): Promise<void> {
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const vector = vectors[random.below(vectors.length)]!;
    const value = mutant(vector, random);
    const where = `seed ${seed} iteration ${iteration}: ${vector.file}`;
    try {
      assert.equal(Buffer.compare(encodeRotation(decodeRotation(value)), value), 0, `${where} has two forms`);
    } catch (error) {
      mustBe(['database-damaged'], error, where);
    }
    const settings = settingsOf(vector, { [rotationSetting]: value });
    for (const side of rotationSides) {
      try {
        const keys = await readRootKeys(settings, sourceOf(vector, side));
        const roots = [keys?.current, keys?.previous].flatMap((root) => (root === undefined ? [] : [toHex(root)]));
        const right = value.length === 0 ? [vector.roots.old] : [vector.roots.new, vector.roots.old];
        assert.deepEqual(roots, right, `${where} opens other keys`);
      } catch (error) {
        mustBe(['database-damaged', 'key-wrong'], error, `${where} ${side}`);
      }
    }
  }
}

/** Half of the time one part changes and the lengths still fit, so that what lies behind them is reached. */
function mutant({ settings }: RotationVector, random: SeededBytes): Uint8Array {
  const stored = Buffer.from(settings[rotationSetting] ?? '', 'hex');
  if (random.below(2) === 0) return mutated(stored, random);
  try {
    const rotation = decodeRotation(stored);
    const names = ['parameters', 'newByMaster', 'newByOld', 'oldByNew'] as const;
    const [name, other] = [names[random.below(4)]!, names[random.below(4)]!];
    const part = random.below(4) === 0 ? rotation[other] : mutated(rotation[name], random);
    return encodeRotation({ ...rotation, [name]: part });
  } catch {
    return mutated(stored, random);
  }
}

function mustBe(codes: readonly string[], error: unknown, where: string): void {
  if (error instanceof assert.AssertionError) throw error;
  assert.ok(error instanceof CaissonError && codes.includes(error.code), `${where}: ${String(error)}`);
}
