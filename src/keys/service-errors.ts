/** The failures that all services share, so that they read alike and end the opening of a keyring alike. */
import { CaissonError } from '../lib/errors.ts';
import type { ErrorOptions } from '../lib/errors.ts';
import type { ServiceKeyKind } from '../lib/key-kinds.ts';

/** How a kind is called in messages. */
export const serviceNames: Readonly<Record<ServiceKeyKind, string>> = {
  tpm: 'the TPM',
  pkcs11: 'the PKCS#11 token',
  kmip: 'the KMIP server',
  tang: 'the Tang server',
  vault: 'Vault',
  'aws-kms': 'AWS KMS',
  broker: 'the broker',
  kbs: 'the KBS',
  keystore: 'the keystore',
};

/** No answer, or none but "later": the same may succeed in a while. */
export function serviceAway(kind: ServiceKeyKind, what: string, options: ErrorOptions = {}): CaissonError {
  return new CaissonError('transient', 'key-source-unavailable', `${serviceNames[kind]} gives no key: ${what}`, {
    remedy: 'Check that the service runs and can be reached from here, then try again.',
    ...options,
  });
}

/** The service answers, but not to us: a permission, a PIN, a setting. Trying again helps nobody, and may lock a PIN. */
export function serviceRefuses(kind: ServiceKeyKind, what: string, remedy: string, cause?: unknown): CaissonError {
  return new CaissonError('denied', 'key-source-unavailable', `${serviceNames[kind]} gives no key: ${what}`, {
    remedy,
    ...(cause === undefined ? {} : { cause }),
  });
}

/** What the slot holds was wrapped by another key, for another volume, or by nobody: the next slot may fit. */
export function wrongWrap(kind: ServiceKeyKind, what: string): CaissonError {
  return new CaissonError('denied', 'key-wrong', `${serviceNames[kind]} does not open this volume: ${what}`, {
    remedy: 'Check that the URL names the key under which the volume was enrolled.',
  });
}
