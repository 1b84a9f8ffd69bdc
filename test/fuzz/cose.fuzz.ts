/** Changed Nitro documents and CCA tokens, and CBOR of any kind, are refused by name or say what they said. */
import assert from 'node:assert/strict';
import { decodeCbor } from '../../src/broker/attest/cose/cbor.ts';
import { verifier as ccaVerifier } from '../../src/broker/attest/cca/verifier.ts';
import { parseCcaToken } from '../../src/broker/attest/cca/token.ts';
import { parseNitroDocument } from '../../src/broker/attest/nitro/document.ts';
import { verifier as nitroVerifier } from '../../src/broker/attest/nitro/verifier.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { fakeCcaEvidence } from '../support/fake-cca.ts';
import { cbor } from '../support/fake-cose.ts';
import { fakeNitroEvidence } from '../support/fake-nitro.ts';
import { fuzzEvidence } from './evidence-mutation.ts';
import { seededBytes } from './seeded.ts';
import { mutated } from './vector-mutation.ts';

const values = [
  cbor(
    new Map<unknown, unknown>([
      [1, 'text'],
      [-2, [true, null, new Uint8Array(30)]],
      ['key', 2 ** 40],
    ]),
  ),
  Uint8Array.from(Buffer.from('d28441a0a0420102f6', 'hex')),
  new Uint8Array(64).fill(0x81),
];

export async function fuzz(seed: number, iterations: number): Promise<void> {
  const nitro = fakeNitroEvidence();
  const cca = [fakeCcaEvidence(), fakeCcaEvidence({ isCoseKey: true })];
  const tokens = cca.map(({ evidence }) => evidence);
  await fuzzEvidence(nitroVerifier, [nitro.evidence], nitro.context, seed, Math.ceil(iterations / 4));
  await fuzzEvidence(ccaVerifier, tokens, cca[0]!.context, seed, Math.ceil(iterations / 4));
  const parsers: readonly { bytes: Uint8Array; parse: (bytes: Uint8Array) => unknown }[] = [
    ...values.map((bytes) => ({ bytes, parse: (changed: Uint8Array) => decodeCbor(changed, 'it', [18]) })),
    { bytes: nitro.evidence.parts['document']!, parse: parseNitroDocument },
    ...tokens.map(({ parts }) => ({ bytes: parts['token']!, parse: parseCcaToken })),
  ];
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const { bytes, parse } = parsers[random.below(parsers.length)]!;
    try {
      parse(mutated(bytes, random));
    } catch (error) {
      assert.ok(isCaissonError(error, 'evidence-invalid'), `seed ${seed} iteration ${iteration}: ${String(error)}`);
    }
  }
}
