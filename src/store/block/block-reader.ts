/** ObjectReaders of a block store: over units of the device, and over an object that is kept in memory. */
import { CaissonError } from '../../lib/errors.ts';
import type { Region } from '../../lib/region.ts';
import { shortObject } from '../file-reader.ts';
import type { ObjectReader } from '../store.ts';
import type { Stored } from './block-index.ts';
import type { BlockMedium } from './block-medium.ts';

export class BlockReader implements ObjectReader {
  readonly size: number;
  readonly #medium: BlockMedium;
  readonly #name: string;
  readonly #stored: Stored;
  readonly #ownsPin: boolean;
  #isClosed = false;
  #inFlightCount = 0;
  #whenIdle: (() => void) | undefined;

  /** `ownsPin` false: the reader belongs to a spool file, which has a pin of its own. */
  constructor(medium: BlockMedium, name: string, stored: Stored, ownsPin: boolean) {
    this.size = stored.size;
    this.#medium = medium;
    this.#name = name;
    this.#stored = stored;
    this.#ownsPin = ownsPin;
    if (ownsPin) medium.pin(stored);
  }

  tryRead(offset: number, length: number, target: Region, targetOffset: number): boolean {
    this.#check(offset, length);
    const { file } = this.#medium;
    const { extents } = this.#stored;
    if (extents.length === 2) {
      const position = this.#medium.pieces(this.#stored, offset, length)[0]?.position ?? 0;
      return length === 0 || file.readNow(position, length, target, targetOffset) === length;
    }
    return this.#medium
      .pieces(this.#stored, offset, length)
      .every(
        (piece) => file.readNow(piece.position, piece.length, target, targetOffset + piece.offset) === piece.length,
      );
  }

  async read(offset: number, length: number, target: Region, targetOffset: number): Promise<void> {
    this.#check(offset, length);
    this.#inFlightCount++;
    try {
      await Promise.all(
        this.#medium.pieces(this.#stored, offset, length).map(async (piece) => {
          const at = targetOffset + piece.offset;
          const count = await this.#medium.file.read(piece.position, piece.length, target, at);
          if (count !== piece.length) throw shortObject(this.#name, offset, length, piece.offset + count);
        }),
      );
    } finally {
      if (--this.#inFlightCount === 0) this.#whenIdle?.();
    }
  }

  /** The units may go to somebody else once the pin is off, so that reads in flight come first. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#inFlightCount > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    if (this.#ownsPin) this.#medium.unpin(this.#stored);
  }

  #check(offset: number, length: number): void {
    if (this.#isClosed) throw readerClosed(this.#name);
    const { size } = this.#stored;
    if (offset + length > size) throw shortObject(this.#name, offset, length, Math.max(0, size - offset));
  }
}

export class InlineReader implements ObjectReader {
  readonly #name: string;
  readonly #content: Uint8Array;
  #isClosed = false;

  constructor(name: string, content: Uint8Array) {
    this.#name = name;
    this.#content = content;
  }

  get size(): number {
    return this.#content.length;
  }

  tryRead(offset: number, length: number, target: Region, targetOffset: number): boolean {
    if (this.#isClosed) throw readerClosed(this.#name);
    if (offset + length > this.size) throw shortObject(this.#name, offset, length, Math.max(0, this.size - offset));
    target.bytes.set(this.#content.subarray(offset, offset + length), targetOffset);
    return true;
  }

  async read(offset: number, length: number, target: Region, targetOffset: number): Promise<void> {
    this.tryRead(offset, length, target, targetOffset);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }
}

function readerClosed(name: string): CaissonError {
  return new CaissonError('closed', 'store-closed', `the reader of ${name} was closed`, { details: { key: name } });
}
