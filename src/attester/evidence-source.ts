/**
 * EvidenceSource: what a workload has its hardware say about itself. Gathered evidence proves nothing to whoever
 * gathered it; a broker judges (broker/attest).
 *
 * Rules: `gather` asks the hardware anew on every call and leaves nothing behind (folders, loaded keys). What is not
 * there is `evidence-missing`. `reportData` has 64 bytes, and what evidence carries of them is `carriedReportData`.
 */
import { assert } from '../lib/assert.ts';
import { CaissonError } from '../lib/errors.ts';
import type { ErrorKind } from '../lib/errors.ts';
import type { TpmCredential } from '../tpm/tpm-attest.ts';
import type { Evidence, Technology } from '../wire/evidence.ts';
import { reportDataBytes } from '../wire/report-data.ts';

/** What a broker makes the credential of its challenge for (spec/attestation-tpm.md, "Credential"). */
export interface AttestationKeys {
  /** TPM2B_PUBLIC. */
  readonly akPublic: Uint8Array;
  /** TPM2B_PUBLIC. */
  readonly ekPublic: Uint8Array;
  /** DER; lacking where the maker of the TPM put none into it. */
  readonly ekCertificate?: Uint8Array;
}

export interface EvidenceSource {
  readonly technology: Technology;
  /** For people: where it comes from. */
  readonly describe: string;
  /** Only of technologies whose keys a broker binds by a credential: TPMs. */
  prepare?(): Promise<AttestationKeys>;
  /** `credential`: of the broker's challenge, where `prepare` is there and the broker made one. */
  gather(reportData: Uint8Array, credential?: TpmCredential): Promise<Evidence>;
}

export function checkReportDataLength(reportData: Uint8Array): void {
  assert(reportData.length === reportDataBytes, `report data has ${reportDataBytes} bytes`);
}

export function evidenceMissing(
  message: string,
  remedy: string,
  cause?: unknown,
  kind: ErrorKind = 'io',
): CaissonError {
  return new CaissonError(kind, 'evidence-missing', message, { remedy, ...(cause === undefined ? {} : { cause }) });
}
