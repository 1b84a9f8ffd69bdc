/** For targets over evidence: changes one part of what verifies, and says what may come of it. */
import assert from 'node:assert/strict';
import type { Verifier, VerifyContext } from '../../src/broker/attest/verifier.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import type { Evidence } from '../../src/wire/evidence.ts';
import { seededBytes } from './seeded.ts';
import { mutated } from './vector-mutation.ts';

/**
 * Changed evidence is `evidence-invalid` or `evidence-untrusted`; if it verifies, it says what the unchanged
 * evidence says (a changed certificate that nobody needs, a signature in another encoding).
 */
export async function fuzzEvidence(
  verifier: Verifier,
  originals: readonly Evidence[],
  context: VerifyContext,
  seed: number,
  iterations: number,
): Promise<void> {
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const original = originals[random.below(originals.length)]!;
    const names = Object.keys(original.parts);
    const name = names[random.below(names.length)]!;
    const parts = { ...original.parts, [name]: mutated(original.parts[name]!, random) };
    try {
      const { claims, reportData } = await verifier.verify({ ...original, parts }, context);
      const expected = await verifier.verify(original, context);
      assert.deepEqual([reportData, claims], [expected.reportData, expected.claims]);
    } catch (error) {
      const isNamed = isCaissonError(error, 'evidence-invalid') || isCaissonError(error, 'evidence-untrusted');
      assert.ok(isNamed, `seed ${seed} iteration ${iteration}, part ${name}: ${String(error)}`);
    }
  }
}
