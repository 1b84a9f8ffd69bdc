/**
 * The frame of Intel's signed JSON, `{"<member>":{…},"signature":"<hex>"}` (spec/attestation-intel.md, "Signed collateral"): the signature
 * covers the bytes of the member as they were served. Refusals are `collateral-untrusted`, for dates `collateral-stale`.
 */
import { verify, type KeyObject } from 'node:crypto';
import { CaissonError } from '../../../lib/errors.ts';
import { fromHex } from '../../../lib/hex.ts';
import { parseExactJson, type JsonNode } from '../../../wire/exact-json.ts';
import { malformed, stale, untrusted } from '../x509/certificates.ts';

/** What both documents begin with. */
export interface DatedDocument {
  readonly issueDate: number;
  readonly nextUpdate: number;
  readonly evaluationNumber: number;
}

/** Reads the member after its signature has been checked; `subject` names it in errors: `tcb-info`, `qe-identity`. */
export function readSigned<Document>(
  bytes: Uint8Array,
  member: string,
  subject: string,
  key: KeyObject,
  read: (node: JsonNode) => Document,
): Document {
  return named(subject, () => {
    const frame = parseExactJson(bytes);
    const body = frame.member(member);
    const signature = hexBytes(frame.member('signature'), 64);
    if (frame.members().size !== 2) throw wrong('there is something beside document and signature');
    if (!verify('sha256', body.bytes, { key, dsaEncoding: 'ieee-p1363' }, signature))
      throw untrusted('collateral', `${subject}-signature`, `the signature of the ${subject} does not hold`);
    return read(body);
  });
}

export function readDates(node: JsonNode): DatedDocument {
  return {
    issueDate: dateOf(node.member('issueDate')),
    nextUpdate: dateOf(node.member('nextUpdate')),
    evaluationNumber: node.member('tcbEvaluationDataNumber').count(0xffff_ffff),
  };
}

export function checkDocumentDates(document: DatedDocument, subject: string, now: number, ageMax: number): void {
  const { issueDate, nextUpdate } = document;
  const dates = { issueDate: dateText(issueDate), nextUpdate: dateText(nextUpdate) };
  if (now < issueDate) throw stale(`${subject}-dates`, `the ${subject} is not valid yet`, dates);
  if (now > nextUpdate) throw stale(`${subject}-dates`, `the ${subject} has expired`, dates);
  if (now - issueDate > ageMax) throw stale(`${subject}-age`, `the ${subject} is older than is allowed`, dates);
}

export function hexBytes(node: JsonNode, length: number): Uint8Array {
  const bytes = fromHex(node.text(), length);
  if (bytes === undefined) throw wrong(`${node.path}: it is not ${length} bytes in hexadecimal`);
  return bytes;
}

/** Such as 2025-06-19T10:56:11Z. */
export function dateOf(node: JsonNode): number {
  const text = node.text();
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time) || dateText(time) !== text) throw wrong(`${node.path}: it is no date`);
  return time;
}

export function dateText(time: number): string {
  return new Date(time).toISOString().replace('.000Z', 'Z');
}

export function wrong(message: string): CaissonError {
  return new CaissonError('invalid', 'format-invalid', message);
}

function named<Result>(subject: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (error instanceof CaissonError && error.code !== 'format-invalid') throw error;
    throw malformed('collateral', `the ${subject} cannot be read`, error, `${subject}-format`);
  }
}
