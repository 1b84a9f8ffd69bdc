/**
 * Credential activation of TPMs within a challenge: the broker makes a credential that only one TPM can
 * open, and knows its secret again from the nonce, without remembering anything.
 */
import type { VerifyContext } from '../attest/verifier.ts';
import type { Evidence } from '../../wire/evidence.ts';

/** What the TPM is given: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET. */
export interface PreparedCredential {
  readonly blob: Uint8Array;
  readonly secret: Uint8Array;
}

export interface Credentials {
  prepare(
    nonce: Uint8Array,
    tpm: {
      readonly akPublic: Uint8Array;
      readonly ekPublic?: Uint8Array | undefined;
      readonly ekCertificate?: Uint8Array | undefined;
    },
  ): Promise<PreparedCredential>;
  /** What evidence must show that it activated; undefined where it claims no activation. */
  expected(nonce: Uint8Array, evidence: Evidence): Promise<VerifyContext['activation']>;
}
