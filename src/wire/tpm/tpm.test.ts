/** TPM structures: real ones of a TPM decode and encode to the same bytes; every bound refuses. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, createPublicKey, sign, verify, constants } from 'node:crypto';
import { test } from 'node:test';
import { isCaissonError } from '../../lib/errors.ts';
import { requireSamples, sample, sampleText } from '../../../test/support/evidence-samples.ts';
import { Algorithm, tpmCurves, tpmHash } from './algorithms.ts';
import { encodeAttest, parseAttest, type TpmAttest } from './attest.ts';
import { leftPadded, TpmReader, TpmWriter } from './codec.ts';
import { pcrDigest, splitPcrValues } from './pcr-selection.ts';
import {
  encodePublic,
  encodePublicArea,
  nameOf,
  ObjectAttribute,
  parsePublic,
  parsePublicArea,
  publicKeyOf,
  type PublicArea,
} from './public-area.ts';
import { encodeSignature, parseSignature, verifySignature } from './signature.ts';

const sha256 = tpmHash(Algorithm.sha256)!;
const sha384 = tpmHash(Algorithm.sha384)!;

const refused = (error: unknown): boolean => isCaissonError(error, 'evidence-invalid');

const quote: TpmAttest = {
  qualifiedSigner: new Uint8Array(34).fill(7),
  extraData: Uint8Array.of(1, 2, 3),
  clock: 2n ** 40n,
  resetCount: 3,
  restartCount: 0xffff_fffe,
  isClockSafe: true,
  firmwareVersion: 0x2019_1023_0016_3636n,
  attested: {
    type: 'quote',
    selection: [
      { hash: sha256, indexes: [0, 7, 8, 23], bitmapBytes: 3 },
      { hash: sha384, indexes: [], bitmapBytes: 3 },
    ],
    pcrDigest: new Uint8Array(32).fill(9),
  },
};

test('attestations of each type decode to what was encoded', () => {
  const certify = { type: 'certify', name: Uint8Array.of(1), qualifiedName: Uint8Array.of(2, 3) } as const;
  const read = { indexName: Uint8Array.of(4), offset: 5, contents: Uint8Array.of(6) };
  const nvCertify = { type: 'nv-certify', ...read } as const;
  for (const attested of [quote.attested, certify, nvCertify])
    assert.deepEqual(parseAttest(encodeAttest({ ...quote, attested })), { ...quote, attested });
});

test('every cut, a byte after the end, a wrong magic and an unknown type are refused', () => {
  const bytes = encodeAttest(quote);
  for (let length = 0; length < bytes.length; length++)
    assert.throws(() => parseAttest(bytes.subarray(0, length)), refused, `${length} bytes`);
  assert.throws(() => parseAttest(Uint8Array.of(...bytes, 0)), refused);
  assert.throws(() => parseAttest(bytes.with(0, 0)), refused);
  assert.throws(() => parseAttest(bytes.with(5, 0x19)), refused);
});

test('a flag that is neither 0 nor 1 is refused', () => {
  const bytes = encodeAttest(quote);
  const safeAt = 4 + 2 + 36 + 5 + 8 + 4 + 4;
  assert.equal(bytes[safeAt], 1);
  assert.throws(() => parseAttest(bytes.with(safeAt, 2)), refused);
});

test('a selection names a bank once, and only banks that are known', () => {
  const encoded = (hash: typeof sha256, bitmapBytes = 3): Uint8Array =>
    encodeAttest({
      ...quote,
      attested: {
        ...{ type: 'quote', pcrDigest: new Uint8Array(32) },
        selection: [
          { hash: sha256, indexes: [], bitmapBytes: 3 },
          { hash, indexes: [], bitmapBytes },
        ],
      },
    });
  parseAttest(encoded(sha384));
  assert.throws(() => parseAttest(encoded(sha256)), refused);
  assert.throws(() => parseAttest(encoded({ ...sha256, id: 0x7777 })), refused);
  assert.throws(() => parseAttest(encoded(sha384, 0)), refused);
  assert.throws(() => parseAttest(encoded(sha384, 5)), refused);
});

test('register values are split by bank and index, and must be exactly as long as selected', () => {
  const selection = [
    { hash: sha384, indexes: [1], bitmapBytes: 3 },
    { hash: sha256, indexes: [0, 16], bitmapBytes: 3 },
  ];
  const values = new Uint8Array(48 + 64).map((_, index) => (index < 48 ? 1 : index < 80 ? 2 : 3));
  const split = splitPcrValues(selection, values);
  assert.deepEqual(
    split.map(({ hash, index, value }) => [hash.name, index, value.length, value[0]]),
    [
      ['sha384', 1, 48, 1],
      ['sha256', 0, 32, 2],
      ['sha256', 16, 32, 3],
    ],
  );
  assert.throws(() => splitPcrValues(selection, values.subarray(1)), refused);
  assert.throws(() => splitPcrValues(selection, Uint8Array.of(...values, 0)), refused);
});

test('signatures of each scheme verify, and nothing else does', () => {
  const message = Buffer.from('what the TPM made');
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const ecc = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_MAX_SIGN };
  const raw = sign('sha384', message, { key: ecc.privateKey, dsaEncoding: 'ieee-p1363' });
  const signatures = [
    [rsa, { scheme: 'rsassa', hash: sha256, signature: sign('sha256', message, rsa.privateKey) }],
    [rsa, { scheme: 'rsapss', hash: sha256, signature: sign('sha256', message, { key: rsa.privateKey, ...pss }) }],
    [ecc, { scheme: 'ecdsa', hash: sha384, r: raw.subarray(0, 48), s: raw.subarray(48) }],
  ] as const;
  for (const [keys, signature] of signatures) {
    const parsed = parseSignature(encodeSignature(signature));
    assert.deepEqual(parsed.scheme, signature.scheme);
    assert.equal(verifySignature(keys.publicKey, message, parsed), true);
    assert.equal(verifySignature(keys.publicKey, Buffer.from('else'), parsed), false);
    const other = keys === rsa ? ecc : rsa;
    assert.equal(verifySignature(other.publicKey, message, parsed), false);
    assert.throws(() => parseSignature(Uint8Array.of(...encodeSignature(signature), 0)), refused);
    assert.throws(() => parseSignature(encodeSignature(signature).with(1, 0x30)), refused);
  }
});

test('a signature for another kind of key, or of numbers too large for it, is none', () => {
  const message = Buffer.from('x');
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const raw = sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  const right = { scheme: 'ecdsa', hash: sha256, r: raw.subarray(0, 32), s: raw.subarray(32) } as const;
  assert.equal(verifySignature(publicKey, message, right), true);
  const long = Uint8Array.of(1, ...raw.subarray(0, 32));
  assert.equal(verifySignature(publicKey, message, { ...right, r: long }), false);
  assert.equal(verifySignature(publicKey, message, { ...right, s: long }), false);
  const ed25519 = generateKeyPairSync('ed25519');
  const others = [ed25519.publicKey, generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey];
  const rsa = { scheme: 'rsassa', hash: sha256, signature: raw } as const;
  for (const key of others)
    for (const signature of [right, rsa]) assert.equal(verifySignature(key, message, signature), false);
  const unknownHash = Uint8Array.from(encodeSignature(right)).with(3, 0x77);
  assert.throws(() => parseSignature(unknownHash), refused);
});

test('schemes with less and with more than a hash are read and written', () => {
  const ecc = eccPublic();
  const daa = { algorithm: Algorithm.ecDaa, hash: Algorithm.sha256, parameter: 7 };
  const { n = '' } = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });
  const modulus = Uint8Array.from(Buffer.from(n, 'base64url'));
  const rsaEs = { algorithm: Algorithm.rsaEs, hash: 0 };
  const objects: PublicArea['object'][] = [
    { ...ecc.object, scheme: daa },
    { type: 'rsa', symmetric: undefined, scheme: rsaEs, keyBits: 2048, exponent: 0, modulus },
    {
      type: 'keyed-hash',
      scheme: { algorithm: Algorithm.xor, hash: 11, parameter: 0x22 },
      unique: modulus.subarray(224),
    },
  ];
  for (const object of objects) {
    const bytes = encodePublic({ ...ecc, object });
    assert.deepEqual(parsePublic(bytes).object, object);
  }
  // TPMT_RSA_SCHEME of RSAES is two bytes, of every other scheme four.
  const withOaep = { ...objects[1]!, scheme: { algorithm: Algorithm.oaep, hash: 11 } } as PublicArea['object'];
  const lengths = [objects[1]!, withOaep].map((object) => encodePublic({ ...ecc, object }).length);
  assert.equal(lengths[1]! - lengths[0]!, 2);
});

test('a signature over SHA-1 is worth nothing', () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const message = Buffer.from('x');
  const signature = sign('sha1', message, privateKey);
  const sha1 = tpmHash(Algorithm.sha1)!;
  assert.equal(verifySignature(publicKey, message, { scheme: 'rsassa', hash: sha1, signature }), false);
});

test('numbers of a signature with zeros left out or put in front verify', () => {
  assert.deepEqual(leftPadded(Uint8Array.of(5), 3), Uint8Array.of(0, 0, 5));
  assert.deepEqual(leftPadded(Uint8Array.of(0, 0, 5), 2), Uint8Array.of(0, 5));
  assert.equal(leftPadded(Uint8Array.of(1, 0, 5), 2), undefined);
});

const sealed: PublicArea = {
  nameHash: sha256,
  attributes: ObjectAttribute.fixedTpm | ObjectAttribute.fixedParent,
  policy: new Uint8Array(32),
  object: { type: 'keyed-hash', scheme: undefined, unique: new Uint8Array(32) },
};

function eccPublic(): PublicArea {
  const { x = '', y = '' } = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' });
  return {
    ...{ nameHash: sha256, attributes: 0x50072, policy: new Uint8Array(0) },
    object: {
      ...{ type: 'ecc', symmetric: undefined, keyDerivation: undefined, curve: tpmCurves[0]! },
      scheme: { algorithm: Algorithm.ecdsa, hash: Algorithm.sha256 },
      x: Uint8Array.from(Buffer.from(x, 'base64url')),
      y: Uint8Array.from(Buffer.from(y, 'base64url')),
    },
  };
}

test('public areas decode to what was encoded, and their names follow from the bytes', () => {
  for (const area of [sealed, eccPublic()]) {
    const parsed = parsePublic(encodePublic(area));
    assert.deepEqual({ ...parsed, encoded: undefined }, { ...area, encoded: undefined });
    assert.deepEqual(encodePublicArea(parsed), parsed.encoded);
    assert.equal(nameOf(parsed).length, 34);
    const other = parsePublic(encodePublic({ ...area, attributes: area.attributes | (1 << 10) }));
    assert.notDeepEqual(nameOf(other), nameOf(parsed));
  }
});

test('a public area is refused with a byte too many, a foreign scheme, curve or point', () => {
  const area = eccPublic();
  const bytes = encodePublic(area);
  for (let length = 0; length < bytes.length; length++)
    assert.throws(() => parsePublic(bytes.subarray(0, length)), refused, `${length} bytes`);
  assert.throws(() => parsePublic(Uint8Array.of(...bytes, 0)), refused);
  assert.throws(() => parsePublicArea(Uint8Array.of(...encodePublicArea(area), 0)), refused);
  assert.equal(area.object.type, 'ecc');
  const { object } = area;
  if (object.type !== 'ecc') return;
  const withObject = (change: object): Uint8Array => encodePublic({ ...area, object: { ...object, ...change } });
  assert.throws(() => parsePublic(withObject({ scheme: { algorithm: Algorithm.rsaSsa, hash: 11 } })), refused);
  assert.throws(() => parsePublic(withObject({ curve: { ...tpmCurves[0]!, id: 0x10 } })), refused);
  assert.throws(() => parsePublic(withObject({ x: new Uint8Array(0) })), refused);
  assert.throws(() => parsePublic(withObject({ x: new Uint8Array(33) })), refused);
  assert.throws(() => parsePublic(withObject({ y: new Uint8Array(0) })), refused);
  const camellia = { algorithm: 0x0026, keyBits: 128, mode: Algorithm.cfb };
  assert.throws(() => parsePublic(withObject({ symmetric: camellia })), refused);
  assert.throws(() => parsePublic(encodePublic({ ...area, nameHash: { ...sha256, id: 0x7777 } })), refused);
  assert.throws(() => parsePublic(encodePublic({ ...area, policy: new Uint8Array(20) })), refused);
  assert.throws(() => publicKeyOf(parsePublic(withObject({ y: object.x }))), refused);
  assert.throws(() => publicKeyOf(sealed), refused);
});

test('an RSA modulus has the bits that it says, and an exponent that nobody chose', () => {
  const { n = '' } = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });
  const modulus = Buffer.from(n, 'base64url');
  const rsa = (keyBits: number, bytes: Uint8Array, exponent = 0): Uint8Array =>
    encodePublic({
      ...sealed,
      object: { ...{ type: 'rsa', symmetric: undefined, scheme: undefined, exponent }, keyBits, modulus: bytes },
    });
  assert.equal(publicKeyOf(parsePublic(rsa(2048, modulus))).asymmetricKeyDetails?.publicExponent, 65_537n);
  assert.throws(() => parsePublic(rsa(2048, modulus.subarray(1))), refused);
  assert.throws(() => parsePublic(rsa(2056, modulus)), refused);
  assert.throws(() => parsePublic(rsa(2047, modulus)), refused);
  assert.throws(() => parsePublic(rsa(0, new Uint8Array(0))), refused);
  assert.throws(() => parsePublic(rsa(2048, Uint8Array.from(modulus).with(0, 0x7f))), refused);
  parsePublic(rsa(2048, modulus, 65_539));
  assert.throws(() => parsePublic(rsa(2048, modulus, 3)), refused);
  assert.throws(() => parsePublic(rsa(2048, modulus, 65_538)), refused);
  assert.throws(() => parsePublic(rsa(8192, new Uint8Array(1024).fill(0xff))), refused);
});

test('whoever reads the answer of a TPM chooses the error', () => {
  const reader = new TpmReader(new TpmWriter().u16(5).finish(), 'it', (message) => Object.assign(new Error(message)));
  assert.throws(() => reader.sized(9), /^Error: it: it is cut off$/);
});

test('structures of a TPM: quotes, signatures, keys and names', (t) => {
  if (!requireSamples(t)) return;
  for (const kind of ['ecc', 'rsa']) {
    const message = sample(`tpm-swtpm/quote-${kind}.msg`);
    const attest = parseAttest(message);
    assert.deepEqual(encodeAttest(attest), message);
    assert.deepEqual(attest.extraData, sample('tpm-swtpm/nonce.bin'));
    const bytes = sample(`tpm-swtpm/quote-${kind}.sig.tpmt`);
    const signature = parseSignature(bytes);
    assert.deepEqual(encodeSignature(signature), bytes);
    const area = parsePublic(sample(`tpm-swtpm/ak-${kind}.tpm2b_public`));
    assert.deepEqual(encodePublic(area), sample(`tpm-swtpm/ak-${kind}.tpm2b_public`));
    assert.deepEqual(nameOf(area), sample(`tpm-swtpm/ak-${kind}.name`));
    assert.equal(publicKeyOf(area).equals(createPublicKey(sampleText(`tpm-swtpm/ak-${kind}.pem`))), true);
    assert.equal(verifySignature(publicKeyOf(area), message, signature), true);
    assert.equal(attest.attested.type, 'quote');
    if (attest.attested.type !== 'quote') continue;
    const values = sampleText('tpm-swtpm/pcrs.yaml').matchAll(/: 0x([0-9A-F]{64})/g);
    const registers = Buffer.concat([...values].map(([, hex = '']) => Buffer.from(hex, 'hex')));
    assert.equal(splitPcrValues(attest.attested.selection, registers).length, 11);
    assert.deepEqual(pcrDigest(signature.hash, registers), Buffer.from(attest.attested.pcrDigest));
  }
  const counter = parseAttest(sample('tpm/swtpm/nvc.msg'));
  assert.equal(counter.attested.type, 'nv-certify');
  assert.equal(parsePublic(sample('tpm/swtpm/ek.pub')).object.type, 'rsa');
});

test('a signature in another form than a TPM’s is refused, though it holds', (t) => {
  if (!requireSamples(t)) return;
  for (const kind of ['ecc', 'rsa']) {
    const message = sample(`tpm-swtpm/quote-${kind}-plain.msg`);
    const plain = sample(`tpm-swtpm/quote-${kind}-plain.sig`);
    const key = createPublicKey(sampleText(`tpm-swtpm/ak-${kind}.pem`));
    assert.deepEqual(parseAttest(message).extraData, sample('tpm-swtpm/nonce.bin'));
    assert.equal(verify('sha256', message, key, plain), true);
    assert.throws(() => parseSignature(plain), { code: 'evidence-invalid' });
    // What the plain form leaves out is put back: the same signature is good.
    const signature = parseSignature(kind === 'rsa' ? rsaSignature(plain) : ecdsaSignature(plain));
    assert.equal(verifySignature(key, message, signature), true);
    assert.equal(verifySignature(key, sample(`tpm-swtpm/quote-${kind}.msg`), signature), false);
  }
});

function rsaSignature(plain: Uint8Array): Uint8Array {
  return new TpmWriter().u16(Algorithm.rsaSsa).u16(Algorithm.sha256).sized(plain).finish();
}

/** DER of two numbers below 2 ** 256, each with a zero before it where it would be negative. */
function ecdsaSignature(plain: Uint8Array): Uint8Array {
  const r = plain.subarray(4, 4 + plain[3]!);
  const s = plain.subarray(4 + r.length + 2);
  const writer = new TpmWriter().u16(Algorithm.ecdsa).u16(Algorithm.sha256);
  return writer
    .sized(r.subarray(r.length - 32))
    .sized(s.subarray(s.length - 32))
    .finish();
}
