/** Randomness, injected. `systemRandom` lives in crypto/random.ts because it needs node:crypto. */
export interface Random {
  /** `length` fresh bytes; cryptographically strong outside the simulator. */
  bytes(length: number): Uint8Array;
}
