/** Changed keystores: what decodes encodes to the same bytes, all else is refused by name. */
import assert from 'node:assert/strict';
import { volumeIdFromPublicKey } from '../../src/crypto/signature.ts';
import { createKeyFileSource } from '../../src/keys/key-file.ts';
import { createKeyring } from '../../src/keys/keyring.ts';
import { decodeKeystore, encodeKeystore } from '../../src/keys/keystore-format.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { seededBytes } from './seeded.ts';

export async function fuzz(seed: number, iterations: number): Promise<void> {
  const random = seededBytes(seed);
  const source = createKeyFileSource({ content: random.bytes(32), random });
  const keyring = await createKeyring({ source, random, volumeIdOf: volumeIdFromPublicKey });
  const whole = encodeKeystore({ id: keyring.volumeId, keyring: keyring.encode() });
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    let mutant = Uint8Array.from(whole);
    const kind = random.below(3);
    // Most of what decides lies in the head.
    const place = random.below(random.below(2) === 0 ? 48 : mutant.length);
    if (kind === 0) mutant = mutant.subarray(0, place);
    else if (kind === 1) mutant[place] = mutant[place]! ^ (1 << random.below(8));
    else mutant = Uint8Array.from([...mutant, ...random.bytes(1 + random.below(40))]);
    try {
      assert.equal(Buffer.compare(encodeKeystore(decodeKeystore(mutant)), mutant), 0, where);
    } catch (error) {
      const isNamed = error instanceof CaissonError && ['format-invalid', 'format-version'].includes(error.code);
      assert.ok(isNamed, `${where}: ${String(error)}`);
    }
  }
}
