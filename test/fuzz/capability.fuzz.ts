/** Changed tokens and texts of capabilities: what is accepted is one that was written; all else is refused by name. */
import assert from 'node:assert/strict';
import { signingKeyFromSeed } from '../../src/crypto/signature.ts';
import { inspectCapability, mintCapability, narrowCapability } from '../../src/wire/capability.ts';
import {
  capabilityFromText,
  capabilityRights,
  capabilityToText,
  decodeCapability,
} from '../../src/wire/capability-format.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  const tokens = written(random);
  const known = new Set(tokens.map(capabilityToText));
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    const mutant = mutated(tokens[random.below(tokens.length)]!, random);
    accepts(where, () => decodeCapability(mutant));
    if (accepts(where, () => inspectCapability(mutant))) assert.ok(known.has(capabilityToText(mutant)), where);
    const text = capabilityToText(mutant);
    const at = random.below(text.length);
    const changed =
      text.substring(0, at) + String.fromCharCode(random.below(128)) + text.substring(at + random.below(3));
    if (accepts(where, () => capabilityFromText(changed)))
      assert.equal(capabilityToText(capabilityFromText(changed)), changed, where);
  }
}

function accepts(where: string, action: () => unknown): boolean {
  try {
    action();
    return true;
  } catch (error) {
    assert.ok(error instanceof CaissonError && error.code === 'capability-invalid', `${where}: ${String(error)}`);
    return false;
  }
}

function written(random: SeededBytes): Uint8Array[] {
  const keys = [0, 1, 2].map(() => signingKeyFromSeed(random.bytes(32)));
  const grant = { base: 0, length: 65_536, notBefore: 1, expiresAt: 2 ** 40, holder: keys[1]!.publicKey };
  const rights = new Set(capabilityRights.filter((right) => right !== 'resize'));
  const minted = mintCapability(keys[0]!, random.below(9), { ...grant, rights });
  const snapshot = { snapshot: random.bytes(16) };
  const once = narrowCapability(minted, keys[1]!, {
    ...{ holder: keys[2]!.publicKey, base: 4096, expiresAt: 2 ** 39 },
    ...(random.below(2) === 0 ? {} : snapshot),
  });
  return [minted, once, narrowCapability(once, keys[2]!, { holder: keys[0]!.publicKey, length: 4096 })];
}

/** Bits, lengths, and whole blocks in other places. */
function mutated(token: Uint8Array, random: SeededBytes): Uint8Array {
  const kind = random.below(8);
  if (kind === 0) return token.subarray(0, random.below(token.length + 1));
  if (kind === 1) return new Uint8Array([...token, ...token.subarray(56 + 152 * random.below(3), 56 + 152 * 3)]);
  if (kind === 2) return token;
  const mutant = new Uint8Array(token);
  for (let count = 1 + random.below(2); count > 0; count--) {
    const place = random.below(mutant.length);
    mutant[place] = mutant[place]! ^ (1 << random.below(8));
  }
  return mutant;
}
