/** Changed bundles: what decodes encodes to the same entries; everything else is refused by name. */
import assert from 'node:assert/strict';
import { decodeBundle, encodeBundle } from '../../src/broker/collateral/bundle-format.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { seededBytes } from './seeded.ts';
import { mutated } from './vector-mutation.ts';

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const entries = Array.from({ length: random.below(4) }, (_, index) => ({
      name: `amd/milan/part-${index}`,
      obtainedAt: random.below(2 ** 31) * 1000,
      bytes: random.bytes(random.below(40)),
      ...(random.below(2) === 0 ? {} : { issuerChain: random.bytes(random.below(40)) }),
    }));
    const bytes = mutated(encodeBundle(entries), random);
    try {
      const decoded = decodeBundle(bytes);
      assert.deepEqual(decodeBundle(encodeBundle(decoded)), decoded);
    } catch (error) {
      const isNamed = error instanceof CaissonError && /^format-(?:invalid|version)$/.test(error.code);
      assert.ok(isNamed, `seed ${seed} iteration ${iteration}: ${String(error)}`);
    }
  }
}
