/**
 * The portable sealer: AES-256-GCM by node:crypto. Same bytes as openssl-sealer.ts, one cipher object
 * a unit. The key is a KeyObject because Node is several times slower with raw key bytes.
 */
import { createCipheriv, createDecipheriv, createSecretKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { assert } from '../lib/assert.ts';
import type { Region } from '../lib/region.ts';
import { checkKey, checkOpen, checkSeal, writeNonce } from './sealer-checks.ts';
import { nonceBytes, tagBytes } from './sealer.ts';
import type { Sealer, SealingKey } from './sealer.ts';

const algorithm = 'aes-256-gcm';
const options = { authTagLength: tagBytes };

export const nodeSealer: Sealer = {
  name: 'node-crypto',
  createKey: (key) => new NodeSealingKey(key),
};

class NodeSealingKey implements SealingKey {
  #key: KeyObject | undefined;
  // node:crypto copies the nonce when it makes the cipher, so one array serves every unit.
  readonly #nonce = new Uint8Array(nonceBytes);
  readonly #nonceView = new DataView(this.#nonce.buffer);

  constructor(key: Uint8Array) {
    checkKey(key);
    this.#key = createSecretKey(key);
  }

  seal(
    slot: number,
    block: number,
    length: number,
    source: Region,
    sourceOffset: number,
    target: Region,
    targetOffset: number,
  ): void {
    checkSeal(slot, block, length, source, sourceOffset, target, targetOffset);
    assert(this.#key !== undefined, 'a destroyed key seals nothing');
    writeNonce(this.#nonceView, slot, block);
    const cipher = createCipheriv(algorithm, this.#key, this.#nonce, options);
    const ciphertext = cipher.update(source.bytes.subarray(sourceOffset, sourceOffset + length));
    const rest = cipher.final();
    assert(ciphertext.length === length && rest.length === 0, 'GCM keeps the length');
    target.bytes.set(ciphertext, targetOffset);
    target.bytes.set(cipher.getAuthTag(), targetOffset + length);
  }

  open(
    slot: number,
    block: number,
    length: number,
    source: Region,
    sourceOffset: number,
    target: Region,
    targetOffset: number,
  ): boolean {
    checkOpen(slot, block, length, source, sourceOffset, target, targetOffset);
    assert(this.#key !== undefined, 'a destroyed key opens nothing');
    writeNonce(this.#nonceView, slot, block);
    const tagOffset = sourceOffset + length;
    const decipher = createDecipheriv(algorithm, this.#key, this.#nonce, options);
    decipher.setAuthTag(source.bytes.subarray(tagOffset, tagOffset + tagBytes));
    const plaintext = decipher.update(source.bytes.subarray(sourceOffset, tagOffset));
    assert(plaintext.length === length, 'GCM keeps the length');
    const authentic = isAuthentic(decipher);
    if (authentic) target.bytes.set(plaintext, targetOffset);
    else target.bytes.fill(0, targetOffset, targetOffset + length);
    plaintext.fill(0);
    return authentic;
  }

  /** node:crypto wipes the key when the KeyObject is collected; nothing here can do it earlier. */
  destroy(): void {
    this.#key = undefined;
  }
}

/** node:crypto reports a wrong tag by throwing from `final`, and throws there for nothing else. */
function isAuthentic(decipher: { final(): Uint8Array }): boolean {
  try {
    decipher.final();
    return true;
  } catch {
    return false;
  }
}
