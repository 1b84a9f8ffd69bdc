/** Changed TPM structures are refused by name, or decode and encode to the same bytes. */
import assert from 'node:assert/strict';
import { isCaissonError } from '../../src/lib/errors.ts';
import { Algorithm, tpmCurves, tpmHash } from '../../src/wire/tpm/algorithms.ts';
import { encodeAttest, parseAttest } from '../../src/wire/tpm/attest.ts';
import { splitPcrValues } from '../../src/wire/tpm/pcr-selection.ts';
import { encodePublic, nameOf, parsePublic, publicKeyOf } from '../../src/wire/tpm/public-area.ts';
import { encodeSignature, parseSignature } from '../../src/wire/tpm/signature.ts';
import { seededBytes, type SeededBytes } from './seeded.ts';
import { assertSame, mutated } from './vector-mutation.ts';

const sha256 = tpmHash(Algorithm.sha256)!;
const sha384 = tpmHash(Algorithm.sha384)!;

interface Target {
  readonly bytes: Uint8Array;
  readonly again: (bytes: Uint8Array) => Uint8Array;
}

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  const targets = makeTargets(random);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const { bytes, again } = targets[random.below(targets.length)]!;
    const changed = mutated(bytes, random);
    try {
      assertSame(again(changed), changed);
    } catch (error) {
      assert.ok(isCaissonError(error, 'evidence-invalid'), `seed ${seed} iteration ${iteration}: ${String(error)}`);
    }
  }
}

function makeTargets(random: SeededBytes): readonly Target[] {
  const common = {
    qualifiedSigner: random.bytes(34),
    extraData: random.bytes(32),
    ...{ clock: 12n, resetCount: 1, restartCount: 2, isClockSafe: true, firmwareVersion: 2n ** 60n },
  };
  const selection = [
    { hash: sha256, indexes: [0, 1, 7, 23], bitmapBytes: 3 },
    { hash: sha384, indexes: [3], bitmapBytes: 4 },
  ];
  const certified = { name: random.bytes(34), qualifiedName: random.bytes(34) };
  const read = { indexName: random.bytes(34), offset: 0, contents: random.bytes(8) };
  const attests = [
    encodeAttest({ ...common, attested: { type: 'quote', selection, pcrDigest: random.bytes(32) } }),
    encodeAttest({ ...common, attested: { type: 'certify', ...certified } }),
    encodeAttest({ ...common, attested: { type: 'nv-certify', ...read } }),
  ];
  const signatures = [
    encodeSignature({ scheme: 'ecdsa', hash: sha384, r: random.bytes(48), s: random.bytes(48) }),
    encodeSignature({ scheme: 'rsapss', hash: sha256, signature: random.bytes(256) }),
  ];
  return [
    ...attests.map((bytes) => ({ bytes, again: attestAgain })),
    ...signatures.map((bytes) => ({ bytes, again: (text: Uint8Array) => encodeSignature(parseSignature(text)) })),
    ...publicAreas(random).map((bytes) => ({ bytes, again: publicAgain })),
  ];
}

function attestAgain(bytes: Uint8Array): Uint8Array {
  const attest = parseAttest(bytes);
  const { attested } = attest;
  if (attested.type === 'quote' && attested.selection.length === 0)
    assert.deepEqual(splitPcrValues(attested.selection, new Uint8Array(0)), []);
  return encodeAttest(attest);
}

function publicAgain(bytes: Uint8Array): Uint8Array {
  const area = parsePublic(bytes);
  assert.equal(nameOf(area).length, 2 + area.nameHash.digestBytes);
  const encoded = encodePublic(area);
  assertSame(encoded, bytes);
  publicKeyOf(area);
  return encoded;
}

function publicAreas(random: SeededBytes): readonly Uint8Array[] {
  const common = { nameHash: sha256, attributes: 0x50072, policy: new Uint8Array(0), symmetric: undefined };
  const modulus = random.bytes(256);
  modulus[0]! |= 0x80;
  const aes = { algorithm: Algorithm.aes, keyBits: 128, mode: Algorithm.cfb };
  const ecdsa = { algorithm: Algorithm.ecdsa, hash: Algorithm.sha256 };
  const point = { x: random.bytes(32), y: random.bytes(32), curve: tpmCurves[0]! };
  return [
    encodePublic({
      ...common,
      object: { type: 'rsa', symmetric: aes, scheme: undefined, keyBits: 2048, exponent: 0, modulus },
    }),
    encodePublic({
      ...common,
      object: { type: 'ecc', symmetric: undefined, scheme: ecdsa, keyDerivation: undefined, ...point },
    }),
    encodePublic({
      ...common,
      policy: random.bytes(32),
      object: { type: 'keyed-hash', scheme: undefined, unique: random.bytes(32) },
    }),
  ];
}
