/** How verdicts look as trustworthiness vectors (spec/policy.md, section 8). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { allowedEvidence, definitions, images, policyText } from '../../../test/support/policies.ts';
import type { ClaimValue } from '../attest/verifier.ts';
import { evaluatePolicy } from './evaluate.ts';
import { parsePolicy } from './policy.ts';
import { collectReferences, parseReferenceSet } from './references.ts';
import { trustworthinessVector } from './trustworthiness.ts';
import type { Trustworthiness } from './trustworthiness.ts';

const references = collectReferences([parseReferenceSet(images, 'images.yaml')]);

describe('a trustworthiness vector', () => {
  /** Claims, then status, executables, hardware, configuration, runtime-opaque. */
  const cases: readonly (readonly [string, Record<string, ClaimValue>, readonly (string | number)[]])[] = [
    ['affirms what is allowed', {}, ['affirming', 3, 2, 2, 2]],
    ['does not know another measurement', { 'snp.measurement': new Uint8Array(48) }, ['warning', 33, 2, 2, 2]],
    ['warns of old versions', { 'tcb.status': 'OutOfDate' }, ['warning', 3, 32, 2, 2]],
    ['warns of another configuration', { 'snp.vmpl': 2 }, ['warning', 3, 2, 32, 2]],
    ['contraindicates debug', { debug: true }, ['contraindicated', 3, 2, 2, 96]],
  ];
  for (const [name, changes, expected] of cases) it(name, () => assert.deepEqual(told(vectorOf(changes)), expected));

  it('contraindicates what a condition refuses', () => {
    assert.deepEqual(told(vectorOf({}, policyText, 'other')), ['contraindicated', 3, 2, 2, 2]);
  });

  it('claims nothing of what was waived or not looked at', () => {
    const waived = policyText
      .replace('      snp.measurement: { reference: images }\n', '')
      .replace('    waive:', '    waive:\n      snp.measurement: any image\n      debug: a laboratory');
    assert.deepEqual(told(vectorOf({ debug: true }, waived)), ['contraindicated', 0, 2, 2, 96]);
    const { vector } = vectorOf({});
    assert.deepEqual([vector['instance-identity'], vector['file-system'], vector['storage-opaque']], [0, 0, 0]);
  });
});

function vectorOf(
  changes: Readonly<Record<string, ClaimValue>>,
  text = policyText,
  keyName = 'database',
): Trustworthiness {
  const policy = parsePolicy(text, 'policy.yaml', definitions, references);
  const verified = allowedEvidence(changes);
  const now = Date.parse('2026-06-01');
  const verdict = evaluatePolicy(policy, verified, { now, keyName, volumeId: undefined, suite: undefined, asks: [] });
  return trustworthinessVector(verdict, verified);
}

function told({ status, vector }: Trustworthiness): (string | number)[] {
  return [status, vector.executables, vector.hardware, vector.configuration, vector['runtime-opaque']];
}
