/**
 * Digests of content. The plain one is what `sha256sum` says of an image. The sparse one leaves holes out, so
 * that the digest of a thin volume costs what it holds and not what it could hold.
 */
import { startDigest } from '../crypto/digest.ts';
import { contentPieceBytes } from '../lib/limits.ts';

export interface ContentDigest {
  /** Pieces come in order, cut on the grid of `readContent`. */
  data(offset: number, bytes: Uint8Array): void;
  hole(length: number): void;
  finish(): Uint8Array;
}

const zeroes = new Uint8Array(contentPieceBytes);
const unitBytes = 32 * 1024;

/** SHA-256 of every byte, holes as zeroes. */
export function startPlainDigest(): ContentDigest {
  const digest = startDigest();
  return {
    data: (_offset, bytes) => digest.update(bytes),
    hole: (length) => {
      for (let at = 0; at < length; at += zeroes.length)
        digest.update(zeroes.subarray(0, Math.min(zeroes.length, length - at)));
    },
    finish: () => digest.finish(),
  };
}

/** SHA-256 of (offset u64, bytes) of each 32 KiB unit that is not all zero. */
export function startSparseDigest(): ContentDigest {
  const digest = startDigest();
  const place = new Uint8Array(8);
  const view = new DataView(place.buffer);
  return {
    data: (offset, bytes) => {
      for (let at = 0; at < bytes.length; at += unitBytes) {
        const unit = bytes.subarray(at, at + unitBytes);
        if (isZero(unit)) continue;
        view.setBigUint64(0, BigInt(offset + at), true);
        digest.update(place);
        digest.update(unit);
      }
    },
    hole: () => undefined,
    finish: () => digest.finish(),
  };
}

/** At most `contentPieceBytes` of them. */
export function isZero(bytes: Uint8Array): boolean {
  if (bytes.length === 0 || bytes[0] !== 0) return bytes.length === 0;
  return Buffer.compare(bytes, zeroes.subarray(0, bytes.length)) === 0;
}
