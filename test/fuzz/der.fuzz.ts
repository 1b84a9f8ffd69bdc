/** Changed certificates and lists: read or refused by name, and what was read covers its bytes exactly. */
import assert from 'node:assert/strict';
import { CaissonError } from '../../src/lib/errors.ts';
import { derTag, parseDer, type DerValue } from '../../src/wire/der.ts';
import { seededBytes, type SeededBytes } from './seeded.ts';
import { mutated } from './vector-mutation.ts';

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const bytes = mutated(tree(random, random.below(8)), random);
    try {
      walk(parseDer(bytes));
    } catch (error) {
      const isNamed = error instanceof CaissonError && error.code === 'format-invalid';
      assert.ok(isNamed, `seed ${seed} iteration ${iteration}: ${String(error)}`);
    }
  }
}

/** Asks every value for everything: each getter answers or refuses by name. */
function walk(value: DerValue): void {
  assert.equal(Buffer.compare(value.bytes, encoded(value.tag, value.content)), 0, 'what is read has one form');
  const getters = [
    'boolean',
    'integerBytes',
    'number',
    'oid',
    'bitStringBytes',
    'bits',
    'text',
    'time',
    'null',
  ] as const;
  for (const getter of getters) {
    try {
      value[getter]();
    } catch (error) {
      assert.ok(error instanceof CaissonError && error.code === 'format-invalid', String(error));
    }
  }
  if (value.tag !== derTag.sequence && value.tag !== derTag.set) return;
  const fields = value.tag === derTag.set ? value.set() : value.sequence();
  let length = 0;
  for (const field of fields.rest()) {
    length += field.bytes.length;
    walk(field);
  }
  assert.equal(length, value.content.length);
}

const leaves = Object.values(derTag).filter((tag) => tag < 0x30);

function tree(random: SeededBytes, depth: number): Uint8Array {
  if (depth === 0 || random.below(4) === 0) {
    const tag = leaves[random.below(leaves.length)]!;
    if (random.below(3) > 0) return encoded(tag, random.bytes(random.below(20)));
    return encoded(derTag.utcTime, Buffer.from(`2${random.below(10)}0${random.below(10)}11010101Z`));
  }
  const parts = Array.from({ length: random.below(5) }, () => tree(random, depth - 1));
  return encoded(random.below(2) === 0 ? derTag.sequence : derTag.set, Buffer.concat(parts));
}

function encoded(tag: number, content: Uint8Array): Uint8Array {
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Uint8Array.of(tag, length), content]);
  const size = [16_777_216, 65_536, 256, 1]
    .filter((unit) => length >= unit)
    .map((unit) => Math.floor(length / unit) & 0xff);
  return Buffer.concat([Uint8Array.of(tag, 0x80 | size.length, ...size), content]);
}
