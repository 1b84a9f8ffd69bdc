/**
 * Changed texts of policies, reference values and their tests, and files said to be evidence: each is read whole
 * or refused by name, and a policy that is read judges any claims without an error.
 */
import assert from 'node:assert/strict';
import { readEvidence } from '../../src/broker/evidence-file.ts';
import type { ClaimValue } from '../../src/broker/attest/verifier.ts';
import { evaluatePolicy } from '../../src/broker/policy/evaluate.ts';
import { parsePolicy } from '../../src/broker/policy/policy.ts';
import { collectReferences, parseReferenceSet } from '../../src/broker/policy/references.ts';
import type { References } from '../../src/broker/policy/references.ts';
import { parsePolicyTests } from '../../src/broker/policy/test-file.ts';
import { failures } from '../../src/broker/policy/verdict.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { allowedEvidence, definitions, images, policyText } from '../support/policies.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

const pieces = [
  ...[
    '{',
    '}',
    '[',
    ']',
    ': ',
    '- ',
    '\n',
    '  ',
    '"',
    "'",
    '&a ',
    '*a',
    '!!str ',
    '? ',
    '|\n',
    '>-\n',
    '# ',
    '%',
    '---\n',
  ],
  ...[
    'or-absent: true',
    'bits: { mask: 1, equals: 1 }',
    'reference: images',
    'debug: x',
    'true',
    '0x',
    '1e9',
    '-1',
    '2026-02-30',
  ],
];

const testText = `caisson-policy-test: 1
policy: policy.yaml
references: [images.yaml]
base: { technology: snp, now: 2026-06-01, key: database, claims: { debug: false, snp.vmpl: 0, tcb.advisories: [A-1] } }
cases:
  - { name: one, allowed-by: production }
  - { name: two, claims: { debug: true }, without: [snp.vmpl], refused-by: [profiles.production.debug] }
  - { name: three, evidence: report.json, collateral: b, roots: [r], asks: [create-key], allowed-by: production }
`;
const evidenceText = '{"technology":"snp","parts":{"report":"AAAA","certificates":"AAA="}}';

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    const references = accepted(where, () => collectReferences([parseReferenceSet(mutated(images, random), 'images')]));
    const known: References = references ?? collectReferences([parseReferenceSet(images, 'images')]);
    accepted(where, () => parsePolicyTests(mutated(testText, random), 'test', definitions));
    accepted(where, () => readEvidence(mutated(evidenceText, random), 'evidence'), 'evidence-invalid');
    const policy = accepted(where, () => parsePolicy(mutated(policyText, random), 'policy', definitions, known));
    if (policy === undefined) continue;
    const request = {
      now: random.below(2 ** 31) * 1000,
      keyName: 'database',
      volumeId: undefined,
      suite: undefined,
      asks: [],
    };
    const verdict = evaluatePolicy(policy, allowedEvidence(claims(random)), request);
    assert.equal(verdict.allowed, failures(verdict).length === 0, where);
  }
}

function accepted<T>(where: string, action: () => T, code = 'policy-invalid'): T | undefined {
  try {
    return action();
  } catch (error) {
    assert.ok(error instanceof CaissonError && error.code === code, `${where}: ${String(error)}`);
    return undefined;
  }
}

function claims(random: SeededBytes): Record<string, ClaimValue | undefined> {
  const values: (ClaimValue | undefined)[] = [
    undefined,
    true,
    -1,
    Number.NaN,
    '',
    'x',
    [],
    ['A-1', ''],
    random.bytes(random.below(64)),
  ];
  const names = ['debug', 'snp.measurement', 'snp.policy', 'snp.vmpl', 'tcb.date', 'tcb.status', 'tcb.advisories'];
  return Object.fromEntries([0, 1].map(() => [names[random.below(names.length)], values[random.below(values.length)]]));
}

function mutated(text: string, random: SeededBytes): Uint8Array {
  let changed = text;
  for (let count = random.below(4); count > 0; count--) {
    const at = random.below(changed.length + 1);
    const cut = random.below(3) === 0 ? random.below(20) : 0;
    const piece = pieces[random.below(pieces.length)] ?? '';
    changed = changed.substring(0, at) + piece.repeat(random.below(16) === 0 ? 200 : 1) + changed.substring(at + cut);
  }
  const bytes = new TextEncoder().encode(changed);
  if (random.below(8) === 0 && bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256);
  return bytes;
}
