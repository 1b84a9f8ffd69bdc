/** Credentials open for the right TPM and the right key alone; what TPM2_ActivateCredential does is written out in the test's support. */
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { activateCredential, fakeTpmEvidence, keyPair } from '../../../../test/support/fake-tpm-evidence.ts';
import { requireSamples, sample, sampleText } from '../../../../test/support/evidence-samples.ts';
import { isCaissonError } from '../../../lib/errors.ts';
import { spkiOf } from '../trusted-roots.ts';
import { activationKeys } from './activation.ts';
import { credentialProfile, makeCredential } from './credential.ts';

const akName = Uint8Array.of(0, 11, ...new Uint8Array(32).fill(1));
const secret = new Uint8Array(32).fill(0x42);

const endorsementKeys = [
  ['P-256', keyPair('ek', 'P-256')],
  ['P-384', keyPair('ek', 'P-384')],
  ['P-521', generateKeyPairSync('ec', { namedCurve: 'P-521' })],
  ['RSA 2048', keyPair('ek', 'rsa')],
  ['RSA 3072', generateKeyPairSync('rsa', { modulusLength: 3072 })],
] as const;

for (const [kind, pair] of endorsementKeys)
  test(`the holder of an endorsement key ${kind} opens it, for this name`, () => {
    const credential = makeCredential(pair.publicKey, akName, secret);
    assert.deepEqual(activateCredential(pair, akName, credential), secret);
    assert.equal(activateCredential(pair, akName.with(33, 0), credential), undefined);
    const { blob } = credential;
    const changed = { ...credential, blob: blob.with(blob.length - 1, blob[blob.length - 1]! ^ 1) };
    assert.equal(activateCredential(pair, akName, changed), undefined);
  });

test('another TPM does not open it', () => {
  const credential = makeCredential(keyPair('ek', 'P-256').publicKey, akName, secret);
  assert.equal(activateCredential(keyPair('other', 'P-256'), akName, credential), undefined);
});

test('two credentials for the same have nothing in common', () => {
  const [one, two] = [1, 2].map(() => makeCredential(keyPair('ek', 'P-256').publicKey, akName, secret));
  assert.notDeepEqual(one?.secret, two?.secret);
  assert.notDeepEqual(one?.blob, two?.blob);
});

test('the profile follows from the key; a key that is no endorsement key is refused', () => {
  const profiles = endorsementKeys.map(([, pair]) => credentialProfile(pair.publicKey));
  assert.deepEqual(
    profiles.map(({ hash, aesBits }) => `${hash.name} ${aesBits}`),
    ['sha256 128', 'sha384 256', 'sha512 256', 'sha256 128', 'sha384 256'],
  );
  for (const { publicKey } of [
    generateKeyPairSync('ed25519'),
    generateKeyPairSync('rsa', { modulusLength: 1024 }),
    generateKeyPairSync('ec', { namedCurve: 'secp256k1' }),
  ])
    assert.throws(
      () => makeCredential(publicKey, akName, secret),
      (error) => isCaissonError(error, 'evidence-invalid'),
    );
});

test('keys of a request: a certificate, SPKI or TPM2B_PUBLIC give the same endorsement key', (t) => {
  const { evidence } = fakeTpmEvidence();
  const { akPublic, ekCertificate } = evidence.parts as Record<'akPublic' | 'ekCertificate', Uint8Array>;
  const byCertificate = activationKeys({ akPublic, ekCertificate });
  const ekPublic = spkiOf(keyPair('ek', 'P-256').publicKey);
  assert.deepEqual(byCertificate.ekPublic, Uint8Array.from(ekPublic));
  assert.deepEqual(activationKeys({ akPublic, ekPublic }), byCertificate);
  const invalid = (error: unknown): boolean => isCaissonError(error, 'evidence-invalid');
  assert.throws(() => activationKeys({ akPublic, ekPublic: ekPublic.subarray(0, 40) }), invalid);
  assert.throws(() => activationKeys({ akPublic, ekPublic: new Uint8Array(20) }), invalid);
  assert.throws(() => activationKeys({ akPublic, ekCertificate: ekPublic }), invalid);
  assert.throws(() => activationKeys({ akPublic: ekCertificate, ekPublic }), invalid);
  const ed25519 = spkiOf(generateKeyPairSync('ed25519').publicKey);
  assert.throws(() => activationKeys({ akPublic, ekPublic: ed25519 }), invalid);

  if (!requireSamples(t)) return;
  const area = sample('tpm/swtpm/ek.pub');
  const certificate = Uint8Array.from(new X509Certificate(sample('tpm/swtpm/ekcert.der')).raw);
  const keys = activationKeys({ akPublic: sample('tpm/swtpm/ak.pub'), ekPublic: area });
  assert.deepEqual(keys.ekPublic, activationKeys({ akPublic, ekCertificate: certificate }).ekPublic);
  assert.deepEqual(keys.akName, sample('tpm/swtpm/ak.name'));
  assert.ok(sampleText('tpm/swtpm/issuercert.pem').includes('BEGIN CERTIFICATE'));
});

/** The magic number and version of tpm2-tools' file; then a TPM2B_ID_OBJECT and a TPM2B_ENCRYPTED_SECRET. */
const toolHeader = Uint8Array.of(0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1);

for (const kind of ['tpm-swtpm/cred-ecc', 'tpm-swtpm/cred-rsa', 'tpm/swtpm/cred'])
  test(`a credential of ours has the form of ${kind}, which a TPM opened`, (t) => {
    if (!requireSamples(t)) return;
    const theirs = sample(`${kind}.blob`);
    assert.deepEqual(theirs.subarray(0, toolHeader.length), toolHeader);
    const isOld = kind.startsWith('tpm/');
    const key = isOld
      ? new X509Certificate(sample('tpm/swtpm/ekcert.der')).publicKey
      : createPublicKey(sampleText('tpm-swtpm/ek.pem'));
    const name = sample(isOld ? 'tpm/swtpm/ak.name' : `${kind.replace('cred', 'ak')}.name`);
    const content = sample(isOld ? 'tpm/swtpm/cred.in' : 'tpm-swtpm/cred.secret');
    const { blob, secret: encrypted } = makeCredential(key, name, content);
    assert.equal(theirs.length, toolHeader.length + blob.length + encrypted.length);
    // The sizes of the whole, of the integrity value in it, and of the encrypted secret.
    const sizes = (at: number, bytes: Uint8Array): Uint8Array => bytes.subarray(at, at + 2);
    const [ourParts, theirParts] = [Uint8Array.from([...blob, ...encrypted]), theirs.subarray(toolHeader.length)];
    for (const at of [0, 2, blob.length]) assert.deepEqual(sizes(at, theirParts), sizes(at, ourParts), String(at));
    assert.notDeepEqual(theirParts, ourParts);
  });
