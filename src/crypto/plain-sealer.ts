/**
 * No protection, by name: units are copied as they are, and the first four bytes of the tag are the
 * CRC-32 of (nonce || plaintext). That shows a torn or misplaced unit, so recovery works as it does for sealed
 * volumes, and accidental damage; it shows nothing to or of an adversary. Only volumes made with
 * `--protection none` use it; it keeps the layout of a unit, so that the engine has no second path.
 */
import { crc32 } from 'node:zlib';
import { assert } from '../lib/assert.ts';
import type { Region } from '../lib/region.ts';
import { checkKey, checkOpen, checkSeal, writeNonce } from './sealer-checks.ts';
import type { Sealer, SealingKey } from './sealer.ts';
import { nonceBytes, tagBytes } from './sealer.ts';

export const plainSealer: Sealer = {
  name: 'none',
  createKey: (key) => {
    checkKey(key);
    return new PlainSealingKey();
  },
};

const nonce = new Uint8Array(nonceBytes);
const nonceView = new DataView(nonce.buffer);

class PlainSealingKey implements SealingKey {
  #live = true;

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
    assert(this.#live, 'a destroyed key seals nothing');
    const plaintext = source.bytes.subarray(sourceOffset, sourceOffset + length);
    target.bytes.set(plaintext, targetOffset);
    const tagOffset = targetOffset + length;
    target.bytes.fill(0, tagOffset, tagOffset + tagBytes);
    const checksum = checksumOf(slot, block, plaintext);
    for (let byte = 0; byte < 4; byte++) target.bytes[tagOffset + byte] = checksum >>> (8 * byte);
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
    assert(this.#live, 'a destroyed key opens nothing');
    // Copied first, then checked: what is checked is what the caller gets.
    target.bytes.set(source.bytes.subarray(sourceOffset, sourceOffset + length), targetOffset);
    const checksum = checksumOf(slot, block, target.bytes.subarray(targetOffset, targetOffset + length));
    const tagOffset = sourceOffset + length;
    for (let byte = 0; byte < tagBytes; byte++) {
      if (source.bytes[tagOffset + byte] !== (byte < 4 ? (checksum >>> (8 * byte)) & 0xff : 0)) {
        target.bytes.fill(0, targetOffset, targetOffset + length);
        return false;
      }
    }
    return true;
  }

  destroy(): void {
    this.#live = false;
  }
}

function checksumOf(slot: number, block: number, plaintext: Uint8Array): number {
  writeNonce(nonceView, slot, block);
  return crc32(plaintext, crc32(nonce));
}
