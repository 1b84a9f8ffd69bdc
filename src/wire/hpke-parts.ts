/**
 * HKDF-SHA256 and AES-256-GCM for HPKE (RFC 9180, 7.2 and 7.3), computed in this thread. A message of a few hundred bytes takes some
 * microseconds so, and twenty times as long where each of its dozen HMACs goes through Web Cryptography and its threads.
 *
 * The same bytes as the package's own parts give: envelope.test.ts compares them in both directions.
 */
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import { AEAD_AES_256_GCM, KDF_HKDF_SHA256 } from 'hpke';
import type { AEAD, KDF } from 'hpke';
import { plainBytes } from '../crypto/digest.ts';
import { assert } from '../lib/assert.ts';

const hashBytes = 32;
const noSalt = new Uint8Array(hashBytes);
/** RFC 5869, 2.3: one byte counts the blocks. */
const blocksMax = 255;

export function hkdfSha256(): KDF {
  return {
    ...KDF_HKDF_SHA256(),
    Extract: async (salt, ikm) => hmac(salt.length === 0 ? noSalt : salt, ikm),
    Expand: async (prk, info, length) => expand(prk, info, length),
  };
}

export function aes256Gcm(): AEAD {
  return {
    ...AEAD_AES_256_GCM(),
    Seal: async (key, nonce, additional, plaintext) => {
      const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes });
      cipher.setAAD(additional);
      const sealed = new Uint8Array(plaintext.length + tagBytes);
      sealed.set(cipher.update(plaintext));
      assert(cipher.final().length === 0, 'GCM keeps the length');
      sealed.set(cipher.getAuthTag(), plaintext.length);
      return sealed;
    },
    Open: async (key, nonce, additional, sealed) => {
      if (sealed.length < tagBytes) throw new RangeError('shorter than its tag');
      const end = sealed.length - tagBytes;
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes });
      decipher.setAAD(additional);
      decipher.setAuthTag(sealed.subarray(end));
      const plaintext = decipher.update(sealed.subarray(0, end));
      decipher.final();
      return plainBytes(plaintext);
    },
  };
}

const tagBytes = 16;

function expand(prk: Uint8Array, info: Uint8Array, length: number): Uint8Array {
  assert(prk.length >= hashBytes && length <= blocksMax * hashBytes, 'HKDF expands a whole hash, and not without end');
  const expanded = new Uint8Array(Math.ceil(length / hashBytes) * hashBytes);
  let last = new Uint8Array(0);
  for (let block = 1; (block - 1) * hashBytes < length; block++) {
    const input = new Uint8Array(last.length + info.length + 1);
    input.set(last);
    input.set(info, last.length);
    input[input.length - 1] = block;
    last = hmac(prk, input);
    expanded.set(last, (block - 1) * hashBytes);
  }
  return expanded.subarray(0, length);
}

function hmac(key: Uint8Array, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(createHmac('sha256', key).update(bytes).digest());
}
