/**
 * Changed keyrings: none may open, crash, or fail without a name. And body bytes after decryption:
 * what decodes must encode to the same bytes.
 */
import assert from 'node:assert/strict';
import { CaissonError } from '../../src/lib/errors.ts';
import { volumeIdFromPublicKey } from '../../src/crypto/signature.ts';
import { createKeyFileSource } from '../../src/keys/key-file.ts';
import type { KeySource } from '../../src/keys/key-source.ts';
import { createKeyring, openKeyring, readKeyringSlots } from '../../src/keys/keyring.ts';
import { decodeBody, encodeBody } from '../../src/keys/keyring-format.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

const refusals = new Set([
  'format-invalid',
  'format-version',
  'key-wrong',
  'key-slot-missing',
  'keyring-tampered',
  'key-parameters-weak',
]);

export async function fuzz(seed: number, iterations: number): Promise<void> {
  const random = seededBytes(seed);
  const source = createKeyFileSource({ content: random.bytes(32), random });
  const other = createKeyFileSource({ content: random.bytes(32), random });
  const keyring = await createKeyring({ source, random, volumeIdOf: volumeIdFromPublicKey, label: 'seed' });
  const states = [keyring.encode()];
  await keyring.addSlot(other, 'other');
  states.push(keyring.encode());
  keyring.addDataKey();
  states.push(keyring.encode());
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    const mutant = mutate(states[random.below(states.length)] ?? new Uint8Array(0), states, random);
    if (states.some((state) => Buffer.compare(state, mutant) === 0)) continue;
    await assertRefused(mutant, keyring.volumeId, source, where);
    assertCanonicalBody(random, where);
  }
}

async function assertRefused(
  mutant: Uint8Array,
  volumeId: Uint8Array,
  source: KeySource,
  where: string,
): Promise<void> {
  assertNamed(() => readKeyringSlots(mutant), where);
  try {
    await openKeyring(mutant, volumeId, source, { bytes: (length) => new Uint8Array(length) });
  } catch (error) {
    assert(error instanceof CaissonError && refusals.has(error.code), `${where}: ${String(error)}`);
    return;
  }
  assert.fail(`${where}: a changed keyring opened`);
}

function assertCanonicalBody(random: SeededBytes, where: string): void {
  const body = encodeBody({
    generation: 1 + random.below(1000),
    signingSeed: random.bytes(32),
    labels: ['a', ''],
    dataKeys: [{ epoch: 1 + random.below(3), key: random.bytes(32) }],
    inherited: [{ lineage: random.bytes(16), epoch: 1 + random.below(3), key: random.bytes(32) }],
  });
  const mutant = random.below(2) === 0 ? flipped(body, random) : resized(body, random);
  assertNamed(() => {
    const decoded = decodeBody(mutant, 2);
    assert.equal(Buffer.compare(encodeBody(decoded), mutant), 0, where);
  }, where);
}

function assertNamed(call: () => unknown, where: string): void {
  try {
    call();
  } catch (error) {
    assert(error instanceof CaissonError && refusals.has(error.code), `${where}: ${String(error)}`);
  }
}

function mutate(state: Uint8Array, states: readonly Uint8Array[], random: SeededBytes): Uint8Array {
  let mutant = state;
  for (let count = 1 + random.below(3); count > 0; count--) {
    const kind = random.below(5);
    if (kind <= 1) mutant = flipped(mutant, random);
    else if (kind === 2) mutant = resized(mutant, random);
    else if (kind === 3) mutant = spliced(mutant, states[random.below(states.length)] ?? state, random);
    else mutant = headChanged(mutant, random);
  }
  return mutant;
}

function flipped(bytes: Uint8Array, random: SeededBytes): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const place = random.below(Math.max(copy.length, 1));
  if (place < copy.length) copy[place] = (copy[place] ?? 0) ^ (1 << random.below(8));
  return copy;
}

function resized(bytes: Uint8Array, random: SeededBytes): Uint8Array {
  const place = random.below(bytes.length + 1);
  if (random.below(2) === 0) return bytes.subarray(0, place);
  return Buffer.concat([bytes.subarray(0, place), random.bytes(1 + random.below(80)), bytes.subarray(place)]);
}

function spliced(bytes: Uint8Array, other: Uint8Array, random: SeededBytes): Uint8Array {
  return Buffer.concat([
    bytes.subarray(0, random.below(bytes.length + 1)),
    other.subarray(random.below(other.length + 1)),
  ]);
}

/** Numbers in the head decide most: version, counts, ids, kinds, lengths. */
function headChanged(bytes: Uint8Array, random: SeededBytes): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const values = [0, 1, 2, 3, 31, 32, 0x7f, 0x80, 0xff];
  const place = 8 + random.below(8);
  if (place < copy.length) copy[place] = values[random.below(values.length)] ?? 0;
  return copy;
}
