/**
 * Ed25519 signatures (RFC 8032) from a 32-byte seed, and the volume id that a public key implies.
 *
 * node:crypto takes keys only in DER; the constant prefixes below are the whole of PKCS #8 and SPKI
 * for Ed25519 (RFC 8410) up to the 32 bytes that follow.
 */
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { assert } from '../lib/assert.ts';
import { plainBytes, sha256 } from './digest.ts';

export const seedBytes = 32;
export const publicKeyBytes = 32;
export const signatureBytes = 64;
export const volumeIdBytes = 16;

const privatePrefix = Uint8Array.from([
  0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
]);
const publicPrefix = Uint8Array.from([0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00]);
const volumeIdPrefix = new TextEncoder().encode('caisson volume id v1\0');

export interface SigningKey {
  readonly publicKey: Uint8Array;
  sign(bytes: Uint8Array): Uint8Array;
}

export function signingKeyFromSeed(seed: Uint8Array): SigningKey {
  assert(seed.length === seedBytes, 'a signing seed has 32 bytes');
  const encoded = join(privatePrefix, seed);
  const privateKey = createPrivateKey({ key: Buffer.from(encoded.buffer), format: 'der', type: 'pkcs8' });
  encoded.fill(0);
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  const publicKey = Uint8Array.from(spki.subarray(publicPrefix.length));
  assert(publicKey.length === publicKeyBytes, 'an Ed25519 public key has 32 bytes');
  return {
    publicKey,
    sign: (bytes) => plainBytes(sign(null, bytes, privateKey)),
  };
}

/** Whether `signature` is the holder's of `publicKey` over `bytes`; false for anything malformed. */
export function verifySignature(publicKey: Uint8Array, bytes: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== publicKeyBytes || signature.length !== signatureBytes) return false;
  const key = publicKeyFrom(publicKey);
  return key !== undefined && verify(null, bytes, key, signature);
}

/** The volume id: the first 16 bytes of SHA-256("caisson volume id v1" 0x00 publicKey). */
export function volumeIdFromPublicKey(publicKey: Uint8Array): Uint8Array {
  assert(publicKey.length === publicKeyBytes, 'an Ed25519 public key has 32 bytes');
  return sha256(volumeIdPrefix, publicKey).subarray(0, volumeIdBytes);
}

function publicKeyFrom(publicKey: Uint8Array): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.from(join(publicPrefix, publicKey).buffer), format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}

function join(prefix: Uint8Array, key: Uint8Array): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(prefix.length + key.length);
  joined.set(prefix);
  joined.set(key, prefix.length);
  return joined;
}
