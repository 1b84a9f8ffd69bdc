/**
 * A quote of a TPM: form, signature, and the registers that it signs (spec/attestation-tpm.md, "Quote").
 * Whether its key may be believed is not asked here: `tpm` and the Azure technologies answer that each in their way.
 */
import type { KeyObject } from 'node:crypto';
import { equalBytes } from '../../../crypto/digest.ts';
import { evidenceInvalid } from '../../../wire/evidence.ts';
import { parseAttest, type QuoteInfo, type TpmAttest } from '../../../wire/tpm/attest.ts';
import { pcrDigest, splitPcrValues, type PcrValue } from '../../../wire/tpm/pcr-selection.ts';
import { parseSignature, verifySignature, type TpmSignature } from '../../../wire/tpm/signature.ts';
import { untrusted } from '../x509/certificates.ts';

export interface QuoteParts {
  readonly quote: Uint8Array;
  readonly signature: Uint8Array;
  readonly pcrs: Uint8Array;
}

export interface ParsedQuote {
  readonly attest: TpmAttest;
  readonly info: QuoteInfo;
  readonly signature: TpmSignature;
  readonly values: readonly PcrValue[];
}

/** Trusts nothing. */
export function parseQuote({ quote, signature, pcrs }: QuoteParts): ParsedQuote {
  const attest = parseAttest(quote, malformed('quote-form'));
  if (attest.attested.type !== 'quote') throw malformed('quote-form')('TPMS_ATTEST: it is no quote');
  return {
    attest,
    info: attest.attested,
    signature: parseSignature(signature, malformed('signature-form')),
    values: splitPcrValues(attest.attested.selection, pcrs),
  };
}

/** `evidence-untrusted` unless `key` signed the quote, and the quote these values. */
export function verifyQuote(parsed: ParsedQuote, parts: QuoteParts, key: KeyObject): void {
  if (!verifySignature(key, parts.quote, parsed.signature))
    throw untrusted('evidence', 'quote-signature', 'the quote is not signed by the attestation key');
  if (!equalBytes(pcrDigest(parsed.signature.hash, parts.pcrs), parsed.info.pcrDigest))
    throw untrusted('evidence', 'pcr-digest', 'the values of the registers are not those that the TPM signed');
}

function malformed(check: string): (message: string) => ReturnType<typeof evidenceInvalid> {
  return (message) => evidenceInvalid(message, { check });
}
