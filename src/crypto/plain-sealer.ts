/**
 * No protection, by name: units are copied as they are with a zero tag, and every unit opens. Only
 * volumes made with `--protection none` use it; it keeps the layout of a unit, so that the rest of
 * the engine has no second path.
 */
import { assert } from '../lib/assert.ts';
import type { Region } from '../lib/region.ts';
import { checkKey, checkOpen, checkSeal } from './sealer-checks.ts';
import type { Sealer, SealingKey } from './sealer.ts';
import { tagBytes } from './sealer.ts';

export const plainSealer: Sealer = {
  name: 'none',
  createKey: (key) => {
    checkKey(key);
    return new PlainSealingKey();
  },
};

class PlainSealingKey implements SealingKey {
  #live = true;

  seal(slot: number, block: number, length: number, source: Region, sourceOffset: number, target: Region, targetOffset: number): void {
    checkSeal(slot, block, length, source, sourceOffset, target, targetOffset);
    assert(this.#live, 'a destroyed key seals nothing');
    target.bytes.set(source.bytes.subarray(sourceOffset, sourceOffset + length), targetOffset);
    target.bytes.fill(0, targetOffset + length, targetOffset + length + tagBytes);
  }

  open(slot: number, block: number, length: number, source: Region, sourceOffset: number, target: Region, targetOffset: number): boolean {
    checkOpen(slot, block, length, source, sourceOffset, target, targetOffset);
    assert(this.#live, 'a destroyed key opens nothing');
    target.bytes.set(source.bytes.subarray(sourceOffset, sourceOffset + length), targetOffset);
    return true;
  }

  destroy(): void {
    this.#live = false;
  }
}
