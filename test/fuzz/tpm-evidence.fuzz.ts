/** Changed TPM evidence is refused by name: whatever changes, a key of the fake TPM did not sign it. Event logs parse or are refused. */
import assert from 'node:assert/strict';
import { parseEventLog } from '../../src/broker/attest/tpm/event-log.ts';
import { verifier } from '../../src/broker/attest/tpm/verifier.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { fakeEventLog, fakeVariable } from '../support/fake-event-log.ts';
import { fakeTpmEvidence } from '../support/fake-tpm-evidence.ts';
import { fuzzEvidence } from './evidence-mutation.ts';
import { seededBytes } from './seeded.ts';
import { mutated } from './vector-mutation.ts';

const log = fakeEventLog([
  { register: 0, type: 3, data: Buffer.from('StartupLocality\0\u0003') },
  { register: 7, type: 0x8000_0001, data: fakeVariable('SecureBoot', 1) },
  { register: 4, type: 4, data: new Uint8Array(4) },
]);

export async function fuzz(seed: number, iterations: number): Promise<void> {
  const bound = fakeTpmEvidence();
  const { activation: _activation, ...parts } = bound.evidence.parts;
  const certified = { ...parts, akCertificate: bound.parts['akCertificate']! };
  const either = [bound.evidence, { ...bound.evidence, parts: certified }];
  await fuzzEvidence(verifier, either, bound.context, seed, Math.ceil(iterations / 2));
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    try {
      parseEventLog(mutated(log, random));
    } catch (error) {
      assert.ok(isCaissonError(error, 'evidence-invalid'), `seed ${seed} iteration ${iteration}: ${String(error)}`);
    }
  }
}
