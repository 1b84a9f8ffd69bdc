/**
 * The key derivations and the parameter cipher of TPM 2.0 (Part 1, "KDFa", "KDFe", "CFB Mode Parameter
 * Encryption"), with SHA-256 and AES-128: what our sessions and salts use. Pure.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac } from 'node:crypto';
import { plainBytes } from '../crypto/digest.ts';
import { TpmWriter } from '../wire/tpm/codec.ts';

const encoder = new TextEncoder();
const aesKeyBytes = 16;
const aesBlockBytes = 16;

/** One block of KDFa: 32 bytes are all that anything here needs. */
export function kdfA(key: Uint8Array, label: string, contextU: Uint8Array, contextV: Uint8Array): Uint8Array {
  const message = new TpmWriter()
    .u32(1)
    .bytes(encoder.encode(`${label}\0`))
    .bytes(contextU)
    .bytes(contextV)
    .u32(256);
  return plainBytes(createHmac('sha256', key).update(message.finish()).digest());
}

/** One block of KDFe. */
export function kdfE(secret: Uint8Array, use: string, partyU: Uint8Array, partyV: Uint8Array): Uint8Array {
  const message = new TpmWriter()
    .u32(1)
    .bytes(secret)
    .bytes(encoder.encode(`${use}\0`))
    .bytes(partyU)
    .bytes(partyV);
  return plainBytes(createHash('sha256').update(message.finish()).digest());
}

export interface ParameterNonces {
  readonly newer: Uint8Array;
  readonly older: Uint8Array;
}

export function encryptParameter(secret: Uint8Array, nonces: ParameterNonces, plaintext: Uint8Array): Uint8Array {
  const { key, iv } = parameterKey(secret, nonces);
  return plainBytes(createCipheriv('aes-128-cfb', key, iv).update(plaintext));
}

export function decryptParameter(secret: Uint8Array, nonces: ParameterNonces, ciphertext: Uint8Array): Uint8Array {
  const { key, iv } = parameterKey(secret, nonces);
  return plainBytes(createDecipheriv('aes-128-cfb', key, iv).update(ciphertext));
}

function parameterKey(secret: Uint8Array, { newer, older }: ParameterNonces): { key: Uint8Array; iv: Uint8Array } {
  const bytes = kdfA(secret, 'CFB', newer, older);
  return { key: bytes.subarray(0, aesKeyBytes), iv: bytes.subarray(aesKeyBytes, aesKeyBytes + aesBlockBytes) };
}
