/**
 * HashedVolume: an image as a read-only BlockDevice, checked while it is read.
 *
 * The synchronous part serves what needs no waiting: checked digests in the cache, leaves in the page
 * cache. It stops at the first leaf that needs more; the slow part fetches that and goes on.
 *
 * Invariant: not a byte reaches the caller whose leaf was not hashed and found in the tree since it
 * came from the store. Any number of readers may have the image open, in any number of processes.
 */
import type { BlockDevice, BlockWrite, Extent } from '../export/block-device.ts';
import { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { hashedRunLeavesMax, hashedScratchCountMax } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import { blockBytes } from '../lib/sizes.ts';
import type { Store } from '../store/store.ts';
import { damaged, namedFor } from './hashed-errors.ts';
import {
  digestBytes,
  domainBytes,
  formatRoot,
  isDigestAt,
  leafBytes,
  leafDigestOf,
  spanBytes,
  tableBytes,
} from './hashed-format.ts';
import { HashedTree, readRootRecord } from './hashed-tree.ts';
import type { HashedTreeOptions, Span } from './hashed-tree.ts';

export interface HashedStats {
  readonly reads: number;
  readonly bytesRead: number;
  /** Leaves that came from the store and were hashed. */
  readonly leavesChecked: number;
  /** Tables of digests that came from the store and were hashed. */
  readonly tablesChecked: number;
}

export interface HashedInfo {
  readonly root: string;
  readonly imageBytes: number;
  /** Content that is not zeros, in whole leaves. */
  readonly dataBytes: number;
}

/** Opens an image by its root. Nothing else is needed: no key, no lock, no memory of it. */
export async function openHashed(
  store: Store,
  root: Uint8Array,
  options: HashedTreeOptions = {},
): Promise<HashedVolume> {
  return new HashedVolume(root, new HashedTree(store, await readRootRecord(store, root), options));
}

export class HashedVolume implements BlockDevice {
  readonly readOnly = true;
  /** Nothing is written, so that nothing is read for a write; an image may hold a file system with small blocks. */
  readonly blockSize = 512;
  readonly size: number;
  /** The beginning of the root, where a volume has its id. */
  readonly id: string;
  readonly root: string;
  readonly #tree: HashedTree;
  readonly #scratch = newScratch(hashedRunLeavesMax);
  /** The leaf that a small read took last, kept because small reads tend to follow each other. */
  readonly #leaf = newScratch(1);
  #leafIndex = -1;
  readonly #spare: Region[] = [];
  #closed = false;
  #reads = 0;
  #bytesRead = 0;
  #leavesChecked = 0;

  constructor(root: Uint8Array, tree: HashedTree) {
    const { imageBytes } = tree.record;
    this.#tree = tree;
    this.root = formatRoot(root);
    this.id = toHex(root.subarray(0, 16));
    this.size = Math.ceil(imageBytes / blockBytes) * blockBytes;
  }

  /** Memory that checked digests take. */
  get tableBytes(): number {
    return this.#tree.cachedTables * tableBytes;
  }

  info(): HashedInfo {
    const { imageBytes, dataLeaves } = this.#tree.record;
    return { root: this.root, imageBytes, dataBytes: dataLeaves * leafBytes };
  }

  stats(): HashedStats {
    const tablesChecked = this.#tree.tablesLoaded;
    return { reads: this.#reads, bytesRead: this.#bytesRead, leavesChecked: this.#leavesChecked, tablesChecked };
  }

  read(offset: number, length: number, target: Region, targetOffset: number): void | Promise<void> {
    this.#check(offset, length);
    this.#reads++;
    this.#bytesRead += length;
    const end = offset + length;
    const done = this.#readNow(offset, end, target, targetOffset);
    if (done < end) return this.#readSlowly(done, end, target, targetOffset + done - offset);
  }

  extents(offset: number, length: number, countMax: number): Extent[] | Promise<Extent[]> {
    this.#check(offset, length);
    const found = new ExtentList(offset, offset + length, countMax);
    return this.#collectExtents(found) ? found.list : this.#collectSlowly(found);
  }

  write(): never {
    throw this.#refusal('write');
  }

  beginWrite(): BlockWrite {
    throw this.#refusal('write');
  }

  zero(): never {
    throw this.#refusal('zero');
  }

  trim(): never {
    throw this.#refusal('trim');
  }

  async resize(): Promise<void> {
    throw this.#refusal('resize');
  }

  /** Nothing was written: there is nothing to wait for. */
  async flush(): Promise<void> {
    this.#checkOpen();
  }

  pressure(): undefined {
    return undefined;
  }

  /** An image never changes its size. */
  onResize(): () => void {
    return () => undefined;
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#tree.close();
  }

  /** Returns up to where was read without waiting. */
  #readNow(from: number, end: number, target: Region, targetOffset: number): number {
    let offset = from;
    while (offset < end) {
      const spanIndex = Math.floor(offset / spanBytes);
      const span = this.#tree.span(spanIndex);
      if (span === undefined) return offset;
      const at = targetOffset + offset - from;
      const within = offset - spanIndex * spanBytes;
      const leaf = Math.floor(within / leafBytes);
      const rank = span === null ? -1 : span.ranks[leaf]!;
      if (span === null || rank < 0) {
        const zeroEnd = Math.min(end, spanIndex * spanBytes + (span === null ? spanBytes : (leaf + 1) * leafBytes));
        target.bytes.fill(0, at, at + zeroEnd - offset);
        offset = zeroEnd;
        continue;
      }
      const runEnd = Math.min(
        end,
        spanIndex * spanBytes + (leaf + runLength(span, leaf, within, end - offset)) * leafBytes,
      );
      if (!this.#readRunNow(span, leaf, within, runEnd - offset, target, at)) return offset;
      offset = runEnd;
    }
    return offset;
  }

  /** Reads `length` bytes at `within` of the span, all of them in stored leaves next to each other. */
  #readRunNow(span: Span, leaf: number, within: number, length: number, target: Region, targetOffset: number): boolean {
    const skip = within - leaf * leafBytes;
    const count = Math.ceil((skip + length) / leafBytes);
    const leafIndex = (span.index * spanBytes) / leafBytes + leaf;
    if (count === 1 && leafIndex === this.#leafIndex) {
      copyLeaf(this.#leaf, 0, skip, length, target, targetOffset);
      return true;
    }
    const { reader } = span;
    if (reader === undefined) return false;
    const source = count === 1 ? this.#leaf : this.#scratch;
    if (count === 1) this.#leafIndex = -1;
    const position = positionOf(span, leaf);
    try {
      if (!reader.tryRead(position, count * leafBytes, source, domainBytes)) return false;
    } catch (error) {
      throw namedFor(error, span.key);
    }
    const bad = this.#take(span, leaf, count, source, skip, length, target, targetOffset);
    if (bad >= 0) {
      // The slow part reads again what a cache gave up.
      if (reader.forget?.(position, count * leafBytes) === true) return false;
      throw wrongLeaf(span, bad);
    }
    if (count === 1) this.#leafIndex = leafIndex;
    return true;
  }

  /**
   * Hashes each leaf in place and copies it out; returns the first that is wrong, or -1. The domain of a
   * leaf is put over the end of the leaf before it, which was copied already.
   */
  #take(
    span: Span,
    leaf: number,
    count: number,
    source: Region,
    skip: number,
    length: number,
    target: Region,
    targetOffset: number,
  ): number {
    for (let index = 0; index < count; index++) {
      const start = index * leafBytes;
      const digest = leafDigestOf(source.bytes.subarray(start, start + domainBytes + leafBytes));
      if (!isDigestAt(span.digests, (leaf + index) * digestBytes, digest)) return leaf + index;
      this.#leavesChecked++;
      const first = Math.max(start, skip);
      const last = Math.min(start + leafBytes, skip + length);
      copyLeaf(source, start, first - start, last - first, target, targetOffset + first - skip);
    }
    return -1;
  }

  async #readSlowly(from: number, end: number, target: Region, targetOffset: number): Promise<void> {
    let offset = from;
    while (offset < end) {
      this.#checkOpen();
      offset = this.#readNow(offset, end, target, targetOffset + offset - from);
      if (offset < end) offset = await this.#fetch(offset, end, target, targetOffset + offset - from);
    }
  }

  /** Waits for what the leaf at `offset` needs; returns up to where it read itself. */
  async #fetch(offset: number, end: number, target: Region, targetOffset: number): Promise<number> {
    const spanIndex = Math.floor(offset / spanBytes);
    const span = this.#tree.span(spanIndex);
    if (span === null) return offset;
    if (span === undefined) {
      await this.#tree.prepare(spanIndex);
      return offset;
    }
    span.pins++;
    const source = this.#spare.pop() ?? newScratch(hashedRunLeavesMax);
    try {
      await this.#tree.open(span);
      const within = offset - spanIndex * spanBytes;
      const leaf = Math.floor(within / leafBytes);
      const count = runLength(span, leaf, within, end - offset);
      const length = Math.min(end, spanIndex * spanBytes + (leaf + count) * leafBytes) - offset;
      await this.#fetchRun(span, leaf, count, source, within - leaf * leafBytes, length, target, targetOffset);
      return offset + length;
    } catch (error) {
      throw namedFor(error, span.key);
    } finally {
      span.pins--;
      if (this.#spare.length < hashedScratchCountMax) this.#spare.push(source);
    }
  }

  async #fetchRun(
    span: Span,
    leaf: number,
    count: number,
    source: Region,
    skip: number,
    length: number,
    target: Region,
    targetOffset: number,
  ): Promise<void> {
    const { reader } = span;
    if (reader === undefined) throw this.#closedError();
    const position = positionOf(span, leaf);
    for (let attempt = 1; ; attempt++) {
      await reader.read(position, count * leafBytes, source, domainBytes);
      const bad = this.#take(span, leaf, count, source, skip, length, target, targetOffset);
      if (bad < 0) return;
      // Only what a cache on the way had is worth a second look.
      if (attempt > 1 || reader.forget?.(position, count * leafBytes) !== true) throw wrongLeaf(span, bad);
    }
  }

  /** False when a table must be fetched first. */
  #collectExtents(found: ExtentList): boolean {
    while (!found.isFull) {
      const spanIndex = Math.floor(found.offset / spanBytes);
      const span = this.#tree.span(spanIndex);
      if (span === undefined) return false;
      const start = spanIndex * spanBytes;
      if (span === null) {
        found.add(start + spanBytes, true);
        continue;
      }
      const leaf = Math.floor((found.offset - start) / leafBytes);
      const isHole = span.ranks[leaf]! < 0;
      let last = leaf + 1;
      while (last < span.ranks.length && span.ranks[last]! < 0 === isHole) last++;
      found.add(start + (last === span.ranks.length ? spanBytes : last * leafBytes), isHole);
    }
    return true;
  }

  async #collectSlowly(found: ExtentList): Promise<Extent[]> {
    while (!this.#collectExtents(found)) {
      await this.#tree.prepare(Math.floor(found.offset / spanBytes));
      this.#checkOpen();
    }
    return found.list;
  }

  #check(offset: number, length: number): void {
    this.#checkOpen();
    const isRange = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
    if (isRange && offset + length <= this.size) return;
    throw new CaissonError('invalid', 'range-outside', `the range ${offset} + ${length} is not inside the volume`, {
      details: { offset, length, size: this.size },
    });
  }

  #checkOpen(): void {
    if (this.#closed) throw this.#closedError();
  }

  #closedError(): CaissonError {
    return new CaissonError('closed', 'volume-closed', `the image ${this.root} was closed`);
  }

  #refusal(operation: string): CaissonError {
    return new CaissonError('denied', 'volume-read-only', `a hashed volume is immutable: ${operation} is refused`, {
      remedy: 'Make a new image with "caisson volume create --protection hashed"; it has a root of its own.',
      details: { operation },
    });
  }
}

/** Neighbouring extents of one kind become one. */
class ExtentList {
  readonly list: { length: number; hole: boolean; zero: boolean }[] = [];
  offset: number;
  readonly #end: number;
  readonly #countMax: number;
  #isCut = false;

  constructor(offset: number, end: number, countMax: number) {
    this.offset = offset;
    this.#end = end;
    this.#countMax = countMax;
  }

  get isFull(): boolean {
    return this.#isCut || this.offset >= this.#end;
  }

  add(until: number, hole: boolean): void {
    const length = Math.min(until, this.#end) - this.offset;
    const last = this.list.at(-1);
    if (last?.hole === hole) last.length += length;
    else if (this.list.length < this.#countMax) this.list.push({ length, hole, zero: hole });
    else {
      this.#isCut = true;
      return;
    }
    this.offset += length;
  }
}

/** Stored leaves from `leaf` on that lie next to each other and hold what is wanted, bounded. */
function runLength(span: Span, leaf: number, within: number, length: number): number {
  const wanted = Math.min(Math.ceil((within - leaf * leafBytes + length) / leafBytes), hashedRunLeavesMax);
  let count = 1;
  while (count < wanted && leaf + count < span.ranks.length && span.ranks[leaf + count]! >= 0) count++;
  return count;
}

function positionOf(span: Span, leaf: number): number {
  return span.dataStart + span.ranks[leaf]! * leafBytes;
}

/** Room for the domain before the first leaf. */
function newScratch(leaves: number): Region {
  return new Region(domainBytes + leaves * leafBytes);
}

function copyLeaf(
  source: Region,
  start: number,
  skip: number,
  length: number,
  target: Region,
  targetOffset: number,
): void {
  const from = domainBytes + start + skip;
  target.bytes.set(source.bytes.subarray(from, from + length), targetOffset);
}

function wrongLeaf(span: Span, leaf: number): CaissonError {
  const at = span.index * spanBytes + leaf * leafBytes;
  return damaged(
    'digest-mismatch',
    span.key,
    `the 16 KiB at ${at} of the image, in ${span.key}, are not what the root names`,
  );
}
