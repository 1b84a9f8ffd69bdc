/** Digests and comparison of secrets. */
import { createHash, hash as hashNow, timingSafeEqual } from 'node:crypto';

/** SHA-256 over the parts one after the other. The caller frames them: lengths are not hashed. */
export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return plainBytes(hash.digest());
}

/** SHA-256 over one piece: the quickest way where there are many small ones. */
export function sha256Of(bytes: Uint8Array): Uint8Array {
  return plainBytes(hashNow('sha256', bytes, 'buffer'));
}

/** A SHA-256 over bytes that come in pieces. */
export interface RunningDigest {
  update(bytes: Uint8Array): void;
  finish(): Uint8Array;
}

export function startDigest(): RunningDigest {
  const hash = createHash('sha256');
  return {
    update: (bytes) => void hash.update(bytes),
    finish: () => plainBytes(hash.digest()),
  };
}

/** Whether two byte strings are equal, in a time that depends on their lengths alone. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}

/** The same memory as a plain Uint8Array: a Buffer stays inside the file that needed node:crypto. */
export function plainBytes(bytes: Uint8Array<ArrayBufferLike>): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
