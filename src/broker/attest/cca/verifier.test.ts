/** CCA tokens: one test for each check of spec/attestation-cca.md, on tokens that are right but for one thing. */
import assert from 'node:assert/strict';
import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { Tagged } from 'cborg';
import {
  component,
  fakeCcaEvidence,
  rawPoint,
  tokens,
  type FakeCcaEvidence,
  type FakeCcaOptions,
} from '../../../../test/support/fake-cca.ts';
import { verifierConformance } from '../../../../test/conformance/verifier.ts';
import { dates, emptyContext, keyPair } from '../../../../test/support/fake-tpm-evidence.ts';
import { fakeCertificate } from '../../../../test/support/fake-x509.ts';
import { requireSamples, sample, sampleText } from '../../../../test/support/evidence-samples.ts';
import { isCaissonError, type ErrorCode } from '../../../lib/errors.ts';
import { spkiOf } from '../trusted-roots.ts';
import type { TrustedRoot, VerifiedEvidence } from '../verifier.ts';
import { verifier } from './verifier.ts';

function verify({ evidence, context }: FakeCcaEvidence): Promise<VerifiedEvidence> {
  return verifier.verify(evidence, context);
}

async function refuses(made: FakeCcaEvidence, check: string, code: ErrorCode = 'evidence-untrusted'): Promise<void> {
  await assert.rejects(verify(made), (error) => {
    assert.ok(isCaissonError(error, code), String(error));
    assert.equal(error.details['check'], check);
    return true;
  });
}

async function malformed(check: string, options: Partial<FakeCcaOptions>): Promise<void> {
  await refuses(fakeCcaEvidence(options), check, 'evidence-invalid');
}

function withRoots(made: FakeCcaEvidence, extraRoots: readonly TrustedRoot[]): FakeCcaEvidence {
  return { ...made, context: { ...made.context, extraRoots } };
}

verifierConformance('cca', {
  ...{ verifier, make: fakeCcaEvidence, isTimeless: true },
  makeDebug: () => fakeCcaEvidence({ platform: [[2395, 0x4000]] }),
});

test('a right token gives its report data and every claim', async () => {
  const { reportData, claims, basis } = await verify(fakeCcaEvidence());
  assert.deepEqual(reportData, new Uint8Array(64).fill(0xda));
  assert.deepEqual(claims.get('cca.rim'), new Uint8Array(32).fill(0x11));
  assert.deepEqual(claims.get('cca.rem3'), new Uint8Array(32).fill(0x23));
  assert.deepEqual(claims.get('cca.rpv'), new Uint8Array(64).fill(5));
  assert.deepEqual(claims.get('cca.platform.implementation-id'), new Uint8Array(32).fill(0x66));
  assert.deepEqual(claims.get('cca.platform.config'), Uint8Array.of(0xcf, 0xcf));
  assert.deepEqual(claims.get('cca.platform.sw-components'), [
    `RMM ${'31'.repeat(32)} ${'99'.repeat(32)}`,
    `AP_BL31 ${'32'.repeat(32)} ${'99'.repeat(32)}`,
  ]);
  const texts = [
    ['debug', false],
    ['cca.platform.lifecycle', 'secured'],
    ['cca.platform.profile', 'tag:arm.com,2023:cca_platform#1.0.0'],
    ['cca.platform.root', 'Fake Platform'],
    ['cca.realm.hash-algorithm', 'sha-256'],
  ] as const;
  for (const [name, value] of texts) assert.equal(claims.get(name), value, name);
  assert.deepEqual(basis, [{ name: 'root', value: 'Fake Platform' }]);
});

test('keys of the realm: a point or a COSE_Key, of each curve', async () => {
  await verify(fakeCcaEvidence({ isCoseKey: true }));
  await verify(fakeCcaEvidence({ isCoseKey: true, coseKey: [[3, -35]] }));
  const p256 = { rak: keyPair('rak', 'P-256'), realmSign1: { algorithm: -7, hash: 'sha256' } };
  await verify(fakeCcaEvidence(p256));
  const p521 = {
    rak: generateKeyPairSync('ec', { namedCurve: 'P-521' }),
    realmSign1: { algorithm: -36, hash: 'sha512' },
  };
  await verify(fakeCcaEvidence({ ...p521, isCoseKey: true }));
});

test('lifecycles: debug unless secured', async () => {
  const states = [
    [0x0000, 'unknown'],
    [0x10ff, 'assembly-and-test'],
    [0x2000, 'provisioning'],
    [0x4001, 'non-platform-debug'],
    [0x5000, 'recoverable-platform-debug'],
    [0x60ff, 'decommissioned'],
  ] as const;
  for (const [number, name] of states) {
    const { claims } = await verify(fakeCcaEvidence({ platform: [[2395, number]] }));
    assert.equal(claims.get('cca.platform.lifecycle'), name);
    assert.equal(claims.get('debug'), true);
  }
  const { claims } = await verify(fakeCcaEvidence({ platform: [[2395, 0x30ff]] }));
  assert.equal(claims.get('debug'), false);
});

test('token-form', async () => {
  const outer = (change: (platform: Uint8Array, realm: Uint8Array) => unknown) => ({ outer: change });
  await malformed(
    'token-form',
    outer((platform, realm) => tokens(platform, realm)),
  );
  await malformed(
    'token-form',
    outer((platform) => new Tagged(399, new Map([[44_234, platform]]))),
  );
  await malformed(
    'token-form',
    outer((platform, realm) => new Tagged(399, tokens(platform, realm).set(1, 1))),
  );
  await malformed(
    'token-form',
    outer((platform) => new Tagged(399, tokens(platform, platform).set(44_241, 'x'))),
  );
  await malformed(
    'token-form',
    outer(() => new Tagged(399, [])),
  );
  await malformed(
    'cbor',
    outer((platform, realm) => new Tagged(907, tokens(platform, realm))),
  );
  await malformed('cose-form', { platformSign1: { tag: undefined } });
  await malformed('cose-form', { realmSign1: { tag: undefined } });
});

test('platform-form: each field', async () => {
  const wrong: readonly (readonly [number, unknown])[] = [
    ...[10, 256, 265, 2395, 2396, 2399, 2401, 2402].map((key) => [key, undefined] as const),
    [10, new Uint8Array(31)],
    [256, new Uint8Array(33)],
    [256, Uint8Array.of(1, ...new Uint8Array(31))],
    [265, 'tag:arm.com,2026:cca_platform#2.0.0'],
    [2395, 0x3100],
    [2395, 0x7000],
    [2395, -1],
    [2396, new Uint8Array(31)],
    [2399, []],
    [2399, Array.from({ length: 33 }, () => component('RMM', 1))],
    [2399, [component('RMM', 1).set(2, new Uint8Array(31))]],
    [2399, [component('RMM', 1).set(5, null)]],
    [2399, [component('', 1)]],
    [2399, ['RMM']],
    [2401, new Uint8Array(4097)],
    [2402, 256],
  ];
  for (const field of wrong) await malformed('platform-form', { platform: [field] });
});

test('realm-form: each field', async () => {
  const measurements = [1, 2, 3, 4].map((fill) => new Uint8Array(32).fill(fill));
  const wrong: readonly (readonly [number, unknown])[] = [
    ...[10, 44_235, 44_236, 44_237, 44_238, 44_239, 44_240].map((key) => [key, undefined] as const),
    [10, new Uint8Array(63)],
    [265, 'tag:arm.com,2026:realm#2.0.0'],
    [44_235, new Uint8Array(63)],
    [44_236, 'sha-1'],
    [44_236, 'constructor'],
    [44_236, 'sha-512'],
    [44_237, rawPoint(keyPair('rak', 'P-384').publicKey).with(0, 2)],
    [44_237, rawPoint(keyPair('rak', 'P-384').publicKey).with(96, 0).with(95, 0)],
    [44_237, new Uint8Array(96).with(0, 4)],
    [44_238, new Uint8Array(48)],
    [44_239, measurements.toSpliced(0, 1)],
    [44_239, measurements.with(3, new Uint8Array(48))],
    [44_240, 'sha-1'],
  ];
  for (const field of wrong) await malformed('realm-form', { realm: [field] });
});

test('realm-form: a COSE_Key is a public key on a curve, and nothing else', async () => {
  const wrong: readonly (readonly [number, unknown])[] = [
    [1, 1],
    [-1, 8],
    [-1, 0],
    [-1, 1],
    [-2, undefined],
    [-3, new Uint8Array(47)],
    [-4, new Uint8Array(48)],
  ];
  for (const field of wrong) await malformed('realm-form', { isCoseKey: true, coseKey: [field] });
});

test('platform-signature: another key, no key, a key for another technology', async () => {
  await refuses(
    fakeCcaEvidence({ platformSign1: { key: keyPair('other', 'P-384').privateKey } }),
    'platform-signature',
  );
  const made = fakeCcaEvidence();
  await refuses(withRoots(made, []), 'platform-signature');
  const foreign = made.context.extraRoots.map((root): TrustedRoot => ({ ...root, technology: 'tpm' }));
  await refuses(withRoots(made, foreign), 'platform-signature');
});

test('a platform key may be one of several, and come in a certificate', async () => {
  const cpak = keyPair('cpak', 'P-384');
  const der = fakeCertificate({
    ...{ subject: { CN: 'machine' }, issuer: { CN: 'machine' }, publicKey: cpak.publicKey, ...dates },
    ...{ signingKey: cpak.privateKey, scheme: 'ecdsa-sha384' },
  });
  const other: TrustedRoot = { technology: 'cca', name: 'other', der: spkiOf(keyPair('other', 'P-256').publicKey) };
  const certified: TrustedRoot = { technology: 'cca', name: 'certified', der };
  const { claims } = await verify(withRoots(fakeCcaEvidence(), [other, certified]));
  assert.equal(claims.get('cca.platform.root'), 'certified');
});

test('realm-signature', async () => {
  await refuses(fakeCcaEvidence({ realmSign1: { key: keyPair('other', 'P-384').privateKey } }), 'realm-signature');
});

test('realm-binding: the key of another realm, the digest by another hash', async () => {
  await refuses(fakeCcaEvidence({ platform: [[10, new Uint8Array(32).fill(9)]] }), 'realm-binding');
  await refuses(fakeCcaEvidence({ realm: [[44_240, 'sha-512']] }), 'realm-binding');
  const digest = createHash('sha512')
    .update(rawPoint(keyPair('rak', 'P-384').publicKey))
    .digest();
  const sha512 = fakeCcaEvidence({ realm: [[44_240, 'sha-512']], platform: [[10, Uint8Array.from(digest)]] });
  await verify(sha512);
});

test('a public token of an emulated platform, by its test key', async (t) => {
  if (!requireSamples(t)) return;
  const token = sample('cca/cca-example-token.cbor');
  const jwk = JSON.parse(sampleText('cca/cpak-pub.json')) as Record<string, string>;
  const der = spkiOf(createPublicKey({ key: jwk, format: 'jwk' }));
  const root: TrustedRoot = { technology: 'cca', name: 'test key', der };
  const made: FakeCcaEvidence = {
    evidence: { technology: 'cca', parts: { token } },
    context: { ...emptyContext, extraRoots: [root] },
  };
  const { reportData, claims } = await verify(made);
  assert.equal(reportData.length, 64);
  assert.equal(claims.get('debug'), false);
  assert.equal((claims.get('cca.platform.sw-components') as readonly string[]).length, 13);
  assert.equal((claims.get('cca.rim') as Uint8Array).length, 64);
  await refuses(withRoots(made, []), 'platform-signature');
  for (let at = 0; at < token.length; at += 41) {
    const parts = { token: token.with(at, token[at]! ^ 0x40) };
    await assert.rejects(
      verify({ ...made, evidence: { technology: 'cca', parts } }),
      (error) => isCaissonError(error, 'evidence-untrusted') || isCaissonError(error, 'evidence-invalid'),
    );
  }
});
