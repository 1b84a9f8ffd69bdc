/**
 * KeySource: where a key-encryption key comes from. A slot of the keyring stores the source's kind
 * and its public parameters; the source turns those parameters back into the key.
 *
 * Rules that `test/conformance/key-source.ts` checks:
 * - `enroll` never returns the same parameters twice (fresh salt or fresh wrapped key).
 * - `derive(enroll().parameters)` gives the same 32 bytes; another secret gives others or `key-wrong`.
 * - A source of `serviceKeyKinds` binds what it enrols to the volume: for another volume id the same parameters
 *   give another key or `key-wrong`.
 * - Parameters are read before anything is authenticated: whatever an attacker writes there must at
 *   worst give a wrong key or a named error, never a weaker one (`key-parameters-weak`), never long work.
 *   Addresses and algorithms therefore come from the source's own configuration, never from parameters.
 * - A source that cannot be asked is `key-source-unavailable`, which ends the attempt to open; parameters that the
 *   source refuses are `key-wrong`, after which the next slot is tried.
 * - The returned key belongs to the caller, who wipes it.
 */
import type { KeyKind } from '../lib/key-kinds.ts';

export type KeySourceKind = KeyKind;

/** What a key is for. A service may log it and bind its answer to it, so it is public. */
export interface KeyUse {
  /** 16 bytes: the volume, or whatever else has a keyring, such as a broker. */
  readonly volumeId: Uint8Array;
}

export interface Enrolment {
  readonly parameters: Uint8Array; // public, stored in the slot
  readonly key: Uint8Array; // 32 bytes
}

export interface KeySource {
  readonly kind: KeySourceKind;
  /** A name for people; holds no secret. */
  readonly describe: string;
  enroll(use: KeyUse): Promise<Enrolment>;
  derive(parameters: Uint8Array, use: KeyUse): Promise<Uint8Array>;
}

/** A source that holds a secret in memory, or a way to one. */
export interface HeldKeySource extends KeySource {
  /** Zeroes the secret. Idempotent; later calls of enroll and derive are refused. */
  wipe(): void;
}
