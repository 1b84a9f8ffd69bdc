/**
 * Boxes: small authenticated messages for metadata, where a copy costs nothing. Two kinds:
 * - sealBox: AES-256-GCM under a nonce the caller never repeats for a key; ciphertext || tag.
 * - wrapBox: AES-256-GCM-SIV under a random nonce stored in front; nonce || ciphertext || tag. For
 *   wrapping keys: should randomness fail and a nonce repeat, only equal plaintexts would show.
 * Additional data is authenticated, not stored: both sides build it from where the box lies.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { assert } from '../lib/assert.ts';
import type { Random } from '../lib/random.ts';
import { plainBytes } from './digest.ts';
import { keyBytes, nonceBytes, tagBytes } from './sealer.ts';

export const wrapOverheadBytes = nonceBytes + tagBytes;

type BoxCipher = 'aes-256-gcm' | 'aes-256-gcm-siv';

export function sealBox(key: Uint8Array, nonce: Uint8Array, additional: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const box = new Uint8Array(plaintext.length + tagBytes);
  encryptInto(box, 'aes-256-gcm', key, nonce, additional, plaintext);
  return box;
}

/** The plaintext, or undefined when key, nonce, additional data or box are not the sealed ones. */
export function openBox(
  key: Uint8Array,
  nonce: Uint8Array,
  additional: Uint8Array,
  box: Uint8Array,
): Uint8Array | undefined {
  return decrypt('aes-256-gcm', key, nonce, additional, box);
}

export function wrapBox(key: Uint8Array, additional: Uint8Array, plaintext: Uint8Array, random: Random): Uint8Array {
  // OpenSSL's GCM-SIV takes no empty message; nothing Caisson wraps is empty.
  assert(plaintext.length > 0, 'a wrapped message is not empty');
  const nonce = random.bytes(nonceBytes);
  const box = new Uint8Array(nonceBytes + plaintext.length + tagBytes);
  box.set(nonce);
  encryptInto(box.subarray(nonceBytes), 'aes-256-gcm-siv', key, nonce, additional, plaintext);
  return box;
}

/** The plaintext, or undefined when key, additional data or box are not the wrapped ones. */
export function unwrapBox(key: Uint8Array, additional: Uint8Array, box: Uint8Array): Uint8Array | undefined {
  if (box.length <= wrapOverheadBytes) return undefined;
  return decrypt('aes-256-gcm-siv', key, box.subarray(0, nonceBytes), additional, box.subarray(nonceBytes));
}

function encryptInto(
  target: Uint8Array,
  name: BoxCipher,
  key: Uint8Array,
  nonce: Uint8Array,
  additional: Uint8Array,
  plaintext: Uint8Array,
): void {
  checkInputs(key, nonce);
  const cipher = createCipheriv(name as 'aes-256-gcm', key, nonce, { authTagLength: tagBytes });
  cipher.setAAD(additional);
  const ciphertext = cipher.update(plaintext);
  const rest = cipher.final();
  assert(ciphertext.length === plaintext.length && rest.length === 0, 'a box keeps the length');
  target.set(ciphertext);
  target.set(cipher.getAuthTag(), ciphertext.length);
}

function decrypt(
  name: BoxCipher,
  key: Uint8Array,
  nonce: Uint8Array,
  additional: Uint8Array,
  box: Uint8Array,
): Uint8Array | undefined {
  checkInputs(key, nonce);
  if (box.length < tagBytes) return undefined;
  const length = box.length - tagBytes;
  const decipher = createDecipheriv(name as 'aes-256-gcm', key, nonce, { authTagLength: tagBytes });
  decipher.setAAD(additional);
  decipher.setAuthTag(box.subarray(length));
  return finish(decipher, box.subarray(0, length));
}

/** GCM reports a wrong tag from `final`, GCM-SIV already from `update`. Neither throws for other reasons here. */
function finish(
  decipher: { update(bytes: Uint8Array): Uint8Array; final(): Uint8Array },
  ciphertext: Uint8Array,
): Uint8Array | undefined {
  let plaintext: Uint8Array | undefined;
  try {
    plaintext = decipher.update(ciphertext);
    decipher.final();
    return plainBytes(plaintext);
  } catch {
    plaintext?.fill(0);
    return undefined;
  }
}

function checkInputs(key: Uint8Array, nonce: Uint8Array): void {
  assert(key.length === keyBytes, 'a box key has 32 bytes');
  assert(nonce.length === nonceBytes, 'a box nonce has 12 bytes');
}
