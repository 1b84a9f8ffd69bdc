/**
 * Content: what a volume, an image or a pipe holds, read through once from front to back.
 *
 * Reading goes by pieces on a fixed grid, so that what is seen never depends on how holes happen to be
 * cut. Several reads are in flight, the visitor is called in order, and memory is bounded by the pieces.
 */
import type { BlockDevice, Completion } from '../export/block-device.ts';
import { assert } from '../lib/assert.ts';
import { CaissonError } from '../lib/errors.ts';
import { contentPieceBytes, contentReadsInFlightMax } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import { blockBytes } from '../lib/sizes.ts';

export interface Stretch {
  readonly offset: number; // bytes
  readonly length: number; // bytes
}

export interface ContentSource {
  /** Bytes; undefined where only the end tells (a pipe). */
  readonly size: number | undefined;
  /** The first stretch at or behind `offset` that may hold data; undefined when only zeroes follow. */
  nextData(offset: number): Promise<Stretch | undefined>;
  /** The count read into the start of `target`: less than `length` only at the end. Asked in order, several at a time. */
  read(offset: number, length: number, target: Region): Promise<number>;
}

export interface ContentVisitor {
  /** The region is the visitor's until the answer; it may write beyond `length`. */
  data(offset: number, region: Region, length: number): Completion;
  /** Nothing but zeroes. */
  hole(offset: number, length: number): Completion;
}

interface PendingPiece {
  readonly offset: number;
  readonly length: number;
  readonly region: Region;
  readonly count: Promise<number>;
}

/** Resolves to the bytes the source held. */
export async function readContent(
  source: ContentSource,
  visitor: ContentVisitor,
  signal: AbortSignal | undefined,
): Promise<number> {
  const pieces = new PiecePlan(source);
  const idle = Array.from({ length: contentReadsInFlightMax }, () => new Region(contentPieceBytes));
  const pending: PendingPiece[] = [];
  let seen = 0;
  try {
    for (;;) {
      signal?.throwIfAborted();
      while (idle.length > 0) {
        const piece = await pieces.next();
        if (piece === undefined) break;
        const region = idle.pop()!;
        const count = source.read(piece.offset, piece.length, region);
        count.catch(() => undefined); // it is awaited in its turn
        pending.push({ ...piece, region, count });
      }
      const piece = pending.shift();
      if (piece === undefined) break;
      const count = await piece.count;
      if (piece.offset > seen && count > 0) await visitor.hole(seen, piece.offset - seen);
      if (count > 0) await visitor.data(piece.offset, piece.region, count);
      if (count > 0) seen = piece.offset + count;
      idle.push(piece.region);
      if (count === piece.length) continue;
      if (source.size !== undefined) throw endedEarly(piece.offset + count, source.size);
      break;
    }
  } finally {
    await Promise.allSettled(pending.map(({ count }) => count)); // the regions are still being read into
  }
  if (source.size !== undefined && seen < source.size) await visitor.hole(seen, source.size - seen);
  return source.size ?? seen;
}

/** Which pieces of the grid hold data. */
class PiecePlan {
  readonly #source: ContentSource;
  #at = 0;
  #data: Stretch = { offset: 0, length: 0 };

  constructor(source: ContentSource) {
    this.#source = source;
  }

  async next(): Promise<Stretch | undefined> {
    const { size } = this.#source;
    if (size !== undefined && this.#at >= size) return undefined;
    if (this.#data.offset + this.#data.length <= this.#at) {
      const data = await this.#source.nextData(this.#at);
      if (data === undefined) {
        this.#at = Number.MAX_SAFE_INTEGER;
        return undefined;
      }
      this.#data = data;
    }
    const offset = Math.max(this.#at, this.#data.offset - (this.#data.offset % contentPieceBytes));
    assert(offset % contentPieceBytes === 0, 'a piece lies on the grid');
    const length = Math.min(contentPieceBytes, (size ?? Number.MAX_SAFE_INTEGER) - offset);
    this.#at = offset + contentPieceBytes;
    return length > 0 ? { offset, length } : undefined;
  }
}

const extentsAtOnce = 64;

/** A volume as content: its first `size` bytes, of which only what is allocated is read. */
export function deviceContent(device: BlockDevice, size: number): ContentSource {
  return {
    size,
    nextData: async (offset) => {
      let at = offset;
      while (at < size) {
        const extents = await device.extents(at, Math.min(device.size, roundUp(size)) - at, extentsAtOnce);
        if (extents.length === 0) return { offset: at, length: size - at };
        for (const { length, zero } of extents) {
          if (!zero) return { offset: at, length };
          at += length;
        }
      }
      return undefined;
    },
    read: async (offset, length, target) => {
      await device.read(offset, length, target, 0);
      return length;
    },
  };
}

/** To a whole number of blocks. */
export function roundUp(bytes: number): number {
  return Math.ceil(bytes / blockBytes) * blockBytes;
}

function endedEarly(at: number, size: number): CaissonError {
  return new CaissonError('io', 'import-ended-early', `the source ended after ${at} of ${size} bytes`, {
    remedy: 'Nothing of it was kept. Check the source and import it again.',
    details: { bytes: at, size },
  });
}
