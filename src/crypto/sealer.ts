/**
 * Sealer: the one contract for sealing units, with implementations in `openssl-sealer.ts` (EVP
 * functions of Node's own OpenSSL, called in place through node:ffi), `node-sealer.ts` (node:crypto)
 * and `plain-sealer.ts` (`--protection none`: copies, authenticates nothing).
 *
 * A unit is `length` bytes of ciphertext followed by a 16-byte tag. The cipher is AES-256-GCM with
 * the 12-byte nonce BE32(slot) || BE64(block) and no additional data: format version, kind, volume,
 * segment and key epoch are bound through the derivation of the key (spec/segment-format.md), slot
 * and block number through the nonce, so a unit that is moved, swapped or replayed fails. A
 * (key, slot) pair seals at most one plaintext ever; the caller guarantees it by never reusing a slot.
 */
import type { Region } from '../lib/region.ts';

export const tagBytes = 16;
export const keyBytes = 32;
export const nonceBytes = 12;

export type SealerName = 'openssl-ffi' | 'node-crypto' | 'none';

/** A key ready for use. Not reentrant: one thread, one call at a time. */
export interface SealingKey {
  /** Seals source[sourceOffset, +length) into target[targetOffset, +length + 16). Regions may be the same, ranges must not overlap. */
  seal(
    slot: number,
    block: number,
    length: number,
    source: Region,
    sourceOffset: number,
    target: Region,
    targetOffset: number,
  ): void;
  /**
   * Opens source[sourceOffset, +length + 16) into target[targetOffset, +length). Returns false, with
   * the target zeroed, when the tag does not match.
   */
  open(
    slot: number,
    block: number,
    length: number,
    source: Region,
    sourceOffset: number,
    target: Region,
    targetOffset: number,
  ): boolean;
  /** Frees the key schedule and wipes it. Idempotent; later calls of seal and open throw. */
  destroy(): void;
}

export interface Sealer {
  readonly name: SealerName;
  /** Takes 32 bytes and copies them into its own schedule; the caller may wipe its copy afterwards. */
  createKey(key: Uint8Array): SealingKey;
}
