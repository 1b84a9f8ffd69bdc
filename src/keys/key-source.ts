/**
 * KeySource: where a key-encryption key comes from. A slot of the keyring stores the source's kind
 * and its public parameters; the source turns those parameters back into the key.
 *
 * Rules that `test/conformance/key-source.ts` checks:
 * - `enroll` never returns the same parameters twice (fresh salt or fresh wrapped key).
 * - `derive(enroll().parameters)` gives the same 32 bytes; another secret gives others or `key-wrong`.
 * - Parameters are read before anything is authenticated: whatever an attacker writes there must at
 *   worst give a wrong key or a named error, never a weaker one (`key-parameters-weak`), never long work.
 * - The returned key belongs to the caller, who wipes it.
 */
export type KeySourceKind = 'passphrase' | 'key-file' | 'none';

export interface Enrolment {
  readonly parameters: Uint8Array; // public, stored in the slot
  readonly key: Uint8Array; // 32 bytes
}

export interface KeySource {
  readonly kind: KeySourceKind;
  /** A name for people; holds no secret. */
  readonly describe: string;
  enroll(): Promise<Enrolment>;
  derive(parameters: Uint8Array): Promise<Uint8Array>;
}

/** A source that holds a secret in memory. */
export interface HeldKeySource extends KeySource {
  /** Zeroes the secret. Idempotent; later calls of enroll and derive are refused. */
  wipe(): void;
}
