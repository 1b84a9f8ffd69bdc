/**
 * What the hardware signs in the KBS protocol: a digest over the nonce and the workload's key, as canonical
 * JSON (spec/kbs.md, "Report data"; RFC 8785).
 */
import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import type { Technology } from '../evidence.ts';
import type { TeePublicKey } from './jwe.ts';

export interface RuntimeData {
  readonly nonce: string;
  readonly 'tee-pubkey': TeePublicKey;
}

const reportDataBytes = 64;
/** What a TPM signs along. */
const extraDataBytes = 48;

/** As verifiers give it: SHA-384 of the JSON, filled with zeroes to 64 bytes; a vTPM's quote carries the digest alone. */
export function kbsReportData(
  technology: Technology,
  runtimeData: RuntimeData,
  additionalEvidence: string,
): Uint8Array {
  const json = canonicalize({ ...runtimeData, 'additional-evidence': additionalEvidence });
  const digest = createHash('sha384')
    .update(json ?? '')
    .digest();
  const isVtpm = technology === 'az-snp-vtpm' || technology === 'az-tdx-vtpm';
  const reportData = new Uint8Array(isVtpm ? extraDataBytes : reportDataBytes);
  reportData.set(digest);
  return reportData;
}
