/** What a policy says of evidence: each rule with what was expected and what was there (spec/policy.md, sections 3 to 6). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { allowedEvidence, definitions, images, policyText } from '../../../test/support/policies.ts';
import type { ClaimValue } from '../attest/verifier.ts';
import { evaluatePolicy } from './evaluate.ts';
import { parsePolicy } from './policy.ts';
import { collectReferences, parseReferenceSet } from './references.ts';
import type { PolicyRequest } from './release-section.ts';
import { failures } from './verdict.ts';
import type { Verdict } from './verdict.ts';

const references = collectReferences([parseReferenceSet(images, 'images.yaml')]);
const request: PolicyRequest = {
  now: Date.parse('2026-06-01T00:00:00Z'),
  keyName: 'database',
  volumeId: undefined,
  suite: 'x25519',
  asks: [],
};

describe('a verdict', () => {
  it('allows, and says what each rule found', () => {
    const verdict = evaluate({});
    assert.deepEqual([verdict.allowed, verdict.profile, verdict.policy], [true, 'production', 'database']);
    assert.deepEqual(failures(verdict), []);
    const told = verdict.profiles[0]?.rules.map(({ rule, outcome, expected, actual }) => [
      rule,
      outcome,
      expected,
      actual,
    ]);
    assert.deepEqual(told, [
      ['profiles.production.debug', 'pass', 'false', 'false'],
      [
        'profiles.production.snp.measurement',
        'pass',
        `one of ${'bb'.repeat(48)} (of images; 1 expired)`,
        'bb'.repeat(48),
      ],
      ['profiles.production.snp.policy', 'pass', 'bits 0x80000 are 0x0', '196608'],
      ['profiles.production.snp.vmpl', 'pass', 'at most 0', '0'],
      ['profiles.production.tcb.date', 'pass', 'at least 2025-01-31T00:00:00Z', '2025-03-01T00:00:00Z'],
      ['profiles.production.tcb.status', 'pass', 'UpToDate', 'UpToDate'],
      ['profiles.production.tcb.advisories', 'pass', 'only A-1, or absent', 'A-1'],
      ['profiles.production.snp.image-id', 'waived', '(anything: not used)', '00'.repeat(16)],
    ]);
    assert.deepEqual(verdict.profiles[1]?.rules, [
      { rule: 'profiles.other.technology', outcome: 'fail', expected: 'tdx', actual: 'snp' },
    ]);
  });

  it('is the same for the same input', () => assert.deepEqual(evaluate({}), evaluate({})));

  /** Claims that differ, and the one rule that then fails. */
  const refused: readonly (readonly [string, Record<string, ClaimValue | undefined>, string])[] = [
    ['debug', { debug: true }, 'production.debug'],
    ['no word about debug', { debug: undefined }, 'production.debug'],
    ['another measurement', { 'snp.measurement': new Uint8Array(48) }, 'production.snp.measurement'],
    [
      'a measurement that is a prefix',
      { 'snp.measurement': new Uint8Array(47).fill(0xbb) },
      'production.snp.measurement',
    ],
    ['an expired measurement', { 'snp.measurement': new Uint8Array(48).fill(0xaa) }, 'production.snp.measurement'],
    ['no measurement', { 'snp.measurement': undefined }, 'production.snp.measurement'],
    ['a bit of the mask', { 'snp.policy': 0xb0000 }, 'production.snp.policy'],
    ['a number above', { 'snp.vmpl': 1 }, 'production.snp.vmpl'],
    ['no number', { 'snp.vmpl': undefined }, 'production.snp.vmpl'],
    ['a number that is a text', { 'snp.vmpl': '0' }, 'production.snp.vmpl'],
    ['a date before', { 'tcb.date': '2025-01-30T23:59:59Z' }, 'production.tcb.date'],
    ['a date that is none', { 'tcb.date': 'soon' }, 'production.tcb.date'],
    ['another status', { 'tcb.status': 'OutOfDate' }, 'production.tcb.status'],
    ['a status that begins right', { 'tcb.status': 'UpToDate ' }, 'production.tcb.status'],
    ['an advisory that is not allowed', { 'tcb.advisories': ['A-1', 'A-2'] }, 'production.tcb.advisories'],
  ];
  for (const [name, changes, rule] of refused) {
    it(`refuses ${name} by ${rule} alone`, () => {
      const verdict = evaluate(changes);
      assert.deepEqual([verdict.allowed, verdict.profile], [false, undefined]);
      assert.deepEqual(failedRules(verdict), [`profiles.${rule}`]);
    });
  }

  it('allows an absent claim only with or-absent, and an empty list with only', () => {
    assert.ok(evaluate({ 'tcb.advisories': undefined }).allowed);
    assert.ok(evaluate({ 'tcb.advisories': [] }).allowed);
  });

  it('lets waived debug evidence pass, and says so', () => {
    const verdict = evaluate(
      { debug: true },
      policyText.replace('    waive:', '    waive:\n      debug: a laboratory'),
    );
    assert.ok(verdict.allowed);
    const debug = verdict.profiles[0]?.rules.find(({ rule }) => rule === 'profiles.production.debug');
    assert.deepEqual([debug?.outcome, debug?.expected, debug?.actual], ['waived', '(anything: a laboratory)', 'true']);
  });

  it('of evidence of an unknown technology names the technologies', () => {
    const verdict = evaluatePolicy(policy(policyText), { ...allowedEvidence(), technology: 'nitro' }, request);
    assert.deepEqual(failedRules(verdict), ['profiles.production.technology']);
  });

  it('names of several profiles the one that came closest', () => {
    const second = policyText.replace(
      '  other:',
      `  lenient:\n    technology: snp\n    rules: { tcb.status: [OutOfDate] }\n    waive: { snp.measurement: x, snp.policy: x, snp.vmpl: x }\n  other:`,
    );
    assert.equal(evaluate({ 'tcb.status': 'OutOfDate', 'snp.vmpl': 3 }, second).profile, 'lenient');
    const changes = { 'tcb.status': 'Revoked', 'snp.vmpl': 3 };
    assert.deepEqual(failedRules(evaluate(changes, second)), ['profiles.lenient.tcb.status']);
  });
});

describe('a condition', () => {
  /** Condition of a claim, the claim, and whether it holds. */
  const cases: readonly (readonly [string, string, ClaimValue, boolean])[] = [
    ['snp.vmpl', '{ at-least: 2, at-most: 3 }', 2, true],
    ['snp.vmpl', '{ at-least: 2, at-most: 3 }', 3, true],
    ['snp.vmpl', '{ at-least: 2, at-most: 3 }', 1, false],
    ['snp.vmpl', '{ at-least: 2, at-most: 3 }', 4, false],
    ['snp.vmpl', '0x10', 16, true],
    ['snp.vmpl', '{ one-of: [1, 3] }', 3, true],
    ['snp.vmpl', '{ one-of: [1, 3] }', 2, false],
    ['snp.policy', '{ bits: { mask: 0x10000000000000, equals: 0x10000000000000 } }', 2 ** 52 + 1, true],
    ['snp.policy', '{ bits: { mask: 0x10000000000000, equals: 0x10000000000000 } }', 2 ** 51, false],
    ['snp.host-data', `{ bits: { mask: ff${'00'.repeat(31)}, equals: 11${'00'.repeat(31)} } }`, host(0x11), true],
    ['snp.host-data', `{ bits: { mask: ff${'00'.repeat(31)}, equals: 11${'00'.repeat(31)} } }`, host(0x12), false],
    ['snp.host-data', `{ equals: ${'11'.repeat(32)} }`, host(0x11), true],
    ['tcb.date', '{ age-at-most: 30d }', '2026-05-02T00:00:00Z', true],
    ['tcb.date', '{ age-at-most: 30d }', '2026-05-01T23:59:59Z', false],
    ['tcb.date', '{ at-most: 2026-05-02 }', '2026-05-02T00:00:00Z', true],
    ['tcb.date', '{ at-most: 2026-05-02 }', '2026-05-02T00:00:01Z', false],
    ['tcb.date', '2026-05-02', '2026-05-03T00:00:00Z', true],
    ['tcb.advisories', '{ includes: [B] }', ['A', 'B'], true],
    ['tcb.advisories', '{ includes: [B, C] }', ['A', 'B'], false],
    ['tcb.advisories', '[]', [], true],
    ['tcb.advisories', '{ only: [] }', ['B'], false],
    ['tcb.advisories', '[A, B]', ['B'], true],
    ['tcb.advisories', '[A, B]', 'A', false],
    ['snp.policy', '{ bits: { mask: 0, equals: 0 } }', Number.NaN, false],
    ['snp.policy', '{ bits: { mask: 0, equals: 0 } }', -1, false],
    ['snp.policy', '{ bits: { mask: 0, equals: 0 } }', 0.5, false],
    ['snp.policy', '{ bits: { mask: 0, equals: 0 } }', new Uint8Array(0), false],
    ['snp.host-data', `{ bits: { mask: ${'00'.repeat(32)}, equals: ${'00'.repeat(32)} } }`, 0, false],
    ['snp.smt', 'true', true, true],
    ['snp.smt', '{ equals: false }', true, false],
    ['snp.smt', 'true', 'true', false],
    ['tcb.status', '{ equals: UpToDate }', 'UpToDate', true],
    ['tcb.status', '{ one-of: ["no", 010] }', 'no', true],
    ['tcb.status', '{ one-of: ["no", 010] }', '010', true],
    ['tcb.status', '{ one-of: ["no", 010] }', false, false],
  ];
  for (const [claim, condition, value, holds] of cases) {
    it(`${claim}: ${condition} ${holds ? 'holds' : 'does not hold'} for ${String(value).substring(0, 20)}`, () => {
      const line = new RegExp(`^      ${claim}: .*\n`, 'm');
      const added = policyText.replace(line, '').replace('    waive:', `      ${claim}: ${condition}\n    waive:`);
      const verdict = evaluate({ [claim]: value }, added);
      assert.deepEqual(failedRules(verdict), holds ? [] : [`profiles.production.${claim}`]);
    });
  }

  it('counts a reference value until the moment at which it ends', () => {
    const may = { 'snp.measurement': new Uint8Array(48).fill(0xaa) };
    const at = (now: number) => evaluatePolicy(policy(policyText), allowedEvidence(may), { ...request, now });
    const end = Date.parse('2026-05-01');
    assert.ok(at(end - 1).allowed);
    assert.deepEqual(failedRules(at(end)), ['profiles.production.snp.measurement']);
  });

  it('names three of many values, and how many there are', () => {
    const told = (list: string) =>
      evaluate({}, policyText.replace('[UpToDate]', list)).profiles[0]?.rules.find(({ rule }) =>
        rule.endsWith('tcb.status'),
      );
    assert.equal(told('[UpToDate, B, C]')?.expected, 'one of UpToDate, B, C');
    assert.equal(told('[UpToDate, B, C, D, E]')?.expected, 'one of UpToDate, B, C, 2 more');
    assert.equal(told('[UpToDate]')?.expected, 'UpToDate');
  });

  it('with reference values that all expired holds for nothing', () => {
    const later = { ...request, now: Date.parse('2026-06-01') };
    const old = images.replace(/^ {2}- B.*\n/m, '');
    for (const rule of [
      'snp.measurement: { reference: images }',
      'snp.measurement: { equals: { reference: images } }',
    ]) {
      const text = policyText.replace('snp.measurement: { reference: images }', rule);
      const sets = collectReferences([parseReferenceSet(old, 'images.yaml')]);
      const changes = { 'snp.measurement': new Uint8Array(48).fill(0xaa) };
      const verdict = evaluatePolicy(parsePolicy(text, 'p', definitions, sets), allowedEvidence(changes), later);
      assert.match(failures(verdict)[0]?.expected ?? '', /nothing \(of images; 1 expired\)/);
      const before = { ...request, now: Date.parse('2026-04-01') };
      assert.ok(evaluatePolicy(parsePolicy(text, 'p', definitions, sets), allowedEvidence(changes), before).allowed);
    }
    const advisories = 'caisson-reference-values: 1\nname: old\nvalues: [{ value: A-1, valid-until: 2026-01-02 }]';
    const sets = collectReferences([parseReferenceSet(images, 'i'), parseReferenceSet(advisories, 'o')]);
    for (const test of ['only', 'includes']) {
      const text = policyText.replace('{ only: [A-1], or-absent: true }', `{ ${test}: { reference: old } }`);
      const verdict = evaluatePolicy(parsePolicy(text, 'p', definitions, sets), allowedEvidence(), later);
      assert.deepEqual(failedRules(verdict), ['profiles.production.tcb.advisories'], test);
    }
  });
});

describe('a condition of the release', () => {
  const volumeId = new Uint8Array(16).fill(0xab);
  const volumes = `volumes: [${'AB'.repeat(16)}]`;
  const keys = 'keys: [database, "database-*"]';
  const hostData = (digest: string): string => `${keys}\n  initdata: [${digest}]`;
  /** What is changed in the policy, what in the request, and what fails. */
  const cases: readonly (readonly [
    string,
    readonly [string, string] | undefined,
    Partial<PolicyRequest>,
    string | undefined,
  ])[] = [
    ['the first moment', undefined, { now: Date.parse('2026-01-01') }, undefined],
    ['before it', undefined, { now: Date.parse('2026-01-01') - 1 }, 'not-before'],
    ['the last moment', undefined, { now: Date.parse('2027-01-01T12:00:00Z') }, undefined],
    ['after it', undefined, { now: Date.parse('2027-01-01T12:00:00Z') + 1 }, 'not-after'],
    ['a key by pattern', undefined, { keyName: 'database-7' }, undefined],
    ['a key where the star stands for nothing', undefined, { keyName: 'database-' }, undefined],
    ['a key of another name', undefined, { keyName: 'database7' }, 'keys'],
    ['a key that a pattern overlaps', [keys, 'keys: [aba*ba]'], { keyName: 'aba' }, 'keys'],
    ['no key', undefined, { keyName: undefined }, 'keys'],
    ['the volume', [keys, volumes], { volumeId }, undefined],
    ['another volume', [keys, volumes], { volumeId: new Uint8Array(16) }, 'volumes'],
    ['no volume', [keys, volumes], {}, 'volumes'],
    ['the suite', [keys, 'suites: [x25519]'], {}, undefined],
    ['another suite', [keys, 'suites: [mlkem768-x25519]'], {}, 'suites'],
    ['no suite', [keys, 'suites: [x25519]'], { suite: undefined }, 'suites'],
    ['a new key', undefined, { asks: ['create-key'] }, undefined],
    [
      'a new key that is not granted',
      ['may-create-key: true', 'may-create-key: false'],
      { asks: ['create-key'] },
      'may-create-key',
    ],
    ['an advance that is not granted', undefined, { asks: ['advance-anchor'] }, 'may-advance-anchor'],
    ['an advance', ['may-create-key', 'may-advance-anchor'], { asks: ['advance-anchor'] }, undefined],
    ['initdata', [keys, hostData('11'.repeat(32))], {}, undefined],
    ['initdata, cut off', [keys, hostData('11'.repeat(48))], {}, undefined],
    ['other initdata', [keys, hostData('12'.repeat(32))], {}, 'initdata'],
  ];
  for (const [name, change, asked, fails] of cases) {
    it(`${fails === undefined ? 'holds for' : 'refuses'} ${name}`, () => {
      const text = change === undefined ? policyText : policyText.replace(...change);
      const verdict = evaluatePolicy(policy(text), allowedEvidence(), { ...request, ...asked });
      assert.deepEqual([verdict.allowed, verdict.profile], [fails === undefined, 'production']);
      assert.deepEqual(failedRules(verdict), fails === undefined ? [] : [`release.${fails}`]);
    });
  }

  it('about initdata fails for evidence without any', () => {
    const text = policyText.replace(keys, hostData('00'.repeat(32)));
    const verdict = evaluatePolicy(policy(text), allowedEvidence({ 'snp.host-data': undefined }), request);
    assert.deepEqual(failedRules(verdict), ['release.initdata']);
  });
});

function host(first: number): Uint8Array {
  return Uint8Array.of(first, ...new Uint8Array(31).fill(0x11));
}

function policy(text: string) {
  return parsePolicy(text, 'policy.yaml', definitions, references);
}

function evaluate(changes: Readonly<Record<string, ClaimValue | undefined>>, text = policyText): Verdict {
  return evaluatePolicy(policy(text), allowedEvidence(changes), request);
}

function failedRules(verdict: Verdict): string[] {
  return failures(verdict).map(({ rule }) => rule);
}
