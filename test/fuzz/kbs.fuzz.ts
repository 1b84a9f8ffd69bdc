/**
 * Changed messages of the KBS protocol: evidence is read into parts of known form or refused by name, a report that is
 * built survives the way back, and an answer opens to nothing but what was sealed.
 */
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { CaissonError } from '../../src/lib/errors.ts';
import { checkEvidence, technologies } from '../../src/wire/evidence.ts';
import { evidenceFromKbs, evidenceToKbs, sentTechnologies } from '../../src/wire/kbs/evidence.ts';
import { openJwe, readTeePublicKey, sealJwe } from '../../src/wire/kbs/jwe.ts';
import type { Jwe, TeePublicKey } from '../../src/wire/kbs/jwe.ts';
import { rebuildSnpReport, snpReportBytes, snpReportFields } from '../../src/wire/kbs/snp-report.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

type Fields = Record<string, unknown>;

export function fuzz(seed: number, iterations: number): void {
  const random = seededBytes(seed);
  const { privateKey, jwk } = pairFrom(random);
  const secret = random.bytes(32);
  const sealed = sealJwe(secret, jwk, random);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    fuzzEvidence(random, where);
    fuzzReport(random, where);
    fuzzAnswer({ sealed, secret, privateKey }, random, where);
    named(() => readTeePublicKey(changed(jwk, random) as TeePublicKey), ['evidence-invalid'], where);
  }
}

function fuzzEvidence(random: SeededBytes, where: string): void {
  const report = namedFields(random);
  const samples: readonly Fields[] = [
    { quote: text(random, 'base64'), cc_eventlog: null },
    { attestation_report: report, cert_chain: [{ cert_type: 'VCEK', data: [...random.bytes(5)] }] },
    { token: [...random.bytes(9)] },
    {
      ...{ version: 2, hcl_report: text(random, 'base64url'), vcek: text(random, 'base64url') },
      td_quote: text(random, 'base64url'),
      tpm_quote: { signature: text(random, 'hex'), message: quoteMessage(random), pcrs: pcrs(random) },
    },
  ];
  const primary = changed(samples[random.below(samples.length)], random);
  const technology = technologies[random.below(technologies.length)]!;
  const evidence = named(() => evidenceFromKbs(technology, primary), ['evidence-invalid'], where);
  if (evidence === undefined) return;
  assert.equal(evidence.technology, technology, where);
  named(() => checkEvidence(evidence), ['evidence-invalid'], where);
  if (!sentTechnologies.includes(technology)) return;
  // What was read is what would be sent: once read, nothing more is lost.
  const written = named(() => evidenceToKbs(evidence), ['evidence-invalid'], where);
  if (written !== undefined) assert.deepEqual(evidenceFromKbs(technology, written), evidence, where);
}

function fuzzReport(random: SeededBytes, where: string): void {
  const built = named(() => rebuildSnpReport(changed(namedFields(random), random)), ['evidence-invalid'], where);
  if (built !== undefined) assert.equal(built.length, snpReportBytes, where);
  const fields = named(() => snpReportFields(random.bytes(snpReportBytes)), ['evidence-invalid'], where);
  assert.equal(fields, undefined, `${where}: random bytes have something in reserved places`);
}

function fuzzAnswer(
  { sealed, secret, privateKey }: { readonly sealed: Jwe; readonly secret: Uint8Array; readonly privateKey: KeyObject },
  random: SeededBytes,
  where: string,
): void {
  const names = Object.keys(sealed) as (keyof Jwe)[];
  const name = names[random.below(names.length)]!;
  const answer = { ...sealed, [name]: changedText(sealed[name], random) };
  const opened = named(() => openJwe(answer, privateKey), ['broker-untrusted'], where);
  if (opened !== undefined) assert.deepEqual(opened, secret, `${where}: it opens to something else`);
}

/** A report in which every field is what its client writes. */
function namedFields(random: SeededBytes): Fields {
  const bytes = new Uint8Array(snpReportBytes);
  bytes.set(random.bytes(0x38), 0); // up to the first TCB
  bytes.set([5, 0, 0, 0]);
  bytes.fill(0, 0x0e, 0x10);
  bytes.set(random.bytes(0x130), 0x50);
  bytes[0x188] = [0x19, 0x1a][random.below(2)]!;
  return snpReportFields(bytes);
}

/** TPMS_ATTEST of a quote over SHA-256 of some registers; half of them are cut or wrong somewhere. */
function quoteMessage(random: SeededBytes): string {
  const message = Buffer.concat([
    Buffer.from('ff5443478018', 'hex'),
    Buffer.from('0000', 'hex'),
    Buffer.from('0002', 'hex'),
    random.bytes(2),
    Buffer.alloc(25),
    Buffer.from('00000001000b03', 'hex'),
    random.bytes(3),
    Buffer.from('0020', 'hex'),
    random.bytes(32),
  ]);
  if (random.below(2) === 0) message[random.below(message.length)] = random.below(256);
  return message.subarray(0, random.below(4) === 0 ? random.below(message.length) : message.length).toString('hex');
}

function pcrs(random: SeededBytes): readonly string[] {
  return Array.from({ length: random.below(8) === 0 ? random.below(30) : 24 }, () =>
    Buffer.from(random.bytes(32)).toString('hex'),
  );
}

function text(random: SeededBytes, encoding: 'base64' | 'base64url' | 'hex'): string {
  return Buffer.from(random.bytes(1 + random.below(40))).toString(encoding);
}

const strange: readonly unknown[] = [
  ...[undefined, null, '', 'x', -1, 256, 0.5, 2 ** 53, Number.NaN, true, [], {}, [null], [-1], [256], ['1']],
  ...['=', 'zz', { length: 3 }, Object.create(null)],
];

/** Nothing, or one place of it at some depth, is something else. */
function changed(value: unknown, random: SeededBytes): unknown {
  if (random.below(8) === 0) return strange[random.below(strange.length)];
  if (typeof value === 'string') return random.below(2) === 0 ? value : changedText(value, random);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) {
    if (value.length === 0) return value;
    const at = random.below(value.length);
    const items = value as readonly unknown[];
    return random.below(4) === 0 ? items.slice(at) : items.with(at, changed(items[at], random));
  }
  const names = Object.keys(value);
  const name = names[random.below(names.length)];
  if (name === undefined || random.below(4) === 0) return value;
  const { [name]: taken, ...rest } = value as Fields;
  return random.below(4) === 0 ? rest : { ...rest, [name]: changed(taken, random) };
}

function changedText(value: string, random: SeededBytes): string {
  const place = random.below(value.length + 1);
  const letters = 'ABCDEFabcdef0189-_+/={}"\0';
  const letter = letters[random.below(letters.length)]!;
  const kind = random.below(4);
  if (kind === 0) return value.substring(0, place);
  return `${value.substring(0, place)}${letter}${value.substring(kind === 1 ? place : place + 1)}`;
}

function named<Value>(work: () => Value, codes: readonly string[], where: string): Value | undefined {
  try {
    return work();
  } catch (error) {
    assert.ok(error instanceof CaissonError && codes.includes(error.code), `${where}: ${String(error)}`);
    return undefined;
  }
}

/** A P-256 key in SEC1 form, whose scalar is below the order because its first byte is zero. */
function pairFrom(random: SeededBytes): { readonly privateKey: KeyObject; readonly jwk: TeePublicKey } {
  const body = Buffer.concat([
    Buffer.from('0201010420', 'hex'),
    Buffer.from([0, ...random.bytes(31)]),
    Buffer.from('a00a06082a8648ce3d030107', 'hex'),
  ]);
  const privateKey = createPrivateKey({
    key: Buffer.concat([Buffer.from([0x30, body.length]), body]),
    format: 'der',
    type: 'sec1',
  });
  const { x = '', y = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
  return { privateKey, jwk: { kty: 'EC', crv: 'P-256', alg: 'ECDH-ES+A256KW', x, y } };
}
