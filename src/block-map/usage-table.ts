/**
 * UsageTable: how many blocks of the volume lie in each object, four bytes an object (spec/map-format.md, "Usage").
 *
 * Invariants:
 * - The counts are hints for choosing what to clean. Nothing is deleted because of one.
 * - Every change of the map goes through `replace` or `remove`, or is noted in `uncountedLeaves`: then some
 *   counts are too high, and none is stored until a recount (usage-recount.ts) has made them right again.
 * - A count is never below zero: what was not counted in cannot be counted out.
 */
import { usageEntries, Where, type PageReference } from './map-format.ts';

/** The counts of one page as of the instant of a freeze. */
export interface FrozenUsagePage {
  readonly page: number;
  readonly counts: Uint32Array; // 1024
}

export interface UsageReference extends PageReference {
  readonly page: number;
}

const entriesShift = 10;

export class UsageTable {
  #counts = new Uint32Array(usageEntries);
  #dirty = new Uint8Array(1);
  /** Leaves that went without being looked at: at most so many times 1024 blocks are counted too many. */
  uncountedLeaves = 0;
  /** The counts of a recount in progress, and the first leaf that it has not yet seen. */
  #fresh: Uint32Array<ArrayBuffer> | undefined;
  #freshEnd = 0;
  /** Where the newest manifest has each page. */
  readonly #references = new Map<number, PageReference>();

  /** Objects that have a count. */
  get length(): number {
    return this.#counts.length;
  }

  /** Blocks of the volume that lie in object `index`. */
  blocks(index: number): number {
    return index < this.#counts.length ? this.#counts[index]! : 0;
  }

  /** Whether every count is right. */
  get isExact(): boolean {
    return this.uncountedLeaves === 0 && this.#fresh === undefined;
  }

  /** Of all objects together. */
  get totalBlocks(): number {
    let total = 0;
    for (const count of this.#counts) total += count;
    return total;
  }

  get references(): UsageReference[] {
    return [...this.#references]
      .map(([page, reference]) => ({ page, ...reference }))
      .sort((left, right) => left.page - right.page);
  }

  /** `count` more blocks of `leaf` point at `object`. */
  add(object: number, count: number, leaf: number): void {
    if (object >= this.#counts.length) this.#grow(object + 1);
    this.#counts[object]! += count;
    this.#dirty[object >>> entriesShift] = 1;
    if (leaf < this.#freshEnd) this.#fresh![object]! += count;
  }

  /** `count` blocks of `leaf` no longer point where their map word says. */
  remove(where: number, count: number, leaf: number): void {
    // Of `hole` and `zero` neither is the index of an object that has a count.
    const object = where - 1;
    if (where === Where.hole || object >= this.#counts.length) return;
    const before = this.#counts[object]!;
    this.#counts[object] = before > count ? before - count : 0;
    this.#dirty[object >>> entriesShift] = 1;
    if (leaf < this.#freshEnd) this.#fresh![object] = Math.max(0, this.#fresh![object]! - count);
  }

  /** The object left the table: its index may be given to another. */
  clear(object: number): void {
    if (object >= this.#counts.length) return;
    this.#counts[object] = 0;
    if (this.#fresh !== undefined) this.#fresh[object] = 0;
    this.#dirty[object >>> entriesShift] = 1;
  }

  /** Takes over a page of the newest manifest. */
  restore(page: number, reference: PageReference, counts: Uint32Array): void {
    this.#grow((page + 1) * usageEntries);
    this.#counts.set(counts, page * usageEntries);
    this.#references.set(page, reference);
  }

  /** A recount begins; `countLeaf` follows for every leaf, in ascending order. */
  startRecount(): void {
    this.#fresh = new Uint32Array(this.#counts.length);
    this.#freshEnd = 0;
    this.uncountedLeaves = 0;
  }

  /** Counts the words of one leaf as they are at this instant; leaves before it were counted or hold nothing. */
  countLeaf(leaf: number, slab: Uint32Array, offset: number, words: number): void {
    for (let at = offset; at < offset + words; at += 2) {
      const where = slab[at]!;
      if (where === Where.hole || where === Where.zero) continue;
      if (where > this.#counts.length) this.#grow(where);
      this.#fresh![where - 1]!++;
    }
    this.#freshEnd = leaf + 1;
  }

  /** Leaves before `leaf` hold nothing that was not counted. */
  skipTo(leaf: number): void {
    this.#freshEnd = Math.max(this.#freshEnd, leaf);
  }

  /** The counts are what was counted. With `false` the recount was given up. */
  endRecount(isComplete: boolean): void {
    if (isComplete) {
      this.#counts = this.#fresh!;
      this.#dirty.fill(1);
    } else this.uncountedLeaves++;
    this.#fresh = undefined;
    this.#freshEnd = 0;
  }

  /** Every page is to be written anew with the next checkpoint. */
  touchAll(): void {
    this.#dirty.fill(1);
  }

  /** What a checkpoint must write to have the counts of this instant; undefined while they are not known. */
  freeze(): FrozenUsagePage[] | undefined {
    if (!this.isExact) {
      this.#dirty.fill(1);
      return undefined;
    }
    const frozen: FrozenUsagePage[] = [];
    for (let page = 0; page < this.#dirty.length; page++) {
      if (this.#dirty[page] === 0) continue;
      this.#dirty[page] = 0;
      frozen.push({
        page,
        counts: Uint32Array.from(this.#counts.subarray(page * usageEntries, (page + 1) * usageEntries)),
      });
    }
    return frozen;
  }

  /** A checkpoint wrote the page, or without `reference` gave it up. Returns where it was before. */
  place(page: number, reference: PageReference | undefined): PageReference | undefined {
    const before = this.#references.get(page);
    if (reference === undefined) this.#references.delete(page);
    else this.#references.set(page, reference);
    return before;
  }

  #grow(length: number): void {
    if (length <= this.#counts.length) return;
    // Doubling, in whole pages, so that a volume that grows does not copy its counts for every object.
    let pages = this.#dirty.length;
    while (pages * usageEntries < length) pages *= 2;
    this.#counts = grown(this.#counts, pages * usageEntries);
    if (this.#fresh !== undefined) this.#fresh = grown(this.#fresh, pages * usageEntries);
    const dirty = new Uint8Array(pages);
    dirty.set(this.#dirty);
    this.#dirty = dirty;
  }
}

function grown(counts: Uint32Array, length: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(length);
  larger.set(counts);
  return larger;
}
