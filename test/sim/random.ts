/**
 * The seeded generator of the simulator: xoshiro128**, its state filled by splitmix32. One seed gives
 * one sequence on every machine. Never for keys.
 */
import type { Random } from '../../src/lib/random.ts';

export class SeededRandom implements Random {
  readonly seed: number;
  readonly #state = new Uint32Array(4);

  constructor(seed: number) {
    this.seed = seed >>> 0;
    let mix = this.seed;
    for (let index = 0; index < 4; index++) {
      mix = (mix + 0x9e3779b9) >>> 0;
      let word = mix;
      word = Math.imul(word ^ (word >>> 16), 0x21f0aaad);
      word = Math.imul(word ^ (word >>> 15), 0x735a2d97);
      this.#state[index] = word ^ (word >>> 15);
    }
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let index = 0; index < length; index += 4) {
      const word = this.next();
      for (let byte = 0; byte < 4 && index + byte < length; byte++) bytes[index + byte] = word >>> (8 * byte);
    }
    return bytes;
  }

  /** 32 fresh bits. */
  next(): number {
    const state = this.#state;
    const second = state[1]!;
    const result = Math.imul(rotateLeft(Math.imul(second, 5), 7), 9) >>> 0;
    state[2]! ^= state[0]!;
    state[3]! ^= second;
    state[1]! ^= state[2]!;
    state[0]! ^= state[3]!;
    state[2]! ^= second << 9;
    state[3] = rotateLeft(state[3]!, 11);
    return result;
  }

  /** 0 <= result < `limit`; the bias of the remainder does not matter to a test. */
  below(limit: number): number {
    return limit <= 1 ? 0 : this.next() % limit;
  }

  between(min: number, max: number): number {
    return min + this.below(max - min + 1);
  }

  /** True once in `count` on average; never for 0. */
  oneIn(count: number): boolean {
    return count > 0 && this.below(count) === 0;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  /** A generator of its own, so that one part of a run drawing more does not shift the others. */
  fork(): SeededRandom {
    return new SeededRandom(this.next());
  }
}

function rotateLeft(word: number, count: number): number {
  return (word << count) | (word >>> (32 - count));
}
