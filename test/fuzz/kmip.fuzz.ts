/** Changed KMIP answers: what decodes encodes to the same bytes, a key comes only out of an answer that holds one, all else is named. */
import assert from 'node:assert/strict';
import { decodeCreated, decodeKey, encodeCreate, encodeGet, KmipRefusal } from '../../src/keys/kmip-messages.ts';
import { decodeTtlv, encodeTtlv } from '../../src/keys/kmip-ttlv.ts';
import type { TtlvItem } from '../../src/keys/kmip-ttlv.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  const states = [encodeCreate('name'), encodeGet('id'), keyAnswer(random.bytes(32))];
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    const mutant = mutated(states[random.below(states.length)]!, random);
    named(() => assert.equal(Buffer.compare(encodeTtlv(decodeTtlv(mutant)), mutant), 0, where), where);
    named(() => assert.ok(decodeKey(mutant, 'id').length <= mutant.length, where), where);
    named(() => assert.equal(typeof decodeCreated(mutant), 'string', where), where);
  }
}

function named(call: () => unknown, where: string): void {
  try {
    call();
  } catch (error) {
    if (error instanceof KmipRefusal) return;
    assert.ok(error instanceof CaissonError && error.code === 'format-invalid', `${where}: ${String(error)}`);
  }
}

function keyAnswer(key: Uint8Array): Uint8Array {
  const structure = (tag: number, ...value: TtlvItem[]): TtlvItem => ({ tag, type: 'structure', value });
  const number = (tag: number, value: number): TtlvItem => ({ tag, type: 'enumeration', value });
  const value = structure(0x420045, { tag: 0x420043, type: 'bytes', value: key });
  const payload = structure(
    0x42007c,
    number(0x420057, 2),
    { tag: 0x420094, type: 'text', value: 'id' },
    structure(0x42008f, structure(0x420040, number(0x420042, 1), value)),
  );
  const header = structure(0x42007a, { tag: 0x42000d, type: 'integer', value: 1 });
  const item = structure(0x42000f, number(0x42005c, 10), number(0x42007f, 0), payload);
  return encodeTtlv(structure(0x42007b, header, item));
}

function mutated(state: Uint8Array, random: SeededBytes): Uint8Array {
  let mutant = Uint8Array.from(state);
  for (let count = 1 + random.below(3); count > 0; count--) {
    const place = random.below(Math.max(mutant.length, 1));
    const kind = random.below(4);
    if (kind === 0) mutant = mutant.subarray(0, place);
    else if (kind === 1) mutant = Uint8Array.from([...mutant, ...random.bytes(8)]);
    else if (place < mutant.length)
      mutant[place] = kind === 2 ? random.below(16) : mutant[place]! ^ (1 << random.below(8));
  }
  return mutant;
}
