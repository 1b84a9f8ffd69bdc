/**
 * WritePath: bytes from the caller into units of the log, and the map pointed at them.
 *
 * The synchronous part takes whole blocks whose map leaves are resident and which nobody holds; all
 * else (parts of blocks, cold leaves, held ranges) is copied once and done in steps under a lock.
 *
 * Invariant: the append to the log and the change of the map happen in one turn of the event loop, so
 * log order is map order.
 */
import type { BlockMap } from '../block-map/block-map.ts';
import { leafBlocks } from '../block-map/map-format.ts';
import { assert } from '../lib/assert.ts';
import { CaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import { blockBytes, EntryKind, largeUnitBlocks, largeUnitBytes } from '../segment/segment-format.ts';
import { RangeLocks } from './range-locks.ts';
import type { ReadPath } from './read-path.ts';
import type { WriteLog } from './write-log.ts';

export interface WritePathOptions {
  readonly map: BlockMap;
  readonly log: WriteLog;
  readonly reader: ReadPath;
  /** Throws when the volume takes no writes; called again after each wait. */
  readonly check: () => void;
}

export class WritePath {
  readonly #map: BlockMap;
  readonly #log: WriteLog;
  readonly #reader: ReadPath;
  readonly #check: () => void;
  readonly locks = new RangeLocks();

  constructor(options: WritePathOptions) {
    this.#map = options.map;
    this.#log = options.log;
    this.#reader = options.reader;
    this.#check = options.check;
  }

  /** Writes bytes of any alignment; the source is free again when this returns. */
  write(offset: number, length: number, source: Region, sourceOffset: number): void | Promise<void> {
    if (length === 0) return;
    if (
      offset % blockBytes === 0 &&
      length % blockBytes === 0 &&
      this.canAppend(offset / blockBytes, length / blockBytes)
    ) {
      this.appendBlocks(offset / blockBytes, length / blockBytes, source, sourceOffset);
      return;
    }
    const copy = new Region(length);
    copy.bytes.set(source.bytes.subarray(sourceOffset, sourceOffset + length));
    return this.writeSlowly(offset, length, copy);
  }

  /** Whether whole blocks can be appended at once. */
  canAppend(block: number, count: number): boolean {
    // The volume may have become smaller since the write began.
    if (block + count > this.#map.blockCount) return false;
    if (this.locks.size > 0 && this.locks.overlaps(block, block + count - 1)) return false;
    return this.#map.isPrepared(block, count, false);
  }

  /** Seals whole blocks; `canAppend` said yes in this turn. */
  appendBlocks(block: number, count: number, source: Region, sourceOffset: number): void {
    let at = block;
    let from = sourceOffset;
    const end = block + count;
    while (at < end) {
      if (at % largeUnitBlocks === 0 && end - at >= largeUnitBlocks) {
        const slot = this.#log.appendUnit(EntryKind.large, at, source, from);
        this.#map.setUnit(at, true, this.#log.objectIndex, slot);
        at += largeUnitBlocks;
        from += largeUnitBytes;
      } else {
        const slot = this.#log.appendUnit(EntryKind.block, at, source, from);
        this.#map.setUnit(at, false, this.#log.objectIndex, slot);
        at++;
        from += blockBytes;
      }
    }
  }

  /** A write in steps; `source` belongs to it from now on. */
  async writeSlowly(offset: number, length: number, source: Region): Promise<void> {
    const first = Math.floor(offset / blockBytes);
    const last = Math.floor((offset + length - 1) / blockBytes);
    const release = await this.locks.acquire(first, last);
    try {
      this.#checkInside(last);
      const whole = await this.#widen(offset, length, source, first, last);
      await this.#appendWhenReady(first, last - first + 1, whole);
    } finally {
      release();
    }
  }

  /** Zeroes any range: whole blocks as one extent, the two ends by read-modify-write. */
  zero(offset: number, length: number, allocated: boolean): void | Promise<void> {
    if (length === 0) return;
    const first = Math.ceil(offset / blockBytes);
    const end = Math.floor((offset + length) / blockBytes);
    const aligned = first * blockBytes === offset && end * blockBytes === offset + length;
    if (aligned && this.#canExtend(first, end - first)) {
      this.#appendExtent(first, end - first, allocated);
      return;
    }
    return this.#zeroSlowly(offset, length, allocated);
  }

  /** Gives back the whole blocks inside the range. */
  trim(offset: number, length: number): void | Promise<void> {
    const first = Math.ceil(offset / blockBytes);
    const end = Math.floor((offset + length) / blockBytes);
    if (end <= first) return;
    if (this.#canExtend(first, end - first)) {
      this.#appendExtent(first, end - first, false);
      return;
    }
    return this.#extendSlowly(first, end - first, false);
  }

  /** Notes a new size in the log and the map; what lies beyond a smaller one is gone. */
  async resize(blockCount: number): Promise<void> {
    const before = this.#map.blockCount;
    const release = await this.locks.acquire(Math.min(before, blockCount), Number.MAX_SAFE_INTEGER);
    try {
      const prepare = () => {
        const gone = this.#map.blockCount - blockCount;
        return gone > 0 ? this.#map.prepare(blockCount, gone, true) : undefined;
      };
      await this.#whenReady(prepare, () => {
        this.#log.appendSize(blockCount);
        this.#map.resize(blockCount);
      });
    } finally {
      release();
    }
  }

  #canExtend(block: number, count: number): boolean {
    if (this.locks.size > 0 && this.locks.overlaps(block, block + count - 1)) return false;
    return this.#map.isPrepared(block, count, true);
  }

  #appendExtent(block: number, count: number, allocated: boolean): void {
    this.#log.appendExtent(allocated ? EntryKind.zero : EntryKind.hole, block, count);
    this.#map.setExtent(block, count, allocated);
  }

  async #zeroSlowly(offset: number, length: number, allocated: boolean): Promise<void> {
    const first = Math.ceil(offset / blockBytes);
    const end = Math.floor((offset + length) / blockBytes);
    if (end <= first) return this.writeSlowly(offset, length, new Region(length));
    const head = first * blockBytes - offset;
    const tail = offset + length - end * blockBytes;
    if (head > 0) await this.writeSlowly(offset, head, new Region(head));
    await this.#extendSlowly(first, end - first, allocated);
    if (tail > 0) await this.writeSlowly(end * blockBytes, tail, new Region(tail));
  }

  async #extendSlowly(block: number, count: number, allocated: boolean): Promise<void> {
    const release = await this.locks.acquire(block, block + count - 1);
    try {
      this.#checkInside(block + count - 1);
      await this.#whenReady(
        () => this.#map.prepare(block, count, true),
        () => this.#appendExtent(block, count, allocated),
      );
    } finally {
      release();
    }
  }

  /** A change of size that was asked for earlier may have taken the range away while this one waited. */
  #checkInside(last: number): void {
    if (last < this.#map.blockCount) return;
    throw new CaissonError(
      'invalid',
      'range-outside',
      `block ${last} lies beyond the volume's ${this.#map.blockCount}: it became smaller meanwhile`,
    );
  }

  /** Completes partial blocks at the ends with what they hold now; the range is locked. */
  async #widen(offset: number, length: number, source: Region, first: number, last: number): Promise<Region> {
    const head = offset - first * blockBytes;
    const blocks = last - first + 1;
    if (head === 0 && length === blocks * blockBytes) return source;
    const whole = new Region(blocks * blockBytes);
    const tail = blocks * blockBytes - head - length;
    if (head > 0) await this.#reader.readBlocks(first, 1, whole, 0);
    if (tail > 0 && (blocks > 1 || head === 0))
      await this.#reader.readBlocks(last, 1, whole, (blocks - 1) * blockBytes);
    whole.bytes.set(source.bytes.subarray(0, length), head);
    return whole;
  }

  async #appendWhenReady(block: number, count: number, source: Region): Promise<void> {
    // Leaf by leaf at most: a write of 32 MiB must not need all its leaves in memory at one instant.
    let done = 0;
    while (done < count) {
      const step = Math.min(leafBlocks - ((block + done) % leafBlocks), count - done);
      const at = block + done;
      const from = done * blockBytes;
      await this.#whenReady(
        () => this.#map.prepare(at, step, false),
        () => this.appendBlocks(at, step, source, from),
      );
      done += step;
    }
  }

  /**
   * Changes the map in the very step in which `prepare` found nothing to wait for: were the change left
   * to the caller, a load that ends between this function and its caller could evict the leaf again.
   */
  async #whenReady(prepare: () => Promise<void> | undefined, change: () => void): Promise<void> {
    for (let preparing = prepare(); preparing !== undefined; preparing = prepare()) await preparing;
    this.#check();
    change();
  }
}

/** A write whose payload arrives in pieces: whole units are sealed as they come. */
export class PieceWrite {
  readonly #path: WritePath;
  readonly #end: number;
  #position: number;
  /** The unit that is not complete yet. */
  #staging: Region | undefined;
  #staged = 0;
  #unitBytes = 0;
  /** Set once the rest must be done in steps: everything from here on is collected. */
  #collected: Region | undefined;
  #collectedFrom = 0;

  constructor(path: WritePath, offset: number, length: number) {
    this.#path = path;
    this.#position = offset;
    this.#end = offset + length;
    if (offset % blockBytes !== 0 || length % blockBytes !== 0) this.#collect(offset);
  }

  push(source: Region, sourceOffset: number, length: number): void {
    assert(this.#position + this.#staged + length <= this.#end, 'a write gets the bytes it announced');
    let from = sourceOffset;
    let left = length;
    while (left > 0) {
      const taken = this.#collected !== undefined ? this.#take(source, from, left) : this.#advance(source, from, left);
      from += taken;
      left -= taken;
    }
  }

  finish(): void | Promise<void> {
    assert(this.#position === this.#end && this.#staged === 0, 'a write is finished when all its bytes came');
    if (this.#collected === undefined) return;
    return this.#path.writeSlowly(this.#collectedFrom, this.#end - this.#collectedFrom, this.#collected);
  }

  abort(): void {
    this.#collected = undefined;
    this.#staging = undefined;
  }

  #take(source: Region, from: number, length: number): number {
    this.#collected!.bytes.set(source.bytes.subarray(from, from + length), this.#position - this.#collectedFrom);
    this.#position += length;
    return length;
  }

  #advance(source: Region, from: number, length: number): number {
    if (this.#staged > 0) return this.#stage(source, from, length);
    const rest = this.#end - this.#position;
    const toLarge = this.#position % largeUnitBytes;
    const large = toLarge === 0 && rest >= largeUnitBytes;
    this.#unitBytes = large ? largeUnitBytes : blockBytes;
    if (length < this.#unitBytes) return this.#stage(source, from, length);
    // Up to the next boundary of a large unit single blocks, then as many large units as are at hand.
    const reach = large
      ? length - (length % largeUnitBytes)
      : Math.min(length - (length % blockBytes), toLarge === 0 ? rest : largeUnitBytes - toLarge);
    if (!this.#path.canAppend(this.#position / blockBytes, reach / blockBytes)) {
      this.#collect(this.#position);
      return 0;
    }
    this.#path.appendBlocks(this.#position / blockBytes, reach / blockBytes, source, from);
    this.#position += reach;
    return reach;
  }

  #stage(source: Region, from: number, length: number): number {
    this.#staging ??= new Region(largeUnitBytes);
    const taken = Math.min(length, this.#unitBytes - this.#staged);
    this.#staging.bytes.set(source.bytes.subarray(from, from + taken), this.#staged);
    this.#staged += taken;
    if (this.#staged < this.#unitBytes) return taken;
    const staged = this.#staged;
    this.#staged = 0;
    if (this.#path.canAppend(this.#position / blockBytes, staged / blockBytes)) {
      this.#path.appendBlocks(this.#position / blockBytes, staged / blockBytes, this.#staging, 0);
      this.#position += staged;
    } else {
      this.#collect(this.#position);
      this.#take(this.#staging, 0, staged);
    }
    return taken;
  }

  #collect(from: number): void {
    this.#collectedFrom = from;
    this.#collected = new Region(Math.max(this.#end - from, 1));
  }
}
