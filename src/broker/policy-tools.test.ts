/** The policy commands' work over files, with a verifier that takes the claims of `allowedEvidence` for granted. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import type { PolicyTools } from '../admin/broker-tools.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import type { ErrorCode } from '../lib/errors.ts';
import { policyFileBytesMax } from '../lib/limits.ts';
import { allowedEvidence, definitions, images, policyText } from '../../test/support/policies.ts';
import type { VerifyContext, Verifier } from './attest/verifier.ts';
import { readEvidence } from './evidence-file.ts';
import { openPolicyTools } from './policy-tools.ts';

const now = Date.parse('2026-06-01');
const request = {
  referenceFiles: [],
  collateralFile: undefined,
  rootFiles: [],
  now,
  keyName: 'database',
  volumeId: undefined,
  suite: undefined,
  asks: [],
};

const testText = `caisson-policy-test: 1
policy: policy.yaml
references: [images.yaml]
base:
  technology: snp
  now: 2026-06-01
  key: database
  claims:
    debug: false
    snp.measurement: ${'bb'.repeat(48)}
    snp.policy: 0x30000
    snp.vmpl: 0
    tcb.status: UpToDate
    tcb.date: 2025-03-01
    tcb.advisories: [A-1]
cases:
  - name: the image is let in
    allowed-by: production
  - name: without advisories too
    without: [tcb.advisories]
    allowed-by: production
  - name: of May it is not
    claims: { snp.measurement: ${'aa'.repeat(48)} }
    refused-by: [profiles.production.snp.measurement]
  - name: nor is another key
    key: other
    refused-by: [release.keys]
  - name: nor a debug guest that wants an anchor
    asks: [advance-anchor]
    claims: { debug: true }
    refused-by: [release.may-advance-anchor, profiles.production.debug]
  - name: a recorded report
    evidence: report.json
    allowed-by: production
`;

describe('policy check', () => {
  it('tells the problems of every file, and counts reference values beside a policy', async (t) => {
    const { tools, file } = setUp(t);
    fs.writeFileSync(file('bad.yaml'), 'caisson-policy: 1\nnmae: x\n');
    fs.writeFileSync(file('bad-images.yaml'), 'caisson-reference-values: 1\nname: other\nvalues: 3\n');
    const names = ['policy.yaml', 'images.yaml', 'case.test.yaml', 'bad.yaml', 'bad-images.yaml'];
    const { files } = await tools.check(names.map(file), []);
    assert.deepEqual(
      files.map(({ kind, problems }) => [kind, problems.map(({ line }) => line)]),
      [
        ['policy', []],
        ['reference-values', []],
        ['policy-test', []],
        ['policy', [1, 1, 2]],
        ['reference-values', [3]],
      ],
    );
  });

  it('misses reference values that are not given, and takes them by option', async (t) => {
    const { tools, file } = setUp(t);
    const alone = await tools.check([file('policy.yaml')], []);
    assert.match(alone.files[0]?.problems[0]?.message ?? '', /no reference values "images"; none are given/);
    assert.deepEqual((await tools.check([file('policy.yaml')], [file('images.yaml')])).files[0]?.problems, []);
  });

  it('refuses files that cannot be read, and endless ones', async (t) => {
    const { tools, file } = setUp(t);
    await rejects(tools.check([file('none.yaml')], []), 'argument-invalid');
    await rejects(tools.check(['/dev/zero'], []), 'limit-exceeded');
    fs.writeFileSync(file('large.yaml'), new Uint8Array(policyFileBytesMax + 1));
    await rejects(tools.check([file('large.yaml')], []), 'limit-exceeded');
  });
});

describe('policy explain', () => {
  it('gives each rule, the failures, the claims and what the verdict rests on', async (t) => {
    const { tools, file, seen } = setUp(t);
    const files = {
      policyFile: file('policy.yaml'),
      evidenceFile: file('report.json'),
      referenceFiles: [file('images.yaml')],
    };
    const good = await tools.explain({ ...request, ...files });
    assert.deepEqual([good.allowed, good.profile, good.failures], [true, 'production', []]);
    assert.ok(good.evidence.claims.some(({ name, value }) => name === 'snp.vmpl' && value === '0'));
    assert.deepEqual([seen[0]?.now, seen[0]?.collateralAgeMax], [now, 604_800_000]);
    const bad = await tools.explain({ ...request, ...files, keyName: 'other', asks: ['advance-anchor'] });
    assert.deepEqual(
      bad.failures.map(({ rule }) => rule),
      ['release.keys', 'release.may-advance-anchor'],
    );
  });

  it('is asked about a volume, and refuses what is no id of one', async (t) => {
    const { tools, file } = setUp(t);
    const files = {
      policyFile: file('policy.yaml'),
      evidenceFile: file('report.json'),
      referenceFiles: [file('images.yaml')],
    };
    fs.writeFileSync(
      file('policy.yaml'),
      policyText.replace('keys: [database, "database-*"]', `volumes: [${'ab'.repeat(16)}]`),
    );
    assert.equal((await tools.explain({ ...request, ...files, volumeId: 'AB'.repeat(16) })).allowed, true);
    assert.equal((await tools.explain({ ...request, ...files, volumeId: 'ac'.repeat(16) })).allowed, false);
    await rejects(tools.explain({ ...request, ...files, volumeId: 'abc' }), 'argument-invalid');
  });

  it('verifies with the roots and the collateral that are given, and without any names what is missing', async (t) => {
    const { tools, file, seen } = setUp(t);
    fs.writeFileSync(file('roots.pem'), pem('CERTIFICATE', 'AAAA') + pem('PUBLIC KEY', 'BBBB'));
    const files = {
      policyFile: file('policy.yaml'),
      evidenceFile: file('report.json'),
      referenceFiles: [file('images.yaml')],
    };
    await tools.explain({ ...request, ...files, rootFiles: [file('roots.pem')], collateralFile: file('images.yaml') });
    assert.deepEqual(
      seen[0]?.extraRoots.map(({ technology, der }) => [technology, Buffer.from(der).toString('base64')]),
      [
        ['snp', 'AAAA'],
        ['snp', 'BBBB'],
      ],
    );
    assert.equal((await seen[0]?.collateral.get('x'))?.obtainedAt, 7);
    await tools.explain({ ...request, ...files });
    await rejects(seen[1]!.collateral.get('amd/milan/crl'), 'collateral-missing');
  });
});

describe('policy test', () => {
  it('runs the files of a folder', async (t) => {
    const { tools, folder } = setUp(t);
    const report = await tools.test([folder]);
    assert.deepEqual(
      report.cases.map(({ name, failure }) => [name, failure]).filter(([, failure]) => failure !== undefined),
      [],
    );
    assert.deepEqual([report.passed, report.failed], [6, 0]);
  });

  const wrong: readonly (readonly [string, string, RegExp])[] = [
    [
      'allowed-by: production\n  - name: without',
      'allowed-by: other\n  - name: without',
      /allowed by other; allowed by production/,
    ],
    [
      'allowed-by: production\n  - name: without',
      'refused-by: [x]\n  - name: without',
      /refused by x; allowed by production/,
    ],
    ['refused-by: [release.keys]', 'allowed-by: production', /allowed by production; refused by release.keys/],
    [
      'refused-by: [release.keys]',
      'refused-by: [release.keys, release.volumes]',
      /refused by release.keys, release.volumes; refused by release.keys/,
    ],
    [
      'refused-by: [release.may-advance-anchor, profiles.production.debug]',
      'refused-by: [profiles.production.debug]',
      /refused by profiles.production.debug; refused by profiles.production.debug, release.may-advance-anchor/,
    ],
    ['evidence: report.json', 'evidence: case.test.yaml', /evidence was not verified: evidence-invalid/],
  ];
  for (const [from, to, said] of wrong) {
    it(`fails a case with ${to.split('\n')[0]}`, async (t) => {
      const { tools, file } = setUp(t, testText.replace(from, to));
      const { failed, cases } = await tools.test([file('case.test.yaml')]);
      assert.equal(failed, 1);
      assert.match(cases.find(({ failure }) => failure !== undefined)?.failure ?? '', said);
    });
  }

  const invalid: readonly (readonly [string, string, RegExp])[] = [
    ['- name: the image is let in\n    allowed-by', '- allowed-by', /a case lacks "name"/],
    ['key: database', 'suite: x25518', /"suite" must be mlkem768-x25519/],
    ['cases:', 'case:', /no member "case"; did you mean "cases"/],
    ['technology: snp', 'technology: snq', /"technology" must be one of/],
    ['  now: 2026-06-01\n', '', /lacks "now"/],
    ['snp.vmpl: 0', 'snp.vmlp: 0', /snp has no claim "snp.vmlp"; did you mean "snp.vmpl"/],
    ['snp.vmpl: 0', 'snp.vmpl: none', /is not a whole number/],
    ['[A-1]', 'A-1', /tcb.advisories is a list/],
    ['without: [tcb.advisories]', 'without: [tcb.none]', /"without" names tcb.none/],
    ['refused-by: [release.keys]', 'refused-by: []', /"refused-by" names no rule/],
    ['refused-by: [release.keys]', 'description: x', /no member "description"/],
    ['asks: [advance-anchor]', 'asks: [advance]', /"asks" takes/],
    ['evidence: report.json', 'evidence: report.json\n    claims: { debug: true }', /either "evidence" or claims/],
    ['key: database', 'volume: 12', /"volume" must be a volume id/],
  ];
  for (const [from, to, said] of invalid) {
    it(`refuses a test file with ${to.trim().split('\n').at(-1)}`, async (t) => {
      const { tools, file } = setUp(t, testText.replace(from, to));
      const error = await tools.test([file('case.test.yaml')]).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      assert.ok(error instanceof CaissonError && error.code === 'policy-invalid', String(error));
      assert.match(error.message, said);
    });
  }

  it('refuses a test file without cases, and what is none', async (t) => {
    for (const text of [`${testText.substring(0, testText.indexOf('cases:'))}cases: []\n`, '- 1\n', 'a: [']) {
      const { tools, file } = setUp(t, text);
      await rejects(tools.test([file('case.test.yaml')]), 'policy-invalid');
    }
  });

  it('refuses a folder without test files', async (t) => {
    const { tools, folder, file } = setUp(t);
    fs.rmSync(file('case.test.yaml'));
    await rejects(tools.test([folder]), 'argument-invalid');
  });
});

describe('policy claims', () => {
  it('lists what the verifiers define', async (t) => {
    const { tools } = setUp(t);
    assert.deepEqual(
      (await tools.claims(undefined)).map(({ technology }) => technology),
      ['snp', 'tdx'],
    );
    const [snp] = await tools.claims('snp');
    const measurement = snp?.claims.find(({ name }) => name === 'snp.measurement');
    assert.deepEqual([measurement?.bytes, measurement?.mustBeJudged, measurement?.isOptional], [48, true, false]);
    await rejects(tools.claims('nitro'), 'argument-invalid');
  });
});

describe('an evidence file', () => {
  const raw: readonly (readonly [string, readonly number[], number])[] = [
    ['sgx', [3, 0, 2, 0, 0, 0, 0, 0], 500],
    ['tdx', [4, 0, 2, 0, 0x81, 0, 0, 0], 800],
    ['tdx', [5, 0, 2, 0, 0x81, 0, 0, 0], 800],
    ['snp', [2, 0, 0, 0], 1184],
    ['snp', [5, 0, 0, 0], 1184],
    ['nitro', [0x84, 0x44, 0xa1, 0x01], 900],
    ['nitro', [0xd2, 0x84, 0x44, 0xa1], 900],
    ['cca', [0xd9, 0x01, 0x8f, 0xa2], 900],
  ];
  for (const [technology, start, length] of raw) {
    it(`that begins with ${start.join(' ')} is of ${technology}`, () => {
      const bytes = new Uint8Array(length);
      bytes.set(start);
      const evidence = readEvidence(bytes, 'file');
      assert.equal(evidence.technology, technology);
      assert.equal(Object.values(evidence.parts)[0]?.length, length);
    });
  }

  for (const text of [
    '',
    'x',
    '{',
    '{}',
    '[]',
    '{"technology":"snp"}',
    '{"technology":"snp","parts":{"report":"!"}}',
    '{"technology":"snp","parts":{"report":"AA==","report":"AA=="}}',
  ])
    it(`of ${text || 'nothing'} is refused`, () =>
      throws(() => readEvidence(new TextEncoder().encode(text), 'f'), 'evidence-invalid'));

  it('with a member that nobody knows is refused', () =>
    throws(
      () => readEvidence(new TextEncoder().encode('{"technology":"snp","parts":{"report":"AAAA"},"x":1}'), 'f'),
      'evidence-invalid',
    ));
});

function setUp(
  t: TestContext,
  tests = testText,
): {
  tools: PolicyTools;
  folder: string;
  file: (name: string) => string;
  seen: VerifyContext[];
} {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-policy-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const file = (name: string): string => path.join(folder, name);
  fs.writeFileSync(file('policy.yaml'), policyText);
  fs.writeFileSync(file('images.yaml'), images);
  fs.writeFileSync(file('case.test.yaml'), tests);
  fs.writeFileSync(file('report.json'), JSON.stringify({ technology: 'snp', parts: { report: 'AAAA' } }));
  const seen: VerifyContext[] = [];
  const verifiers = new Map(
    [...definitions].map(([technology, claims]): [typeof technology, Verifier] => [
      technology,
      {
        technology,
        definitions: claims,
        verify: async (_evidence, context) => {
          seen.push(context);
          return allowedEvidence();
        },
      },
    ]),
  );
  const openBundle = async (path: string) => ({
    get: async () => ({ bytes: new Uint8Array(fs.readFileSync(path)), obtainedAt: 7 }),
  });
  return {
    tools: openPolicyTools({ verifiers, openBundle, now: () => now, exampleFolder: folder }),
    folder,
    file,
    seen,
  };
}

function pem(what: string, base64: string): string {
  return `-----BEGIN ${what}-----\n${base64}\n-----END ${what}-----\n`;
}

function throws(action: () => unknown, code: ErrorCode): void {
  assert.throws(action, (error) => isCaissonError(error, code));
}

async function rejects(action: Promise<unknown>, code: ErrorCode): Promise<void> {
  await assert.rejects(action, (error) => isCaissonError(error, code));
}
