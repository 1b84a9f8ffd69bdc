/** What hardware and TPM memory may say: answers of the Nitro module and registers of anchors, changed at random. */
import assert from 'node:assert/strict';
import { decodeRegister, encodeRegister } from '../../src/anchor/tpm-register.ts';
import { documentOf } from '../../src/attester/nitro-source.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { seededBytes } from './seeded.ts';
import { mutated } from './vector-mutation.ts';

const answer = Uint8Array.of(
  ...Buffer.from('a16b4174746573746174696f6ea168646f63756d656e7458', 'hex'),
  ...[60, ...new Uint8Array(60).fill(7)],
);

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    attempt(where, () => void documentOf(mutated(answer, random)));
    const register = { counter: random.below(2 ** 32), digest: random.bytes(32) };
    const changed = mutated(encodeRegister(register), random);
    attempt(where, () => assert.deepEqual(encodeRegister(decodeRegister(changed)), changed, where));
  }
}

function attempt(where: string, decode: () => void): void {
  try {
    decode();
  } catch (error) {
    const codes = ['evidence-missing', 'anchor-tampered', 'format-version'];
    assert.ok(error instanceof CaissonError && codes.includes(error.code), `${where}: ${String(error)}`);
  }
}
