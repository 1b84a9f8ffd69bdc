/**
 * A counter in a TPM, certified by its attestation key (spec/attestation-tpm.md, "NV certify"): a number
 * that never goes back, whoever holds the disk.
 */
import type { KeyObject } from 'node:crypto';
import { equalBytes } from '../../../crypto/digest.ts';
import { evidenceInvalid } from '../../../wire/evidence.ts';
import { parseAttest } from '../../../wire/tpm/attest.ts';
import { parseSignature, verifySignature } from '../../../wire/tpm/signature.ts';
import { untrusted } from '../x509/certificates.ts';

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

export function verifyNvCertify(
  { attest: bytes, signature }: { readonly attest: Uint8Array; readonly signature: Uint8Array },
  { key, nonce, indexName }: NvCertifyExpectation,
): CertifiedCounter {
  const malformed = (message: string) => evidenceInvalid(message, { check: 'nv-form' });
  const attest = parseAttest(bytes, malformed);
  const { attested } = attest;
  if (attested.type !== 'nv-certify') throw malformed('TPMS_ATTEST: it certifies no NV index');
  if (!verifySignature(key, bytes, parseSignature(signature, malformed)))
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
