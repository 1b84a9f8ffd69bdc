/** PinnedNumbers: which manifests are pinned, asked once for each object that might be deleted. */
import type { Pin } from './manifest-format.ts';

export class PinnedNumbers {
  readonly #numbers: readonly number[];

  constructor(pins: readonly Pin[]) {
    this.#numbers = [...new Set(pins.map((pin) => pin.number))].sort((left, right) => left - right);
  }

  /** Whether a pinned manifest has birth <= number < death: whether it needs an object that lived that long. */
  anyIn(birth: number, death: number): boolean {
    let low = 0;
    let high = this.#numbers.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#numbers[middle]! < birth) low = middle + 1;
      else high = middle;
    }
    return low < this.#numbers.length && this.#numbers[low]! < death;
  }

  has(number: number): boolean {
    return this.anyIn(number, number + 1);
  }
}
