/** Changed envelopes: none is opened but the one that was sealed, and every other is refused by name. */
import assert from 'node:assert/strict';
import { signingKeyFromSeed } from '../../src/crypto/signature.ts';
import { generateRecipient, sealEnvelope } from '../../src/wire/envelope.ts';
import type { Envelope } from '../../src/wire/envelope.ts';
import { envelopeSuites } from '../../src/wire/envelope-suites.ts';
import { brokerIdFromPublicKey } from '../../src/wire/request-statement.ts';
import type { RequestStatement } from '../../src/wire/request-statement.ts';
import type { CaissonError } from '../../src/lib/errors.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

export async function fuzz(seed: number, iterations: number): Promise<void> {
  const random = seededBytes(seed);
  const brokerKey = signingKeyFromSeed(random.bytes(32));
  const suite = envelopeSuites[random.below(envelopeSuites.length)]!;
  const recipient = await generateRecipient(suite);
  const statement: RequestStatement = {
    purpose: 'release',
    brokerId: brokerIdFromPublicKey(brokerKey.publicKey),
    tenant: 'acme',
    keyName: 'database',
    nonce: random.bytes(32),
    suite,
    recipientPublicKey: recipient.publicKey,
    sessionPublicKey: random.bytes(32),
    evidenceDigest: random.bytes(32),
    bodyDigest: random.bytes(32),
  };
  const plaintext = random.bytes(random.below(200));
  const envelope = await sealEnvelope(plaintext, statement, brokerKey);
  assert.deepEqual(await recipient.open(envelope, statement, brokerKey.publicKey), plaintext);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    const mutants = [
      recipient.open(mutatedEnvelope(envelope, random), statement, brokerKey.publicKey),
      recipient.open(envelope, mutatedStatement(statement, random), brokerKey.publicKey),
      recipient.open(envelope, statement, changed(brokerKey.publicKey, random)),
      sealEnvelope(plaintext, { ...statement, recipientPublicKey: changed(recipient.publicKey, random) }, brokerKey),
    ];
    for (const [kind, outcome] of (await Promise.allSettled(mutants)).entries()) {
      // A recipient key with another bit is often a key as well; what is sealed to it nobody opens.
      if (outcome.status === 'fulfilled' && kind === 3) continue;
      assert.equal(outcome.status, 'rejected', where);
      const { code } = outcome.reason as CaissonError;
      assert.ok(code === 'broker-untrusted' || code === 'proof-invalid', `${where}: ${String(outcome.reason)}`);
    }
  }
}

function mutatedEnvelope(envelope: Envelope, random: SeededBytes): Envelope {
  const name = (['encapsulated', 'ciphertext', 'signature'] as const)[random.below(3)]!;
  return { ...envelope, [name]: changed(envelope[name], random) };
}

function mutatedStatement(statement: RequestStatement, random: SeededBytes): RequestStatement {
  const names = ['brokerId', 'nonce', 'sessionPublicKey', 'evidenceDigest', 'bodyDigest'] as const;
  const name = names[random.below(names.length)]!;
  if (random.below(4) === 0) return { ...statement, tenant: `${statement.tenant}${random.below(10)}` };
  return { ...statement, [name]: flipped(statement[name], random) };
}

function changed(bytes: Uint8Array, random: SeededBytes): Uint8Array {
  if (random.below(8) === 0) return bytes.subarray(0, random.below(bytes.length));
  if (random.below(8) === 0) return new Uint8Array([...bytes, random.below(256)]);
  return flipped(bytes, random);
}

function flipped(bytes: Uint8Array, random: SeededBytes): Uint8Array {
  const mutant = new Uint8Array(bytes);
  const place = random.below(mutant.length);
  mutant[place] = mutant[place]! ^ (1 << random.below(8));
  return mutant;
}
