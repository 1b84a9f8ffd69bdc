/**
 * A TPM that does not exist, its maker's certificates, and the evidence that it gives. Every field is right
 * unless an option makes it wrong, so that each refusal has evidence that is wrong in that one place.
 */
import {
  constants,
  createCipheriv,
  createHash,
  createHmac,
  diffieHellman,
  generateKeyPairSync,
  privateDecrypt,
  sign,
  type KeyObject,
} from 'node:crypto';
import type { CollateralSource } from '../../src/broker/attest/collateral.ts';
import { activationKeys } from '../../src/broker/attest/tpm/activation.ts';
import { credentialProfile } from '../../src/broker/attest/tpm/credential.ts';
import type { TrustedRoot, VerifyContext } from '../../src/broker/attest/verifier.ts';
import type { Evidence } from '../../src/wire/evidence.ts';
import { Algorithm, tpmCurves, tpmHash, type TpmHash } from '../../src/wire/tpm/algorithms.ts';
import { encodeAttest, type TpmAttest } from '../../src/wire/tpm/attest.ts';
import { TpmReader, TpmWriter } from '../../src/wire/tpm/codec.ts';
import { pcrDigest, type PcrBankSelection } from '../../src/wire/tpm/pcr-selection.ts';
import {
  encodePublic,
  encodePublicArea,
  ObjectAttribute,
  parsePublic,
  parsePublicArea,
  publicKeyOf,
  qualifiedNameOf,
  type PublicArea,
} from '../../src/wire/tpm/public-area.ts';
import { encodeSignature } from '../../src/wire/tpm/signature.ts';
import { authorityExtensions, der, derOid, derText, fakeCertificate, type FakeExtension } from './fake-x509.ts';

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

export type KeyKind = 'P-256' | 'P-384' | 'rsa';

const cachedKeys = new Map<string, KeyPair>();

/** One key of each use, made once: RSA keys take long. */
export function keyPair(use: string, kind: KeyKind): KeyPair {
  const id = `${use} ${kind}`;
  const pair =
    cachedKeys.get(id) ??
    (kind === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: kind }));
  cachedKeys.set(id, pair);
  return pair;
}

export const sha256 = tpmHash(Algorithm.sha256)!;
export const sha384 = tpmHash(Algorithm.sha384)!;
export const now = Date.UTC(2026, 5, 1);
const day = 86_400_000;
export const dates = { notBefore: now - day, notAfter: now + day };
export const rightAttributes =
  ObjectAttribute.restricted |
  ObjectAttribute.sign |
  ObjectAttribute.fixedTpm |
  ObjectAttribute.fixedParent |
  ObjectAttribute.sensitiveDataOrigin |
  ObjectAttribute.userWithAuth;

export interface FakeTpmOptions {
  readonly akKind: KeyKind;
  readonly scheme: 'ecdsa' | 'rsassa' | 'rsapss';
  readonly signatureHash: TpmHash;
  /** As the attestation key says; `scheme` and `signatureHash` where it is left out. */
  readonly keyScheme?: PublicArea['object']['scheme'];
  readonly area: Partial<PublicArea>;
  readonly signer: KeyObject | undefined;
  readonly ekKind: KeyKind;
  readonly attest: Partial<TpmAttest>;
  readonly selection: readonly PcrBankSelection[];
  readonly pcrs: Uint8Array | undefined;
  /** Handle or template that the attestation key lies under. */
  readonly parent: number | 'endorsement-key';
  readonly ekExtensions: readonly FakeExtension[];
  readonly akExtensions: readonly FakeExtension[];
  readonly certified: KeyObject | undefined;
  /** Of all certificates. */
  readonly dates: { readonly notBefore: number; readonly notAfter: number };
}

const right: FakeTpmOptions = {
  ...{ akKind: 'P-256', scheme: 'ecdsa', signatureHash: sha256, area: {}, signer: undefined, ekKind: 'P-256' },
  ...{ attest: {}, pcrs: undefined, parent: 'endorsement-key', certified: undefined, dates },
  selection: [
    { hash: sha256, indexes: [0, 4, 7, 11], bitmapBytes: 3 },
    { hash: sha384, indexes: [7], bitmapBytes: 3 },
  ],
  ekExtensions: [extendedUsage('2.23.133.8.1'), hardwareName()],
  akExtensions: [extendedUsage('2.23.133.8.3')],
};

export interface FakeTpmEvidence {
  readonly evidence: Evidence;
  readonly context: VerifyContext;
  /** Parts by which an attestation key is bound, to leave out or to swap. */
  readonly parts: Readonly<Record<string, Uint8Array>>;
}

/** Evidence bound by activation; `akCertificate` is among `parts`, not in the evidence. */
export function fakeTpmEvidence(changes: Partial<FakeTpmOptions> = {}): FakeTpmEvidence {
  const options = { ...right, ...changes };
  const ak = keyPair('ak', options.akKind);
  const akPublic = encodePublic(attestationArea(ak.publicKey, options));
  const values = options.pcrs ?? registerValues(options.selection);
  const quote = encodeAttest({
    qualifiedSigner: qualifiedSigner(akPublic, options),
    extraData: new Uint8Array(32).fill(0xda),
    ...{ clock: 5n, resetCount: 3, restartCount: 4, isClockSafe: true, firmwareVersion: 0x0102_0304_0506_0708n },
    attested: { type: 'quote', selection: options.selection, pcrDigest: pcrDigest(options.signatureHash, values) },
    ...options.attest,
  });
  const certificates = fakeCertificates(options);
  const keys = activationKeys({ akPublic, ekCertificate: certificates.ekCertificate });
  const secret = new Uint8Array(32).fill(0x5e);
  const bound = {
    ...{ ekCertificate: certificates.ekCertificate, ekIntermediates: certificates.intermediate, activation: secret },
  };
  const evidence: Evidence = {
    technology: 'tpm',
    parts: {
      ...{ quote, signature: fakeTpmSignature(quote, options), pcrs: values, akPublic },
      ...bound,
    },
  };
  return {
    evidence,
    context: { ...emptyContext, extraRoots: [certificates.root], activation: { secret, ...keys } },
    parts: { ...bound, akCertificate: certificates.akCertificate },
  };
}

const noCollateral: CollateralSource = { get: () => Promise.reject(new Error('a TPM needs no collateral')) };
export const emptyContext: VerifyContext = { now, collateral: noCollateral, collateralAgeMax: day, extraRoots: [] };

export function fakeTpmSignature(
  message: Uint8Array,
  changes: Pick<FakeTpmOptions, 'akKind' | 'scheme' | 'signatureHash' | 'signer'>,
): Uint8Array {
  const { scheme, signatureHash: hash } = changes;
  const key = changes.signer ?? keyPair('ak', changes.akKind).privateKey;
  if (scheme === 'ecdsa') {
    const raw = sign(hash.name, message, { key, dsaEncoding: 'ieee-p1363' });
    const half = raw.length / 2;
    return encodeSignature({ scheme, hash, r: raw.subarray(0, half), s: raw.subarray(half) });
  }
  const padding = scheme === 'rsassa' ? constants.RSA_PKCS1_PADDING : constants.RSA_PKCS1_PSS_PADDING;
  return encodeSignature({ scheme, hash, signature: sign(hash.name, message, { key, padding }) });
}

export function registerValues(selection: readonly PcrBankSelection[]): Uint8Array {
  const values = selection.flatMap(({ hash, indexes }) =>
    indexes.map((index) => new Uint8Array(hash.digestBytes).fill(0x10 + index)),
  );
  return Uint8Array.from(Buffer.concat(values));
}

const schemeNumbers = { ecdsa: Algorithm.ecdsa, rsassa: Algorithm.rsaSsa, rsapss: Algorithm.rsaPss };

function attestationArea(key: KeyObject, options: FakeTpmOptions): PublicArea {
  const scheme =
    'keyScheme' in options
      ? options.keyScheme
      : { algorithm: schemeNumbers[options.scheme], hash: options.signatureHash.id };
  const object = { ...publicObject(key), scheme } as PublicArea['object'];
  return { nameHash: sha256, attributes: rightAttributes, policy: new Uint8Array(0), object, ...options.area };
}

function publicObject(key: KeyObject): PublicArea['object'] {
  const { n = '', x = '', y = '', crv } = key.export({ format: 'jwk' });
  const open = { symmetric: undefined, scheme: undefined };
  const modulus = Buffer.from(n, 'base64url');
  if (key.asymmetricKeyType === 'rsa')
    return { type: 'rsa', ...open, keyBits: modulus.length * 8, exponent: 0, modulus };
  const curve = tpmCurves.find(({ name }) => name === crv)!;
  const point = { x: Buffer.from(x, 'base64url'), y: Buffer.from(y, 'base64url') };
  return { type: 'ecc', ...open, curve, keyDerivation: undefined, ...point };
}

function qualifiedSigner(akPublic: Uint8Array, { parent, ekKind }: FakeTpmOptions): Uint8Array {
  const area = parsePublic(akPublic);
  if (parent !== 'endorsement-key') return qualifiedNameOf(area, new TpmWriter().u32(parent).finish());
  const ek = parsePublicArea(encodePublicArea(endorsementArea(keyPair('ek', ekKind).publicKey)));
  return qualifiedNameOf(area, qualifiedNameOf(ek, Uint8Array.of(0x40, 0, 0, 0x0b)));
}

/** By the profile's default templates: what TPM2_CreatePrimary makes of them. */
function endorsementArea(key: KeyObject): PublicArea {
  const policy = Buffer.from('837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa', 'hex');
  const symmetric = { algorithm: Algorithm.aes, keyBits: 128, mode: Algorithm.cfb };
  return {
    ...{ nameHash: sha256, attributes: 0x0003_00b2, policy },
    object: { ...publicObject(key), symmetric } as PublicArea['object'],
  };
}

export function extendedUsage(...purposes: readonly string[]): FakeExtension {
  return { oid: '2.5.29.37', value: der(0x30, ...purposes.map(derOid)) };
}

export function keyUsage(...bytes: readonly number[]): FakeExtension {
  return { oid: '2.5.29.15', isCritical: true, value: der(0x03, Uint8Array.from(bytes)) };
}

/** manufacturer, model and version in a directory name. */
export function hardwareName(model = 'fake model'): FakeExtension {
  const attributes = [
    ['2.23.133.2.1', 'id:46414B45'],
    ['2.23.133.2.2', model],
    ['2.23.133.2.3', 'id:0001'],
  ].map(([oid = '', value = '']) => der(0x31, der(0x30, derOid(oid), derText(0x0c, value))));
  return { oid: '2.5.29.17', isCritical: true, value: der(0x30, der(0xa4, der(0x30, ...attributes))) };
}

export interface FakeTpmCertificates {
  readonly root: TrustedRoot;
  readonly intermediate: Uint8Array;
  readonly ekCertificate: Uint8Array;
  /** The certificate of the attestation key, then the intermediate. */
  readonly akCertificate: Uint8Array;
}

const scheme = 'ecdsa-sha256' as const;
const rootName = { CN: 'Fake TPM Root' };
const middleName = { CN: 'Fake TPM Authority' };
interface FakeAuthorities {
  readonly root: TrustedRoot;
  readonly intermediate: Uint8Array;
}

const authoritiesByDates = new Map<FakeTpmOptions['dates'], FakeAuthorities>();

/** Made once, as a maker of TPMs does. */
function fakeAuthorities(valid: FakeTpmOptions['dates']): FakeAuthorities {
  const root = keyPair('root', 'P-384');
  const rootSigns = { issuer: rootName, signingKey: root.privateKey, scheme: 'ecdsa-sha384' } as const;
  const authority = { ...rootSigns, extensions: authorityExtensions(undefined, false), ...valid };
  const middle = keyPair('intermediate', 'P-256').publicKey;
  const authorities = authoritiesByDates.get(valid) ?? {
    root: {
      ...{ technology: 'tpm', name: 'Fake TPM Root' },
      der: fakeCertificate({ subject: rootName, publicKey: root.publicKey, ...authority }),
    },
    intermediate: fakeCertificate({ subject: middleName, publicKey: middle, ...authority }),
  };
  authoritiesByDates.set(valid, authorities);
  return authorities;
}

function fakeCertificates(options: FakeTpmOptions): FakeTpmCertificates {
  const { root, intermediate } = fakeAuthorities(options.dates);
  const middleSigns = { issuer: middleName, signingKey: keyPair('intermediate', 'P-256').privateKey, scheme };
  const ekCertificate = fakeCertificate({
    ...{ subject: { CN: 'ek' }, publicKey: keyPair('ek', options.ekKind).publicKey, ...middleSigns, ...options.dates },
    extensions: options.ekExtensions,
  });
  const ak = fakeCertificate({
    ...{ subject: { CN: 'ak' }, ...middleSigns, ...options.dates, extensions: options.akExtensions },
    publicKey: options.certified ?? keyPair('ak', options.akKind).publicKey,
  });
  return { root, intermediate, ekCertificate, akCertificate: Uint8Array.from([...ak, ...intermediate]) };
}

/** TPM2_ActivateCredential, as the specification has it: undefined where the integrity check fails. */
export function activateCredential(
  endorsementKey: KeyPair,
  akName: Uint8Array,
  credential: { readonly blob: Uint8Array; readonly secret: Uint8Array },
): Uint8Array | undefined {
  const { hash, aesBits } = credentialProfile(endorsementKey.publicKey);
  const encrypted = new TpmReader(credential.secret, 'secret').sized(1024);
  const seed = openSeed(endorsementKey, hash, encrypted);
  const idObject = new TpmReader(new TpmReader(credential.blob, 'blob').sized(1024), 'id object');
  const integrity = idObject.sized(64);
  const identity = idObject.rest();
  const kdf = (label: string, context: Uint8Array, bits: number): Uint8Array => {
    const input = new TpmWriter()
      .u32(1)
      .bytes(Buffer.from(`${label}\0`))
      .bytes(context)
      .u32(bits)
      .finish();
    return createHmac(hash.name, seed)
      .update(input)
      .digest()
      .subarray(0, bits / 8);
  };
  const key = kdf('INTEGRITY', new Uint8Array(0), hash.digestBytes * 8);
  const expected = createHmac(hash.name, key).update(identity).update(akName).digest();
  if (Buffer.compare(expected, integrity) !== 0) return undefined;
  const storage = kdf('STORAGE', akName, aesBits);
  // CFB decrypts by encrypting what came before: a zero block here, then each block of ciphertext.
  const stream = new Uint8Array(Math.ceil(identity.length / 16) * 16);
  for (let at = 0; at < identity.length; at += 16) {
    const before = at === 0 ? new Uint8Array(16) : identity.subarray(at - 16, at);
    const block = createCipheriv(`aes-${aesBits}-ecb`, storage, null).setAutoPadding(false).update(before);
    stream.set(block, at);
  }
  const plaintext = identity.map((byte, index) => byte ^ stream[index]!);
  const reader = new TpmReader(plaintext, 'identity');
  const secret = reader.sized(64);
  reader.end();
  return secret;
}

function openSeed({ privateKey, publicKey }: KeyPair, hash: TpmHash, encrypted: Uint8Array): Uint8Array {
  const label = Buffer.from('IDENTITY\0');
  if (privateKey.asymmetricKeyType === 'rsa') {
    const padding = constants.RSA_PKCS1_OAEP_PADDING;
    return privateDecrypt({ key: privateKey, padding, oaepHash: hash.name, oaepLabel: label }, encrypted);
  }
  const point = new TpmReader(encrypted, 'point');
  const area: PublicArea = {
    ...{ nameHash: sha256, attributes: 0, policy: new Uint8Array(0) },
    object: { ...publicObject(publicKey), x: point.sized(66), y: point.sized(66) } as PublicArea['object'],
  };
  const ephemeral = publicKeyOf(area);
  const z = diffieHellman({ privateKey, publicKey: ephemeral });
  const x = (key: KeyObject): Uint8Array => Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url');
  const input = new TpmWriter().u32(1).bytes(z).bytes(label).bytes(x(ephemeral)).bytes(x(publicKey)).finish();
  return createHash(hash.name).update(input).digest();
}
