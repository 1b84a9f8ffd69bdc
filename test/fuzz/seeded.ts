/** Deterministic bytes from a seed, for fuzz targets: xoshiro128** over four words. Not for keys. */
import type { Random } from '../../src/lib/random.ts';

export interface SeededBytes extends Random {
  /** A whole number from 0 up to, not including, `limit` (at most 2^32). */
  below(limit: number): number;
}

export function seededBytes(seed: number): SeededBytes {
  const state = new Uint32Array([seed, seed ^ 0x9e3779b9, seed ^ 0x243f6a88, 0x85ebca6b]);
  for (let warm = 0; warm < 20; warm++) next(state);
  return {
    below: (limit) => next(state) % limit,
    bytes: (length) => Uint8Array.from({ length }, () => next(state) & 0xff),
  };
}

function next(state: Uint32Array): number {
  const [a = 0, b = 0, c = 0, d = 0] = state;
  const mixed = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
  const x = c ^ a;
  const y = d ^ b;
  state[0] = a ^ y;
  state[1] = b ^ x;
  state[2] = x ^ (b << 9);
  state[3] = rotate(y, 11);
  return mixed;
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
