/**
 * Credential activation of TPMs within a challenge: the broker makes a credential that only one TPM can
 * open, and knows its secret again from the nonce, without remembering anything (spec/broker-http.md).
 */
import { createPublicKey } from 'node:crypto';
import { equalBytes } from '../../crypto/digest.ts';
import { CaissonError } from '../../lib/errors.ts';
import type { Evidence } from '../../wire/evidence.ts';
import { activationKeys } from '../attest/tpm/activation.ts';
import type { ActivationKeys, ActivationRequest } from '../attest/tpm/activation.ts';
import { makeCredential } from '../attest/tpm/credential.ts';
import type { Credential } from '../attest/tpm/credential.ts';
import type { TrustedRoot, VerifyContext } from '../attest/verifier.ts';
import type { Nonces } from './nonces.ts';

export interface TpmKeys {
  readonly akPublic: Uint8Array;
  readonly ekPublic?: Uint8Array | undefined;
  readonly ekCertificate?: Uint8Array | undefined;
}

export class Credentials {
  readonly #nonces: Nonces;
  readonly #pinned: readonly Uint8Array[];

  /** Endorsement keys without a certificate are among the extra roots. */
  constructor(nonces: Nonces, extraRoots: readonly TrustedRoot[]) {
    this.#nonces = nonces;
    this.#pinned = extraRoots
      .filter(({ technology, der }) => technology === 'tpm' && isPublicKey(der))
      .map(({ der }) => der);
  }

  prepare(nonce: Uint8Array, keys: TpmKeys): Credential {
    const { akName, endorsementKey, ekPublic } = activationKeys(activationRequest(keys));
    return makeCredential(endorsementKey, akName, this.#nonces.activationSecret(nonce, akName, ekPublic));
  }

  /** What the evidence must show that its TPM opened; undefined where it shows nothing. */
  expected(nonce: Uint8Array, { technology, parts }: Evidence): VerifyContext['activation'] {
    const { activation, akPublic, ekCertificate } = parts;
    if (technology !== 'tpm' || activation === undefined || akPublic === undefined) return undefined;
    const secretFor = ({ akName, ekPublic }: Pick<ActivationKeys, 'akName' | 'ekPublic'>) => ({
      ...{ akName, ekPublic },
      secret: this.#nonces.activationSecret(nonce, akName, ekPublic),
    });
    if (ekCertificate !== undefined) return secretFor(activationKeys({ akPublic, ekCertificate }));
    const [pinned] = this.#pinned;
    if (pinned === undefined) return undefined;
    const { akName } = activationKeys({ akPublic, ekPublic: pinned });
    return this.#pinned
      .map((ekPublic) => secretFor({ akName, ekPublic }))
      .find(({ secret }) => equalBytes(secret, activation));
  }
}

/** Or else a certificate. */
function isPublicKey(der: Uint8Array): boolean {
  try {
    createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' });
    return true;
  } catch {
    return false;
  }
}

function activationRequest({ akPublic, ekPublic, ekCertificate }: TpmKeys): ActivationRequest {
  if (ekCertificate !== undefined) return { akPublic, ekCertificate };
  if (ekPublic !== undefined) return { akPublic, ekPublic };
  throw new CaissonError('invalid', 'argument-invalid', 'a credential needs an endorsement key');
}
