/**
 * Answers of the KBS protocol: a secret sealed to the key that the evidence names, as flattened JWE
 * (spec/kbs.md, "Answers"; RFC 7516, 7518 and 7638).
 *
 * The protected header is written with its members in alphabetical order and without spaces: one client in
 * the field makes the additional data from the header as it would have written it, not as it was sent.
 */
import {
  constants,
  createCipheriv,
  createDecipheriv,
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  privateDecrypt,
  publicEncrypt,
  type KeyObject,
  type webcrypto,
} from 'node:crypto';
import { CaissonError } from '../../lib/errors.ts';
import type { Random } from '../../lib/random.ts';

/** The public key of a workload, as the protocol writes it. */
export interface TeePublicKey {
  readonly kty: 'EC' | 'RSA';
  readonly alg: 'ECDH-ES+A256KW' | 'RSA-OAEP-256';
  readonly crv?: string;
  readonly x?: string;
  readonly y?: string;
  readonly n?: string;
  readonly e?: string;
}

export interface Jwe {
  readonly protected: string;
  readonly encrypted_key: string;
  readonly iv: string;
  readonly ciphertext: string;
  readonly tag: string;
}

const contentAlgorithm = 'A256GCM';
const contentKeyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
const curves: Readonly<Record<string, string>> = { 'P-256': 'prime256v1', 'P-521': 'secp521r1' };
/** Of RSA keys: what is weaker protects nothing, what is longer only costs time. */
const rsaBitsMin = 2048;
const rsaBitsMax = 8192;
/** RFC 3394, 2.2.3.1. */
const wrapInitialValue = Buffer.alloc(8, 0xa6);

/** The key as a key. `evidence-invalid` for one that this protocol does not know. */
export function readTeePublicKey(jwk: TeePublicKey): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: jwk, format: 'jwk' });
  } catch (error) {
    throw unusableKey('it is no key', error);
  }
  if (jwk.kty === 'EC' && jwk.alg === 'ECDH-ES+A256KW' && Object.hasOwn(curves, jwk.crv ?? '')) return key;
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (jwk.kty === 'RSA' && jwk.alg === 'RSA-OAEP-256' && bits >= rsaBitsMin && bits <= rsaBitsMax) return key;
  throw unusableKey('only ECDH-ES+A256KW on P-256 or P-521, and RSA-OAEP-256 with 2048 to 8192 bits are known');
}

export function sealJwe(plaintext: Uint8Array, recipient: TeePublicKey, random: Random): Jwe {
  const key = readTeePublicKey(recipient);
  const contentKey = Buffer.from(random.bytes(contentKeyBytes));
  try {
    const { header, encryptedKey } =
      recipient.kty === 'EC' ? wrapByAgreement(contentKey, key, recipient) : wrapByRsa(contentKey, key);
    const encodedHeader = Buffer.from(JSON.stringify(header)).toString('base64url');
    const nonce = random.bytes(nonceBytes);
    const cipher = createCipheriv('aes-256-gcm', contentKey, nonce, { authTagLength: tagBytes });
    cipher.setAAD(Buffer.from(encodedHeader, 'ascii'));
    const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
    return {
      protected: encodedHeader,
      encrypted_key: encryptedKey.toString('base64url'),
      iv: Buffer.from(nonce).toString('base64url'),
      ciphertext: ciphertext.toString('base64url'),
      tag: cipher.getAuthTag().toString('base64url'),
    };
  } finally {
    contentKey.fill(0);
  }
}

/** `broker-untrusted` for whatever was not sealed to this key. */
export function openJwe(jwe: Jwe, privateKey: KeyObject): Uint8Array {
  let contentKey: Buffer | undefined;
  try {
    const header = JSON.parse(Buffer.from(jwe.protected, 'base64url').toString()) as ProtectedHeader;
    if (header.enc !== contentAlgorithm) throw new Error(`content is sealed by ${JSON.stringify(header.enc)}`);
    const encryptedKey = Buffer.from(jwe.encrypted_key, 'base64url');
    contentKey =
      header.alg === 'RSA-OAEP-256'
        ? unwrapByRsa(encryptedKey, privateKey)
        : unwrapByAgreement(encryptedKey, header, privateKey);
    const nonce = Buffer.from(jwe.iv, 'base64url');
    const tag = Buffer.from(jwe.tag, 'base64url');
    if (contentKey.length !== contentKeyBytes || nonce.length !== nonceBytes || tag.length !== tagBytes)
      throw new Error('a part has a wrong length');
    const decipher = createDecipheriv('aes-256-gcm', contentKey, nonce, { authTagLength: tagBytes });
    decipher.setAAD(Buffer.from(jwe.protected, 'ascii'));
    decipher.setAuthTag(tag);
    return new Uint8Array(Buffer.concat([decipher.update(Buffer.from(jwe.ciphertext, 'base64url')), decipher.final()]));
  } catch (error) {
    throw new CaissonError('integrity', 'broker-untrusted', 'the answer was not sealed to the key of this workload', {
      remedy: 'Check that nothing between this machine and the key broker changes its answers.',
      cause: error,
    });
  } finally {
    contentKey?.fill(0);
  }
}

interface ProtectedHeader {
  readonly alg?: unknown;
  readonly enc?: unknown;
  readonly epk?: webcrypto.JsonWebKey;
}

interface WrappedKey {
  readonly header: Readonly<Record<string, unknown>>;
  readonly encryptedKey: Buffer;
}

function wrapByAgreement(contentKey: Buffer, recipient: KeyObject, { crv = '' }: TeePublicKey): WrappedKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: curves[crv]! });
  const { x, y } = publicKey.export({ format: 'jwk' });
  const wrappingKey = agreedKey(privateKey, recipient);
  try {
    const cipher = createCipheriv('id-aes256-wrap', wrappingKey, wrapInitialValue);
    const encryptedKey = Buffer.concat([cipher.update(contentKey), cipher.final()]);
    return { header: { alg: 'ECDH-ES+A256KW', enc: contentAlgorithm, epk: { crv, kty: 'EC', x, y } }, encryptedKey };
  } finally {
    wrappingKey.fill(0);
  }
}

function unwrapByAgreement(encryptedKey: Buffer, header: ProtectedHeader, privateKey: KeyObject): Buffer {
  if (header.alg !== 'ECDH-ES+A256KW' || typeof header.epk !== 'object') throw new Error('another way of sealing');
  const ephemeral = createPublicKey({ key: header.epk, format: 'jwk' });
  const wrappingKey = agreedKey(privateKey, ephemeral);
  try {
    const decipher = createDecipheriv('id-aes256-wrap', wrappingKey, wrapInitialValue);
    return Buffer.concat([decipher.update(encryptedKey), decipher.final()]);
  } finally {
    wrappingKey.fill(0);
  }
}

/** Concat KDF with SHA-256: one round, 256 bits, empty party information (RFC 7518, 4.6.2). */
function agreedKey(privateKey: KeyObject, publicKey: KeyObject): Buffer {
  const secret = diffieHellman({ privateKey, publicKey });
  const algorithm = Buffer.from('ECDH-ES+A256KW');
  const lengths = Buffer.alloc(12);
  lengths.writeUInt32BE(contentKeyBytes * 8, 8);
  const hash = createHash('sha256').update(uint32(1)).update(secret).update(uint32(algorithm.length)).update(algorithm);
  secret.fill(0);
  return hash.update(lengths).digest();
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function wrapByRsa(contentKey: Buffer, key: KeyObject): WrappedKey {
  const encryptedKey = publicEncrypt(
    { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' },
    contentKey,
  );
  return { header: { alg: 'RSA-OAEP-256', enc: contentAlgorithm }, encryptedKey };
}

function unwrapByRsa(encryptedKey: Buffer, key: KeyObject): Buffer {
  return privateDecrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, encryptedKey);
}

function unusableKey(reason: string, cause?: unknown): CaissonError {
  return new CaissonError('invalid', 'evidence-invalid', `tee-pubkey cannot be used: ${reason}`, {
    remedy: 'Use an EC key on P-256 with ECDH-ES+A256KW.',
    ...(cause === undefined ? {} : { cause }),
  });
}
