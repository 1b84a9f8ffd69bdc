/**
 * The keys for which a broker makes the credential of a challenge (spec/attestation-tpm.md, "Credential"). Nothing
 * of them is trusted: a credential for the wrong keys is one that nobody opens, or that later evidence does not match.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { evidenceInvalid } from '../../../wire/evidence.ts';
import { nameOf, parsePublic, publicKeyOf } from '../../../wire/tpm/public-area.ts';
import { spkiOf } from '../trusted-roots.ts';
import { parseCertificate } from '../x509/certificates.ts';
import { credentialProfile } from './credential.ts';

/** As a workload sends them: TPM2B_PUBLIC of its attestation key, and its endorsement key in one of two forms. */
export type ActivationRequest = { readonly akPublic: Uint8Array } & (
  | { readonly ekCertificate: Uint8Array }
  /** SPKI, or TPM2B_PUBLIC. */
  | { readonly ekPublic: Uint8Array }
);

export interface ActivationKeys {
  readonly akName: Uint8Array;
  readonly endorsementKey: KeyObject;
  /** SPKI of the endorsement key. */
  readonly ekPublic: Uint8Array;
}

/** The first byte of every SPKI, and of no TPM2B_PUBLIC, which would have 12 KiB and more. */
const derSequence = 0x30;

export function activationKeys(request: ActivationRequest): ActivationKeys {
  const akName = nameOf(parsePublic(request.akPublic));
  const endorsementKey =
    'ekCertificate' in request
      ? parseCertificate(request.ekCertificate, 'evidence').publicKey
      : publicKey(request.ekPublic);
  credentialProfile(endorsementKey);
  return { akName, endorsementKey, ekPublic: Uint8Array.from(spkiOf(endorsementKey)) };
}

function publicKey(bytes: Uint8Array): KeyObject {
  if (bytes[0] !== derSequence) return publicKeyOf(parsePublic(bytes));
  try {
    return createPublicKey({ key: Buffer.from(bytes), format: 'der', type: 'spki' });
  } catch (cause) {
    throw evidenceInvalid('the endorsement key is no public key', { check: 'ek-kind' }, cause);
  }
}
