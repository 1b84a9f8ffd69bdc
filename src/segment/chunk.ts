/**
 * Chunks: the pieces of memory in which a segment takes shape before it is written to the spool file.
 *
 * A chunk covers file range [fileStart, fileStart + filled). Bytes up to `complete` belong to closed
 * records and may be written; bytes up to `submitted` have been handed to the file. A unit or a record
 * header never spans two chunks. A chunk goes back to the pool when all of it is in the file.
 */
import { Region } from '../lib/region.ts';

/** One record of 32 large units is 1,049,680 bytes; a chunk holds one and some room for small ones. */
export const chunkBytes = 1_179_648;

export class Chunk {
  readonly region = new Region(chunkBytes);
  readonly view = new DataView(this.region.bytes.buffer);
  fileStart = 0;
  filled = 0;
  complete = 0;
  submitted = 0;
  writesInFlight = 0;
  /** No more bytes will be added: once written, it can go. */
  closed = false;
}

export class ChunkPool {
  readonly #free: Chunk[] = [];
  readonly #keepMax: number;
  #inUse = 0;

  constructor(keepMax: number) {
    this.#keepMax = keepMax;
  }

  /** Chunks handed out and not given back. */
  get inUse(): number {
    return this.#inUse;
  }

  acquire(fileStart: number): Chunk {
    const chunk = this.#free.pop() ?? new Chunk();
    chunk.fileStart = fileStart;
    chunk.filled = 0;
    chunk.complete = 0;
    chunk.submitted = 0;
    chunk.writesInFlight = 0;
    chunk.closed = false;
    this.#inUse++;
    return chunk;
  }

  release(chunk: Chunk): void {
    this.#inUse--;
    if (this.#free.length < this.#keepMax) this.#free.push(chunk);
  }
}
