/** TPM evidence: one test for each check of spec/attestation-tpm.md, on evidence that is right but for one thing. */
import assert from 'node:assert/strict';
import { createHash, createPublicKey, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import {
  emptyContext,
  extendedUsage,
  fakeTpmEvidence,
  fakeTpmSignature,
  hardwareName,
  keyPair,
  keyUsage,
  now,
  rightAttributes,
  sha256,
  sha384,
  type FakeTpmEvidence,
} from '../../../../test/support/fake-tpm-evidence.ts';
import { verifierConformance } from '../../../../test/conformance/verifier.ts';
import { fakeEventLog } from '../../../../test/support/fake-event-log.ts';
import { requireSamples, sample, sampleText } from '../../../../test/support/evidence-samples.ts';
import { authorityExtensions } from '../../../../test/support/fake-x509.ts';
import { isCaissonError, type ErrorCode } from '../../../lib/errors.ts';
import { Algorithm, tpmHash } from '../../../wire/tpm/algorithms.ts';
import { ObjectAttribute, parsePublic, nameOf } from '../../../wire/tpm/public-area.ts';
import { spkiOf } from '../trusted-roots.ts';
import type { TrustedRoot, VerifiedEvidence, VerifyContext } from '../verifier.ts';
import { activationKeys } from './activation.ts';
import { parseQuote, verifyQuote } from './quote.ts';
import { verifier } from './verifier.ts';

type Made = Pick<FakeTpmEvidence, 'evidence' | 'context'>;

function verify({ evidence, context }: Made): Promise<VerifiedEvidence> {
  return verifier.verify(evidence, context);
}

/** With other parts; undefined leaves one out. */
function withParts(made: Made, parts: Readonly<Record<string, Uint8Array | undefined>>): Made {
  const entries = Object.entries({ ...made.evidence.parts, ...parts }).filter(([, bytes]) => bytes !== undefined);
  const changed = Object.fromEntries(entries) as Record<string, Uint8Array>;
  return { ...made, evidence: { ...made.evidence, parts: changed } };
}

function withContext(made: Made, context: Partial<VerifyContext>): Made {
  return { ...made, context: { ...made.context, ...context } };
}

async function refuses(made: Made, check: string, code: ErrorCode = 'evidence-untrusted'): Promise<void> {
  await assert.rejects(verify(made), (error) => {
    assert.ok(isCaissonError(error, code), String(error));
    assert.equal(error.details['check'], check);
    return true;
  });
}

function certified(made: FakeTpmEvidence): Made {
  const { akCertificate } = made.parts;
  return withParts(made, {
    akCertificate,
    activation: undefined,
    ekCertificate: undefined,
    ekIntermediates: undefined,
  });
}

verifierConformance('tpm', {
  verifier,
  make: () => {
    const made = fakeTpmEvidence();
    const eventLog = fakeEventLog([{ register: 7, type: 1, data: Uint8Array.of(1) }]);
    return withParts(made, { akCertificate: made.parts['akCertificate'], eventLog });
  },
  makeDebug: undefined,
  unauthenticatedParts: ['eventLog'],
});

test('right evidence gives its report data and every claim, each as defined', async () => {
  const { reportData, claims, basis } = await verify(fakeTpmEvidence());
  assert.deepEqual(reportData, new Uint8Array(32).fill(0xda));
  assert.deepEqual(claims.get('tpm.pcr.sha256.7'), new Uint8Array(32).fill(0x17));
  assert.deepEqual(claims.get('tpm.pcr.sha384.7'), new Uint8Array(48).fill(0x17));
  assert.equal(claims.has('tpm.pcr.sha256.1'), false);
  const texts = [
    ['debug', false],
    ['tpm.binding', 'activation'],
    ['tpm.manufacturer', 'Fake TPM Root'],
    ['tpm.ek-manufacturer', 'id:46414B45'],
    ['tpm.ek-model', 'fake model'],
    ['tpm.ek-version', 'id:0001'],
    ['tpm.ak-parent', 'endorsement-key'],
    ['tpm.reset-count', 3],
    ['tpm.restart-count', 4],
    ['tpm.clock-safe', true],
  ] as const;
  for (const [name, value] of texts) assert.equal(claims.get(name), value, name);
  assert.deepEqual(claims.get('tpm.firmware-version'), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  const ek = createHash('sha256')
    .update(spkiOf(keyPair('ek', 'P-256').publicKey))
    .digest();
  assert.deepEqual(Buffer.from(claims.get('tpm.ek-digest') as Uint8Array), ek);
  assert.equal((claims.get('tpm.ak-name') as Uint8Array).length, 34);
  assert.deepEqual(basis, [{ name: 'root', value: 'Fake TPM Root' }]);
});

test('attestation keys and endorsement keys of each kind', async () => {
  await verify(fakeTpmEvidence({ akKind: 'rsa', scheme: 'rsassa', ekKind: 'rsa' }));
  await verify(fakeTpmEvidence({ akKind: 'rsa', scheme: 'rsapss', signatureHash: sha384 }));
  await verify(fakeTpmEvidence({ akKind: 'P-384', signatureHash: sha384, ekKind: 'P-384', parent: 0x4000_0001 }));
  await verify(fakeTpmEvidence({ area: { nameHash: sha384 } }));
});

test('the parent of the attestation key is told by its qualified name', async () => {
  const parents = [
    [0x4000_0001, 'owner'],
    [0x4000_000b, 'endorsement'],
    [0x4000_000c, 'platform'],
    [0x4000_0007, 'null'],
    [0x8100_0001, 'unknown'],
  ] as const;
  for (const [handle, name] of parents)
    assert.equal((await verify(fakeTpmEvidence({ parent: handle }))).claims.get('tpm.ak-parent'), name);
  const rsa = await verify(fakeTpmEvidence({ ekKind: 'rsa' }));
  assert.equal(rsa.claims.get('tpm.ak-parent'), 'endorsement-key');
});

test('quote-form, signature-form', async () => {
  const made = fakeTpmEvidence();
  const { quote, signature } = made.evidence.parts;
  await refuses(withParts(made, { quote: quote!.with(0, 0xfe) }), 'quote-form', 'evidence-invalid');
  const certify = { type: 'certify', name: new Uint8Array(34), qualifiedName: new Uint8Array(34) } as const;
  await refuses(fakeTpmEvidence({ attest: { attested: certify } }), 'quote-form', 'evidence-invalid');
  await refuses(withParts(made, { signature: signature!.subarray(1) }), 'signature-form', 'evidence-invalid');
});

test('quote-signature: another key, other bytes, SHA-1', async () => {
  await refuses(fakeTpmEvidence({ signer: keyPair('other', 'P-256').privateKey }), 'quote-signature');
  const made = fakeTpmEvidence();
  const { quote } = made.evidence.parts;
  await refuses(withParts(made, { quote: quote!.with(50, quote![50]! ^ 1) }), 'quote-signature');
  const sha1 = tpmHash(Algorithm.sha1)!;
  await refuses(fakeTpmEvidence({ akKind: 'rsa', scheme: 'rsassa', signatureHash: sha1 }), 'quote-signature');
});

test('pcr-digest, pcr-values-length', async () => {
  const made = fakeTpmEvidence();
  const { pcrs } = made.evidence.parts;
  await refuses(withParts(made, { pcrs: pcrs!.with(0, 0xff) }), 'pcr-digest');
  await refuses(withParts(made, { pcrs: pcrs!.subarray(32) }), 'pcr-values-length', 'evidence-invalid');
});

test('ak-type', async () => {
  const unique = { type: 'keyed-hash', scheme: undefined, unique: new Uint8Array(32) } as const;
  await refuses(fakeTpmEvidence({ area: { object: unique } }), 'ak-type');
  const short = createPublicKey(weakRsaPem);
  const modulus = Buffer.from(short.export({ format: 'jwk' }).n ?? '', 'base64url');
  const scheme = { algorithm: Algorithm.rsaSsa, hash: Algorithm.sha256 };
  const object = { type: 'rsa', symmetric: undefined, scheme, keyBits: 1024, exponent: 0, modulus } as const;
  await refuses(fakeTpmEvidence({ akKind: 'rsa', scheme: 'rsassa', area: { object } }), 'ak-type');
});

test('ak-name-hash', async () => {
  await refuses(fakeTpmEvidence({ area: { nameHash: tpmHash(Algorithm.sha1)! } }), 'ak-name-hash');
});

test('ak-attributes: each that must be set, each that must not', async () => {
  const { restricted, sign, fixedTpm, fixedParent, sensitiveDataOrigin } = ObjectAttribute;
  for (const attribute of [restricted, sign, fixedTpm, fixedParent, sensitiveDataOrigin])
    await refuses(fakeTpmEvidence({ area: { attributes: rightAttributes & ~attribute } }), 'ak-attributes');
  for (const attribute of [ObjectAttribute.decrypt, ObjectAttribute.encryptedDuplication])
    await refuses(fakeTpmEvidence({ area: { attributes: rightAttributes | attribute } }), 'ak-attributes');
});

test('ak-scheme: open, another hash, another scheme', async () => {
  await refuses(fakeTpmEvidence({ keyScheme: undefined }), 'ak-scheme');
  await refuses(fakeTpmEvidence({ keyScheme: { algorithm: Algorithm.ecdsa, hash: Algorithm.sha384 } }), 'ak-scheme');
  const rsaPss = { algorithm: Algorithm.rsaPss, hash: Algorithm.sha256 };
  await refuses(fakeTpmEvidence({ akKind: 'rsa', scheme: 'rsassa', keyScheme: rsaPss }), 'ak-scheme');
});

test('qualified-signer', async () => {
  await refuses(fakeTpmEvidence({ attest: { qualifiedSigner: new Uint8Array(0) } }), 'qualified-signer');
  const sha1Name = new TextEncoder().encode(`\0\u0004${'x'.repeat(20)}`);
  await refuses(fakeTpmEvidence({ attest: { qualifiedSigner: sha1Name } }), 'qualified-signer');
  const otherHash = Uint8Array.of(0, Algorithm.sha3_256, ...new Uint8Array(32));
  await refuses(fakeTpmEvidence({ attest: { qualifiedSigner: otherHash } }), 'qualified-signer');
  const long = Uint8Array.of(0, Algorithm.sha256, ...new Uint8Array(33));
  await refuses(fakeTpmEvidence({ attest: { qualifiedSigner: long } }), 'qualified-signer');
});

test('ak-binding: neither activation nor certificate; an EK certificate alone shows nothing', async () => {
  const made = fakeTpmEvidence();
  const none = { activation: undefined, ekCertificate: undefined, ekIntermediates: undefined };
  await refuses(withParts(made, none), 'ak-binding');
  await refuses(withParts(made, { activation: undefined }), 'ak-binding');
});

test('activation: other bytes, no credential of this challenge', async () => {
  const made = fakeTpmEvidence();
  const { activation } = made.evidence.parts;
  await refuses(withParts(made, { activation: activation!.with(31, 0) }), 'activation');
  await refuses(withParts(made, { activation: activation!.subarray(1) }), 'activation');
  const { activation: _made, ...context } = made.context;
  await refuses({ ...made, context }, 'activation');
});

test('activation-ak, ek-match: the credential of another key', async () => {
  const made = fakeTpmEvidence();
  const activation = made.context.activation!;
  const otherName = nameOf(parsePublic(fakeTpmEvidence({ akKind: 'P-384' }).evidence.parts['akPublic']!));
  await refuses(withContext(made, { activation: { ...activation, akName: otherName } }), 'activation-ak');
  const ekPublic = spkiOf(keyPair('ek', 'rsa').publicKey);
  await refuses(withContext(made, { activation: { ...activation, ekPublic } }), 'ek-match');
});

test('certificates: root, issuer, dates', async () => {
  const made = fakeTpmEvidence();
  await refuses(withContext(made, { extraRoots: [] }), 'certificate-issuer');
  await refuses(withParts(made, { ekIntermediates: undefined }), 'certificate-issuer');
  await refuses(withContext(made, { now: now + 2 * 86_400_000 }), 'certificate-dates');
  const foreign = made.context.extraRoots.map((root): TrustedRoot => ({ ...root, technology: 'cca' }));
  await refuses(withContext(made, { extraRoots: foreign }), 'certificate-issuer');
});

test('ek-usage: another purpose, an authority', async () => {
  await refuses(fakeTpmEvidence({ ekExtensions: [extendedUsage('2.23.133.8.3')] }), 'ek-usage');
  const authority = authorityExtensions(undefined, false);
  await refuses(fakeTpmEvidence({ ekExtensions: authority }), 'ek-usage');
  await refuses(fakeTpmEvidence({ ekExtensions: [keyUsage(7, 0x80)] }), 'ek-usage');
  await verify(fakeTpmEvidence({ ekExtensions: [keyUsage(5, 0x20)] }));
  const { claims } = await verify(fakeTpmEvidence({ ekExtensions: [] }));
  assert.equal(claims.has('tpm.ek-model'), false);
  const unnamed = await verify(fakeTpmEvidence({ ekExtensions: [hardwareName('')] }));
  assert.equal(unnamed.claims.has('tpm.ek-model'), false);
  assert.equal(unnamed.claims.get('tpm.ek-version'), 'id:0001');
});

test('ek-root: an endorsement key without certificate is a root itself', async () => {
  const made = withParts(fakeTpmEvidence(), { ekCertificate: undefined, ekIntermediates: undefined });
  await refuses(made, 'ek-root');
  const pin = (use: string): TrustedRoot => ({
    ...{ technology: 'tpm', name: 'machine 7', der: spkiOf(keyPair(use, 'P-256').publicKey) },
  });
  await refuses(withContext(made, { extraRoots: [pin('other')] }), 'ek-root');
  const { activation: _none, ...unasked } = made.context;
  await refuses({ ...made, context: { ...unasked, extraRoots: [pin('ek')] } }, 'ek-root');
  const { claims } = await verify(withContext(made, { extraRoots: [pin('other'), pin('ek')] }));
  assert.equal(claims.get('tpm.manufacturer'), 'machine 7');
});

test('an attestation key with a certificate of its platform', async () => {
  const { claims } = await verify(certified(fakeTpmEvidence()));
  assert.equal(claims.get('tpm.binding'), 'ak-certificate');
  assert.equal(claims.get('tpm.manufacturer'), 'Fake TPM Root');
  assert.equal(claims.has('tpm.ek-digest'), false);
  // Of a certified key nobody vouches for the name, unless the qualified name that the TPM signed follows from it.
  assert.equal(claims.has('tpm.ak-name'), false);
  const primary = await verify(certified(fakeTpmEvidence({ parent: 0x4000_000b })));
  assert.equal(primary.claims.has('tpm.ak-name'), true);
  const both = fakeTpmEvidence();
  const { akCertificate } = both.parts;
  assert.equal((await verify(withParts(both, { akCertificate }))).claims.get('tpm.binding'), 'activation');
  await refuses(certified(fakeTpmEvidence({ certified: keyPair('other', 'P-256').publicKey })), 'ak-match');
  const wrongToo = fakeTpmEvidence({ certified: keyPair('other', 'P-256').publicKey });
  await refuses(withParts(wrongToo, { akCertificate: wrongToo.parts['akCertificate'] }), 'ak-match');
  const unknown = withContext(certified(both), { extraRoots: [] });
  await refuses(unknown, 'certificate-issuer');
});

test('ak-usage: another purpose; without one, a key that may sign', async () => {
  await refuses(certified(fakeTpmEvidence({ akExtensions: [extendedUsage('2.23.133.8.1')] })), 'ak-usage');
  await refuses(certified(fakeTpmEvidence({ akExtensions: [keyUsage(5, 0x20)] })), 'ak-usage');
  await refuses(certified(fakeTpmEvidence({ akExtensions: authorityExtensions(undefined, false) })), 'ak-usage');
  await verify(certified(fakeTpmEvidence({ akExtensions: [keyUsage(7, 0x80)] })));
});

test('a root that is neither certificate nor key is an error of the configuration', async () => {
  const root: TrustedRoot = { technology: 'tpm', name: 'nonsense', der: Uint8Array.of(1, 2, 3) };
  await assert.rejects(verify(withContext(fakeTpmEvidence(), { extraRoots: [root] })), (error) =>
    isCaissonError(error, 'configuration-invalid'),
  );
});

test('evidence without a part that must be there', async () => {
  for (const part of ['quote', 'signature', 'pcrs', 'akPublic'])
    await assert.rejects(verify(withParts(fakeTpmEvidence(), { [part]: undefined })), (error) =>
      isCaissonError(error, 'evidence-invalid'),
    );
});

test('quotes of a software TPM, with the chain of its endorsement key', async (t) => {
  if (!requireSamples(t)) return;
  const folder = 'tpm-swtpm';
  const ekCertificate = sample(`${folder}/ek-cert.der`);
  const issuer = Uint8Array.from(new X509Certificate(sampleText(`${folder}/ek-issuer.pem`)).raw);
  const rootDer = Uint8Array.from(new X509Certificate(sampleText(`${folder}/ek-rootca.pem`)).raw);
  const secret = sample(`${folder}/cred.secret`);
  const registers = [...sampleText(`${folder}/pcrs.yaml`).matchAll(/: 0x([0-9A-F]{64})/g)];
  const pcrs = Uint8Array.from(Buffer.concat(registers.map(([, hex = '']) => Buffer.from(hex, 'hex'))));
  for (const kind of ['ecc', 'rsa']) {
    const parts = {
      ...{ quote: sample(`${folder}/quote-${kind}.msg`), signature: sample(`${folder}/quote-${kind}.sig.tpmt`) },
      ...{ akPublic: sample(`${folder}/ak-${kind}.tpm2b_public`), pcrs, ekCertificate, ekIntermediates: issuer },
      activation: secret,
    };
    const akName = sample(`${folder}/ak-${kind}.name`);
    const ekPublic = spkiOf(createPublicKey(sampleText(`${folder}/ek.pem`)));
    const extraRoots: TrustedRoot[] = [{ technology: 'tpm', name: 'swtpm', der: rootDer }];
    const context = { ...emptyContext, now: Date.UTC(2026, 10, 24), extraRoots };
    const made: Made = {
      evidence: { technology: 'tpm', parts },
      context: { ...context, activation: { secret, akName, ekPublic } },
    };
    const { reportData, claims } = await verify(made);
    assert.deepEqual(reportData, sample(`${folder}/nonce.bin`));
    assert.equal(claims.get('tpm.ak-parent'), 'endorsement-key');
    assert.equal(claims.get('tpm.ek-model'), 'swtpm');
    assert.deepEqual(claims.get('tpm.pcr.sha256.7'), pcrs.subarray(7 * 32, 8 * 32));
    await refuses(withParts(made, { ekIntermediates: undefined }), 'certificate-issuer');
    const changed = `${folder}/quote-ecc-pcr9changed`;
    if (kind === 'rsa') continue;
    const quote = { quote: sample(`${changed}.msg`), signature: sample(`${changed}.sig.tpmt`) };
    await refuses(withParts(made, quote), 'pcr-digest');
    await refuses(withParts(made, { quote: quote.quote }), 'quote-signature');
  }
});

/** Values out of a file of tpm2-tools: a selection (132 bytes), a count, and lists of up to eight digests in fixed room. */
function toolRegisters(file: Uint8Array, count: number): Uint8Array {
  const values = Array.from({ length: count }, (_, index) => {
    const at = 136 + Math.floor(index / 8) * 532 + 4 + (index % 8) * 66 + 2;
    return file.subarray(at, at + 32);
  });
  return Uint8Array.from(Buffer.concat(values));
}

test('another set of quotes of a software TPM, over registers 0 to 8 and 16', async (t) => {
  if (!requireSamples(t)) return;
  const at = (name: string): Uint8Array => sample(`tpm/swtpm/${name}`);
  const pem = (name: string): Uint8Array => Uint8Array.from(new X509Certificate(sampleText(`tpm/swtpm/${name}`)).raw);
  const keys = activationKeys({ akPublic: at('ak.pub'), ekPublic: at('ek.pub') });
  const secret = at('cred.in');
  const parts = {
    ...{ quote: at('ecc_quote.msg'), signature: at('ecc_quote.sig'), akPublic: at('ak.pub'), activation: secret },
    ...{ ekCertificate: at('ekcert.der'), ekIntermediates: pem('issuercert.pem') },
    pcrs: toolRegisters(at('ecc_quote.pcrs'), 10),
  };
  const der = pem('swtpm-localca-rootca-cert.pem');
  const context = {
    ...{ ...emptyContext, now: new X509Certificate(der).validFromDate.getTime() + 86_400_000 },
    extraRoots: [{ technology: 'tpm', name: 'swtpm', der } as const],
    activation: { secret, ...keys },
  };
  const made: Made = { evidence: { technology: 'tpm', parts }, context };
  const { reportData, claims } = await verify(made);
  assert.equal(Buffer.from(reportData).toString('hex'), sampleText('tpm/swtpm/nonce.hex').trim());
  assert.equal(claims.has('tpm.pcr.sha256.16'), true);
  assert.equal(claims.has('tpm.pcr.sha256.9'), false);
  const rsa = {
    quote: at('rsa_quote.msg'),
    signature: at('rsa_quote.sig'),
    pcrs: toolRegisters(at('rsa_quote.pcrs'), 10),
  };
  await refuses(withParts(made, rsa), 'ak-scheme');
  const parsed = parseQuote(rsa);
  verifyQuote(parsed, rsa, createPublicKey(sampleText('tpm/swtpm/akr.pem')));
  assert.throws(() => verifyQuote(parsed, rsa, createPublicKey(sampleText('tpm/swtpm/ak.pem'))));
});

test('a signature over other registers by the same key does not carry over', async () => {
  const made = fakeTpmEvidence();
  const other = fakeTpmEvidence({ selection: [{ hash: sha256, indexes: [0], bitmapBytes: 3 }] });
  const { quote, pcrs } = other.evidence.parts;
  await refuses(withParts(made, { quote, pcrs }), 'quote-signature');
  const options = { akKind: 'P-256', scheme: 'ecdsa', signatureHash: sha256, signer: undefined } as const;
  await verify(withParts(made, { quote, pcrs, signature: fakeTpmSignature(quote!, options) }));
});

/** 1024 bits, made for this test alone. */
const weakRsaPem = makeWeakRsa();

function makeWeakRsa(): string {
  const modulus = Buffer.from(keyPair('ak', 'rsa').publicKey.export({ format: 'jwk' }).n ?? '', 'base64url');
  const half = Uint8Array.from(modulus.subarray(0, 128));
  half[127]! |= 1;
  const n = Buffer.from(half).toString('base64url');
  return createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' }, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
}
