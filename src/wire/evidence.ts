/**
 * Evidence on its way from a workload to a broker (spec/broker-api.md, "Evidence").
 *
 * Evidence is a technology and its named parts, bytes each. Which parts there are, and which may be
 * missing, is `evidenceParts`. Nothing here is trusted: a verifier of `broker/attest` decides.
 */
import { CaissonError } from '../lib/errors.ts';
import { evidencePartBytesMax } from '../lib/limits.ts';

export const technologies = ['sgx', 'tdx', 'snp', 'tpm', 'nitro', 'az-snp-vtpm', 'az-tdx-vtpm', 'cca'] as const;
export type Technology = (typeof technologies)[number];

/** The names of the parts: true where the part must be there. */
export const evidenceParts = {
  /** quote: Intel quote v3. */
  sgx: { quote: true },
  /** quote: Intel quote v4 or v5. eventLog: CCEL, for people. */
  tdx: { quote: true, eventLog: false },
  /** report: 1184 bytes. certificates: the table that the host adds (configfs `auxblob`). */
  snp: { report: true, certificates: false },
  /**
   * quote: TPMS_ATTEST. signature: TPMT_SIGNATURE. pcrs: the values of the selected registers one after another, in the
   * order of the selection. akPublic: TPM2B_PUBLIC. ekCertificate: DER. ekIntermediates: DER certificates one after another.
   * activation: what the TPM recovered from the credential of the challenge. akCertificate: DER certificates, the AK's first.
   */
  tpm: {
    quote: true,
    signature: true,
    pcrs: true,
    akPublic: true,
    ekCertificate: false,
    ekIntermediates: false,
    activation: false,
    akCertificate: false,
    eventLog: false,
  },
  /** document: COSE_Sign1 of the Nitro security module. */
  nitro: { document: true },
  /** hclReport: report with runtime data. quote, signature, pcrs: of the vTPM, as for `tpm`. vcek: DER or PEM. */
  'az-snp-vtpm': { hclReport: true, quote: true, signature: true, pcrs: true, vcek: false },
  /** tdQuote: Intel quote over the TD report in hclReport. */
  'az-tdx-vtpm': { hclReport: true, quote: true, signature: true, pcrs: true, tdQuote: true },
  /** token: CBOR, tag 399. */
  cca: { token: true },
} as const satisfies Record<Technology, Readonly<Record<string, boolean>>>;

export interface Evidence {
  readonly technology: Technology;
  readonly parts: Readonly<Record<string, Uint8Array>>;
}

/** The part that a verifier needs. `evidence-invalid` where it is missing. */
export function requiredPart(evidence: Evidence, name: string): Uint8Array {
  const part = evidence.parts[name];
  if (part !== undefined) return part;
  throw evidenceInvalid(`${evidence.technology} evidence has no part ${name}`, { part: name });
}

/** `evidence-invalid` for an unknown technology, an unknown or missing part, or one that is empty or too large. */
export function checkEvidence(evidence: Evidence): void {
  const known: Readonly<Record<string, boolean>> | undefined = Object.hasOwn(evidenceParts, evidence.technology)
    ? evidenceParts[evidence.technology]
    : undefined;
  if (known === undefined) throw evidenceInvalid('the evidence is of no known technology', {});
  for (const [name, bytes] of Object.entries(evidence.parts)) {
    if (!Object.hasOwn(known, name))
      throw evidenceInvalid(`${evidence.technology} evidence has no part of such a name`, {});
    if (bytes.length === 0) throw evidenceInvalid(`the part ${name} is empty`, { part: name });
    if (bytes.length > evidencePartBytesMax)
      throw evidenceInvalid(`the part ${name} is larger than ${evidencePartBytesMax} bytes`, { part: name });
  }
  for (const [name, isRequired] of Object.entries(known)) if (isRequired) requiredPart(evidence, name);
}

/** For parsers of evidence: bytes that nothing genuine produces. */
export function evidenceInvalid(
  message: string,
  details: Readonly<Record<string, string | number | boolean>>,
  cause?: unknown,
): CaissonError {
  return new CaissonError('invalid', 'evidence-invalid', message, {
    details,
    ...(cause === undefined ? {} : { cause }),
  });
}
