/**
 * What an attestation key of a TPM signs: quotes of registers, and the content of counters (spec/attestation-tpm.md, "Quote"
 * and "NV certify"): form, signature, and what is signed. Whether the key may be believed is not asked here: `tpm` and the
 * Azure technologies answer that each in their way.
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

export interface NvCertifyExpectation {
  /** The attestation key, bound to its TPM beforehand. */
  readonly key: KeyObject;
  /** What the TPM was given to sign along. */
  readonly nonce: Uint8Array;
  /** TPM2B_NAME of the index: with it go its attributes, so that it is known to be a counter. */
  readonly indexName: Uint8Array;
}

export interface CertifiedCounter {
  readonly value: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
}

const counterBytes = 8;

/**
 * A number that never goes back, whoever holds the disk: an NV counter (spec/attestation-tpm.md, "NV certify"). No policy asks for it.
 * A key of the broker goes with an anchor at the broker, which knows the newest state itself; a counter says only how often something
 * advanced. It is for who has no such anchor and enrolled an index with its name, such as an auditor of a machine with `--anchor tpm`.
 */
export function verifyNvCertify(
  { attest: bytes, signature }: { readonly attest: Uint8Array; readonly signature: Uint8Array },
  { key, nonce, indexName }: NvCertifyExpectation,
): CertifiedCounter {
  const refuse = malformed('nv-form');
  const attest = parseAttest(bytes, refuse);
  const { attested } = attest;
  if (attested.type !== 'nv-certify') throw refuse('TPMS_ATTEST: it certifies no NV index');
  if (!verifySignature(key, bytes, parseSignature(signature, refuse)))
    throw untrusted('evidence', 'nv-signature', 'the counter is not signed by the attestation key');
  if (!equalBytes(attest.extraData, nonce))
    throw untrusted('evidence', 'nv-nonce', 'the counter was certified for another question');
  if (!equalBytes(attested.indexName, indexName))
    throw untrusted('evidence', 'nv-index', 'another NV index was certified');
  if (attested.offset !== 0 || attested.contents.length !== counterBytes)
    throw untrusted('evidence', 'nv-contents', 'something other than a whole counter was certified');
  const { resetCount, restartCount } = attest;
  const contents = new DataView(attested.contents.buffer, attested.contents.byteOffset, counterBytes);
  return { value: contents.getBigUint64(0), resetCount, restartCount };
}

function malformed(check: string): (message: string) => ReturnType<typeof evidenceInvalid> {
  return (message) => evidenceInvalid(message, { check });
}
