/**
 * Changed quotes, chains, lists and documents of a fake Intel. The parsers read or refuse by name; the verifiers refuse, or say of the
 * changed bytes what they say of the right ones.
 */
import assert from 'node:assert/strict';
import { readSigned } from '../../src/broker/attest/intel/signed-json.ts';
import { pckPlatform } from '../../src/broker/attest/intel/pck.ts';
import { readQeIdentity, readTcbInfo } from '../../src/broker/attest/intel/tcb-info.ts';
import { parseSgxQuote } from '../../src/broker/attest/sgx/parse.ts';
import { parseTdxQuote } from '../../src/broker/attest/tdx/parse.ts';
import { tdxVerifier } from '../../src/broker/attest/tdx/tdx.ts';
import { parseCertificate, splitPem } from '../../src/broker/attest/x509/certificates.ts';
import { parseCrl } from '../../src/broker/attest/x509/crl.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { parseExactJson } from '../../src/wire/exact-json.ts';
import {
  fakeQuote,
  intelCollateral,
  intelContext,
  intelKey,
  pckCertificate,
  pckCrl,
  qeIdentity,
  signedDocument,
  tcbInfo,
  tdReport,
} from '../support/fake-intel.ts';
import { pem } from '../support/fake-x509.ts';
import { seededBytes, type SeededBytes } from './seeded.ts';
import { mutated } from './vector-mutation.ts';

const quote = fakeQuote('tdx', { version: 5, body: tdReport({ teeTcbSvn2: [6, 1, 3] }) });
const collateral = intelCollateral();
const genuine = await tdxVerifier.verify({ technology: 'tdx', parts: { quote } }, intelContext(collateral));

const readers: readonly (readonly [right: Uint8Array, read: (bytes: Uint8Array) => unknown])[] = [
  [fakeQuote('sgx'), parseSgxQuote],
  [fakeQuote('tdx'), parseTdxQuote],
  [quote, parseTdxQuote],
  [pckCertificate(), (bytes) => pckPlatform(parseCertificate(bytes, 'evidence'))],
  [pem(pckCertificate(), pckCertificate()), (bytes) => splitPem(bytes, 'collateral')],
  [pckCrl(), parseCrl],
  [documentBytes(tcbInfo('tdx')), (bytes) => readTcbInfo(parseExactJson(bytes))],
  [documentBytes(qeIdentity('sgx')), (bytes) => readQeIdentity(parseExactJson(bytes))],
  [
    signedDocument('tcbInfo', tcbInfo('sgx')),
    (bytes) => readSigned(bytes, 'tcbInfo', 'tcb-info', intelKey('signer'), readTcbInfo),
  ],
];

function documentBytes(document: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(document));
}

const refusals = [
  'evidence-invalid',
  'evidence-untrusted',
  'collateral-stale',
  'collateral-untrusted',
  'format-invalid',
];

export async function fuzz(seed: number, iterations: number): Promise<void> {
  const random = seededBytes(seed);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const [right, read] = readers[random.below(readers.length)]!;
    await named(seed, iteration, () => read(mutated(right, random)));
    if (iteration % 10 === 0) await named(seed, iteration, async () => await verifyChanged(random));
  }
}

async function verifyChanged(random: SeededBytes): Promise<void> {
  const names = [...collateral.keys()];
  const name = names[random.below(names.length)]!;
  const given = collateral.get(name)!;
  const isQuote = random.below(2) === 0;
  const pieces = isQuote
    ? collateral
    : new Map([...collateral, [name, { ...given, bytes: mutated(given.bytes, random) }]]);
  const parts = { quote: isQuote ? mutated(quote, random) : quote };
  const verified = await tdxVerifier.verify({ technology: 'tdx', parts }, intelContext(pieces));
  assert.deepEqual(verified.claims, genuine.claims, 'a change was not seen');
}

async function named(seed: number, iteration: number, run: () => unknown): Promise<void> {
  try {
    await run();
  } catch (error) {
    const isNamed = error instanceof CaissonError && refusals.includes(error.code);
    assert.ok(isNamed, `seed ${seed} iteration ${iteration}: ${String(error)}`);
  }
}
