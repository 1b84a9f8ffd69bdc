/**
 * Report data: the 64 bytes that a workload has its hardware sign, so that the evidence names the keys
 * of one request (spec/broker-api.md, "Report data"). Attesters ask what their technology carries,
 * brokers compare with what it carried; both build it here.
 */
import { createHash } from 'node:crypto';
import { equalBytes, plainBytes, sha256 } from '../crypto/digest.ts';
import { publicKeyBytes } from '../crypto/signature.ts';
import { ByteWriter } from '../lib/byte-codec.ts';
import { CaissonError } from '../lib/errors.ts';
import { suiteTable } from './envelope-suites.ts';
import type { EnvelopeSuite } from './envelope-suites.ts';
import type { Technology } from './evidence.ts';

export const nonceBytes = 32;
export const reportDataBytes = 64;

const label = new TextEncoder().encode('caisson report data v1\0');
const purposePattern = /^[a-z][a-z-]{0,31}$/;

/** The keys that one request lives with, and the challenge that it answers. */
export interface RequestKeys {
  /** What the evidence is for, such as `release`. */
  readonly purpose: string;
  readonly nonce: Uint8Array;
  readonly suite: EnvelopeSuite;
  readonly recipientPublicKey: Uint8Array;
  /** Ed25519. */
  readonly sessionPublicKey: Uint8Array;
}

/** `proof-invalid` where a field has another length or form than the specification says. */
export function reportDataOf(keys: RequestKeys): Uint8Array {
  if (!purposePattern.test(keys.purpose)) throw malformed('the purpose is not 1 to 32 lower-case letters and hyphens');
  if (!Object.hasOwn(suiteTable, keys.suite)) throw malformed('the suite is none that Caisson knows');
  const suite = suiteTable[keys.suite];
  const encoded = new ByteWriter()
    .bytes(label)
    .block(new TextEncoder().encode(keys.purpose))
    .block(ofLength(keys.nonce, nonceBytes, 'nonce'))
    .u16(suite.kem)
    .block(ofLength(keys.recipientPublicKey, suite.publicKeyBytes, 'recipient public key'))
    .block(ofLength(keys.sessionPublicKey, publicKeyBytes, 'session public key'))
    .finish();
  return plainBytes(createHash('sha512').update(encoded).digest());
}

/** What evidence of this technology carries of the report data: all of it, or its SHA-256. */
export function carriedReportData(technology: Technology, reportData: Uint8Array): Uint8Array {
  switch (technology) {
    case 'sgx':
    case 'tdx':
    case 'snp':
    case 'cca':
    case 'nitro':
      return reportData;
    case 'tpm':
    case 'az-snp-vtpm':
    case 'az-tdx-vtpm':
      return sha256(reportData);
  }
}

/** `proof-invalid` unless the evidence carries exactly this report data. */
export function checkReportData(technology: Technology, carried: Uint8Array, reportData: Uint8Array): void {
  if (equalBytes(carried, carriedReportData(technology, reportData))) return;
  throw new CaissonError(
    'denied',
    'proof-invalid',
    'the evidence does not name the keys and the nonce of this request',
    {
      remedy: 'Gather evidence anew for a new challenge, with the report data of this very request.',
      details: { technology },
    },
  );
}

function ofLength(bytes: Uint8Array, length: number, name: string): Uint8Array {
  if (bytes.length === length) return bytes;
  throw malformed(`the ${name} has ${bytes.length} bytes instead of ${length}`);
}

function malformed(message: string): CaissonError {
  return new CaissonError('denied', 'proof-invalid', message);
}
