/**
 * BlockDevice: all that an export (NBD, FUSE, in-process) ever sees of a volume.
 *
 * Rules that every implementation keeps and `test/conformance/block-device.ts` checks:
 * - Offsets and lengths are bytes. Any alignment is accepted; whole 4 KiB blocks are the fast case.
 * - The caller has checked ranges against `size`; a range outside throws `range-outside` all the same.
 * - A call that can finish at once returns undefined and allocates nothing; otherwise it returns a
 *   promise. Errors are CaissonError, thrown or rejected. After an error the content of the target
 *   of a read is unspecified and must not be sent to anybody.
 * - A write is visible to every later read as soon as the call returned undefined or resolved, and
 *   durable after the next `flush` that starts later. `flush` covers every write answered before it
 *   on any connection, which is what makes NBD's CAN_MULTI_CONN legal.
 * - `source` may be reused by the caller as soon as `write` or `push` returned (not: resolved).
 */
import type { Region } from '../lib/region.ts';

/** Done now, or later. */
export type Completion = void | Promise<void>;

export interface Extent {
  readonly length: number; // bytes
  readonly hole: boolean; // no space is taken in the store
  readonly zero: boolean; // reads as zeroes
}

/** One write whose payload arrives in pieces, in order. */
export interface BlockWrite {
  /** Takes the next `length` bytes at once; the bytes are sealed or copied before it returns. */
  push(source: Region, sourceOffset: number, length: number): void;
  /** To be called exactly once, when all bytes are pushed. With `fua` it completes when durable. */
  finish(fua: boolean): Completion;
  /** The rest will never come (the client died). Whole blocks that were pushed may or may not remain. */
  abort(): void;
}

export interface BlockDevice {
  /** Bytes; a multiple of 512. May change by `resize`. */
  readonly size: number;
  readonly readOnly: boolean;
  /** The block size that avoids read-modify-write, bytes: 4096; 512 for images that are never written. */
  readonly blockSize: number;

  read(offset: number, length: number, target: Region, targetOffset: number): Completion;
  /** A write whose whole payload is at hand. */
  write(offset: number, length: number, source: Region, sourceOffset: number, fua: boolean): Completion;
  /** A write whose payload arrives in pieces. Several may be open at once. */
  beginWrite(offset: number, length: number): BlockWrite;
  /** Makes the range read as zeroes; with `mayPunch` the space may be given back. */
  zero(offset: number, length: number, mayPunch: boolean, fua: boolean): Completion;
  /** Gives back the whole blocks inside the range; they read as zeroes afterwards. */
  trim(offset: number, length: number, fua: boolean): Completion;
  flush(): Promise<void>;
  /**
   * The extents that cover [offset, offset + length), in order, at most `countMax` of them; the last
   * may end early. May complete later when pieces of the map must be fetched.
   */
  extents(offset: number, length: number, countMax: number): Extent[] | Promise<Extent[]>;
  resize(size: number): Promise<void>;
  /**
   * Back-pressure. Undefined: go on. A promise: too much unwritten data is buffered; take no new
   * write until it resolves (it never rejects). Ask after each batch of requests.
   */
  pressure(): Promise<void> | undefined;
  /** Calls `listener` after each change of size; returns the function that stops it. */
  onResize(listener: (size: number) => void): () => void;
}
