/**
 * TPM2_MakeCredential without a TPM (spec/attestation-tpm.md, "Credential"): a secret that only the TPM with
 * this endorsement key gives back, and only while it holds an object of this name.
 */
import {
  constants,
  createCipheriv,
  createHash,
  createHmac,
  diffieHellman,
  generateKeyPairSync,
  publicEncrypt,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import { assert } from '../../../lib/assert.ts';
import { evidenceInvalid } from '../../../wire/evidence.ts';
import { Algorithm, tpmHash, type TpmHash } from '../../../wire/tpm/algorithms.ts';
import { TpmWriter } from '../../../wire/tpm/codec.ts';

export interface Credential {
  /** TPM2B_ID_OBJECT. */
  readonly blob: Uint8Array;
  /** TPM2B_ENCRYPTED_SECRET. */
  readonly secret: Uint8Array;
}

/** What the profile of an endorsement key fixes, beside the key. */
export interface CredentialProfile {
  readonly hash: TpmHash;
  readonly aesBits: 128 | 256;
}

const label = 'IDENTITY\0';
const none = new Uint8Array(0);

/** `evidence-invalid` for a key that no endorsement key profile knows. At most `hash.digestBytes` of `secret` fit. */
export function makeCredential(endorsementKey: KeyObject, akName: Uint8Array, secret: Uint8Array): Credential {
  const profile = credentialProfile(endorsementKey);
  const { hash } = profile;
  assert(secret.length > 0 && secret.length <= hash.digestBytes, 'the secret of a credential fits the name hash');
  const { seed, encrypted } = sharedSeed(endorsementKey, hash);
  const identity = encryptIdentity(profile, seed, akName, new TpmWriter().sized(secret).finish());
  const integrityKey = kdfA(hash, seed, 'INTEGRITY\0', none, hash.digestBytes * 8);
  const integrity = createHmac(hash.name, integrityKey).update(identity).update(akName).digest();
  seed.fill(0);
  const idObject = new TpmWriter().sized(integrity).bytes(identity).finish();
  return { blob: new TpmWriter().sized(idObject).finish(), secret: new TpmWriter().sized(encrypted).finish() };
}

/** By the TCG EK Credential Profile: name hash and cipher follow from kind and size of the key. */
export function credentialProfile(endorsementKey: KeyObject): CredentialProfile {
  const { modulusLength, namedCurve } = endorsementKey.asymmetricKeyDetails ?? {};
  const kind = endorsementKey.asymmetricKeyType === 'rsa' ? `rsa ${modulusLength}` : (namedCurve ?? '');
  const profile = profiles[kind];
  if (profile === undefined) throw evidenceInvalid('no endorsement key is of this kind', { check: 'ek-kind' });
  return { hash: tpmHash(profile.hash)!, aesBits: profile.aesBits };
}

const profiles: Readonly<Record<string, { readonly hash: number; readonly aesBits: 128 | 256 }>> = {
  'rsa 2048': { hash: Algorithm.sha256, aesBits: 128 },
  'rsa 3072': { hash: Algorithm.sha384, aesBits: 256 },
  'rsa 4096': { hash: Algorithm.sha384, aesBits: 256 },
  prime256v1: { hash: Algorithm.sha256, aesBits: 128 },
  secp384r1: { hash: Algorithm.sha384, aesBits: 256 },
  secp521r1: { hash: Algorithm.sha512, aesBits: 256 },
};

function encryptIdentity(
  { hash, aesBits }: CredentialProfile,
  seed: Uint8Array,
  akName: Uint8Array,
  plaintext: Uint8Array,
): Uint8Array {
  const key = kdfA(hash, seed, 'STORAGE\0', akName, aesBits);
  // The key is used once, so that the fixed vector of the specification gives nothing away.
  const encrypted = createCipheriv(`aes-${aesBits}-cfb`, key, new Uint8Array(16)).update(plaintext);
  key.fill(0);
  return encrypted;
}

/** The seed, and what lets the holder of the endorsement key find it again. */
function sharedSeed(endorsementKey: KeyObject, hash: TpmHash): { seed: Uint8Array; encrypted: Uint8Array } {
  if (endorsementKey.asymmetricKeyType === 'rsa') {
    const seed = Uint8Array.from(randomBytes(hash.digestBytes));
    const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: hash.name, oaepLabel: Buffer.from(label) };
    return { seed, encrypted: publicEncrypt({ key: endorsementKey, ...oaep }, seed) };
  }
  const namedCurve = endorsementKey.asymmetricKeyDetails?.namedCurve ?? '';
  const ephemeral = generateKeyPairSync('ec', { namedCurve });
  const z = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: endorsementKey });
  const point = coordinates(ephemeral.publicKey);
  const seed = kdfE(hash, z, point.x, coordinates(endorsementKey).x);
  z.fill(0);
  return { seed, encrypted: new TpmWriter().sized(point.x).sized(point.y).finish() };
}

function coordinates(key: KeyObject): { x: Uint8Array; y: Uint8Array } {
  const { x = '', y = '' } = key.export({ format: 'jwk' });
  return { x: Buffer.from(x, 'base64url'), y: Buffer.from(y, 'base64url') };
}

/** KDFa (Part 1, "KDFa()"), of at most one digest: all that a credential needs. */
function kdfA(hash: TpmHash, key: Uint8Array, use: string, contextU: Uint8Array, bits: number): Uint8Array {
  assert(bits <= hash.digestBytes * 8, 'one round of KDFa');
  const message = new TpmWriter().u32(1).bytes(Buffer.from(use)).bytes(contextU).u32(bits).finish();
  return createHmac(hash.name, key)
    .update(message)
    .digest()
    .subarray(0, bits / 8);
}

/** KDFe (Part 1, "KDFe()"), of one digest. */
function kdfE(hash: TpmHash, z: Uint8Array, partyU: Uint8Array, partyV: Uint8Array): Uint8Array {
  const message = new TpmWriter().u32(1).bytes(z).bytes(Buffer.from(label)).bytes(partyU).bytes(partyV).finish();
  return createHash(hash.name).update(message).digest();
}
