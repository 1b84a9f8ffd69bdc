/** Policies by the real command, with evidence of a security module that does not exist and its root. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { fakeNitroEvidence } from '../support/fake-nitro.ts';
import { Home } from '../support/caisson.ts';

const register = (number: number): string => Buffer.alloc(48, number + 1).toString('hex');

const policy = `caisson-policy: 1
name: enclave
profiles:
  production:
    technology: nitro
    rules:
      nitro.pcr.0: { reference: images }
release:
  keys: ["database-*"]
`;
const images = `caisson-reference-values: 1
name: images
values: [${register(0)}]
`;

function setUp(home: Home): { readonly explain: string[]; readonly now: string } {
  const { evidence, context, root } = fakeNitroEvidence();
  fs.writeFileSync(home.path('document'), evidence.parts['document']!);
  fs.writeFileSync(home.path('root.der'), root);
  home.write('policy.yaml', policy);
  home.write('images.yaml', images);
  const now = new Date(context.now).toISOString().replace(/\.\d+Z/, 'Z');
  const files = ['--evidence', 'document', '--references', 'images.yaml', '--root', 'root.der'];
  return { explain: ['policy', 'explain', 'policy.yaml', ...files, '--now', now], now };
}

test('a policy is explained rule by rule, and the exit code says what it decided', async (t) => {
  const home = new Home(t);
  const { explain } = setUp(home);
  const good = await home.run([...explain, '--key', 'database-1', '--claims']);
  assert.equal(good.code, 0, good.stderr);
  assert.match(good.stdout, /^ALLOWED by profile production of enclave\nevidence: nitro; root /);
  assert.match(good.stdout, /^pass +profiles\.production\.debug +false +false$/m);
  assert.match(good.stdout, /^nitro\.module-id +i-0123456789abcdef0-enc0123$/m);
  const bad = await home.run([...explain, '--key', 'payroll', '--advance-anchor']);
  assert.equal(bad.code, 4);
  assert.match(bad.stdout, /^REFUSED by enclave: release\.keys, release\.may-advance-anchor\n/);
  assert.match(bad.stdout, /^FAIL +release\.keys +database-\* +payroll$/m);
  const json = await home.run([...explain, '--key', 'payroll', '-o', 'json']);
  const told = JSON.parse(json.stdout) as { allowed: boolean; profile: string; failures: { rule: string }[] };
  assert.deepEqual(
    [json.code, told.allowed, told.profile, told.failures.map(({ rule }) => rule)],
    [4, false, 'production', ['release.keys']],
  );
});

test('evidence that nobody trusted made is an error, not a refusal by a rule', async (t) => {
  const home = new Home(t);
  const { explain, now } = setUp(home);
  const files = ['--evidence', 'document', '--references', 'images.yaml', '--now', now];
  const untrusted = await home.error(['policy', 'explain', 'policy.yaml', ...files]);
  assert.deepEqual([untrusted.exit, untrusted.code], [5, 'evidence-untrusted']);
  const late = await home.error([...explain.toSpliced(-1), '2030-01-01']);
  assert.equal(late.code, 'evidence-untrusted');
  assert.equal((await home.error([...explain.toSpliced(-1), 'soon'])).code, 'argument-invalid');
  home.write('noise', 'no evidence at all');
  assert.equal(
    (await home.error(['policy', 'explain', 'policy.yaml', '--evidence', 'noise', '--references', 'images.yaml'])).code,
    'evidence-invalid',
  );
});

test('check tells every problem with its place, as it was given', async (t) => {
  const home = new Home(t);
  setUp(home);
  home.write('bad.yaml', policy.replace('nitro.pcr.0', 'nitro.prc.0').replace('keys:', 'kyes:'));
  const bad = await home.run(['policy', 'check', 'policy.yaml', 'images.yaml', 'bad.yaml']);
  assert.equal(bad.code, 2);
  assert.match(
    bad.stdout,
    /^policy\.yaml: a good policy\nimages\.yaml: good reference values\nbad\.yaml:5:5: profile "production" says nothing about nitro\.pcr\.0/,
  );
  assert.match(bad.stdout, /^bad\.yaml:7:7: nitro has no claim "nitro\.prc\.0"; did you mean "nitro\.pcr\.0"\?$/m);
  assert.match(bad.stdout, /^bad\.yaml:9:3: "release" has no member "kyes"; did you mean "keys"\?$/m);
  const good = await home.json(['policy', 'check', 'policy.yaml', '--references', 'images.yaml']);
  assert.equal(good['good'], true);
});

test('examples are printed, checked and tried', async (t) => {
  const home = new Home(t);
  const example = await home.run(['policy', 'example', 'tpm']);
  home.write('tpm.yaml', example.stdout);
  assert.equal((await home.run(['policy', 'check', 'tpm.yaml'])).code, 0);
  const claims = await home.run(['policy', 'claims', 'tpm']);
  assert.match(claims.stdout, /^tpm\.pcr\.sha256\.7 +bytes 32 +must be judged, may be absent /m);
  const tests = `caisson-policy-test: 1
policy: tpm.yaml
cases:
  - name: nothing proves nothing
    technology: tpm
    now: 2026-11-23
    key: database
    claims: { debug: false }
    allowed-by: production
`;
  home.write('tpm.test.yaml', tests);
  const failed = await home.run(['policy', 'test', '.']);
  assert.equal(failed.code, 1);
  assert.match(
    failed.stdout,
    /^FAILED {2}nothing proves nothing\n +tpm\.test\.yaml:4: expected to be allowed by production; refused by /,
  );
  assert.match(failed.stdout, /\n0 passed, 1 failed\n$/);
  assert.equal((await home.error(['policy', 'example', 'none'])).code, 'argument-invalid');
});
