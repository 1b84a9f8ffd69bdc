/**
 * ReadCache: pieces of immutable objects on local disk, in one file that has no name, so that it is
 * empty at each start and its space is free once the process ends. Shared by all stores of a process.
 *
 * Invariants: at most `bytesMax` on disk and `readCacheLoadsMax` chunks in memory; a slot that is being
 * read is not given to another chunk; what is in a slot is what was fetched, or whoever reads it finds
 * out by its tag and says so (`forget`). A disk that fails only makes the cache useless, never an error.
 */
import { assert } from '../lib/assert.ts';
import { readCacheChunkBytes, readCacheLoadsMax } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import type { FileHandle } from './file-system.ts';
import { ReadCacheCounts } from './store-counts.ts';

/** Makes the cache's file; called once, when something is to be kept. */
export type OpenCacheFile = () => Promise<FileHandle>;

/** One request under way: neighbouring chunks in one region, of which each lies at its place. */
interface Fetch {
  readonly region: Promise<Region>;
  /** Who still reads the region: the cache's file, and whoever waits. */
  users: number;
}

interface Load {
  readonly fetch: Fetch;
  /** Of the chunk in the fetch's region. */
  readonly offset: number;
  /** Its bytes were called wrong: they are not kept. */
  isForgotten: boolean;
}

/** The chunks of one object: `slots[chunk]` is the slot plus one, or 0. */
export class CachedObject {
  readonly slots: Int32Array;
  readonly loads = new Map<number, Load>();
  /** Readers that are open. */
  readers = 0;

  constructor(size: number) {
    this.slots = new Int32Array(Math.ceil(size / readCacheChunkBytes));
  }
}

interface Slot {
  readonly object: CachedObject;
  readonly chunk: number;
  used: boolean;
  pins: number;
}

export class ReadCache {
  readonly counts: ReadCacheCounts;
  readonly #openFile: OpenCacheFile;
  readonly #slotsMax: number;
  readonly #slots: (Slot | undefined)[] = [];
  readonly #free: number[] = [];
  #hand = 0;
  #file: FileHandle | undefined;
  #opening: Promise<void> | undefined;
  #loads = 0;
  readonly #loadsWaiting: (() => void)[] = [];
  #isBroken = false;
  #lastWrite: Promise<unknown> = Promise.resolve();
  /** Regions by their size, used again: memory outside the heap is collected late and at a price. */
  readonly #spares = new Map<number, Region[]>();
  #spareBytes = 0;

  constructor(openFile: OpenCacheFile, bytesMax: number, counts = new ReadCacheCounts()) {
    this.#openFile = openFile;
    this.counts = counts;
    this.#slotsMax = Math.floor(bytesMax / readCacheChunkBytes);
    assert(this.#slotsMax > 0, 'a read cache holds a chunk at least');
    counts.bytesMax = this.#slotsMax * readCacheChunkBytes;
  }

  /** Chunks that are being fetched or written. */
  get loads(): number {
    return this.#loads;
  }

  /** Reads a part of a chunk if that needs no waiting. */
  readNow(object: CachedObject, chunk: number, offset: number, length: number, target: Region, at: number): boolean {
    const index = object.slots[chunk]! - 1;
    if (index < 0) return false;
    this.#slots[index]!.used = true;
    return this.#file?.readNow(index * readCacheChunkBytes + offset, length, target, at) === length;
  }

  /** False where the cache does not hold the chunk, or cannot read it any more. */
  async read(
    object: CachedObject,
    chunk: number,
    offset: number,
    length: number,
    target: Region,
    at: number,
  ): Promise<boolean> {
    const index = object.slots[chunk]! - 1;
    if (index < 0) return false;
    const slot = this.#slots[index]!;
    slot.used = true;
    slot.pins++;
    try {
      if ((await this.#file!.read(index * readCacheChunkBytes + offset, length, target, at)) === length) {
        this.counts.hits++;
        return true;
      }
    } catch {
      // As a chunk that was lost: it is fetched again.
    } finally {
      slot.pins--;
    }
    this.drop(object, chunk);
    return false;
  }

  /** True if the chunk was held, or was being fetched. */
  drop(object: CachedObject, chunk: number): boolean {
    const load = object.loads.get(chunk);
    if (load !== undefined) load.isForgotten = true;
    object.loads.delete(chunk);
    const index = object.slots[chunk]! - 1;
    if (index < 0) return load !== undefined;
    object.slots[chunk] = 0;
    const slot = this.#slots[index]!;
    // A slot that is being read stays taken until the clock's hand finds it unused.
    if (slot.pins === 0) this.#freeSlot(index);
    return true;
  }

  /**
   * Has `count` chunks from `chunk` on fetched in one request, once for all who `take` them; none of them is under way.
   * `fill` writes `length` bytes to the region's start; nobody is told here how that ended.
   */
  load(
    object: CachedObject,
    chunk: number,
    count: number,
    length: number,
    fill: (region: Region) => Promise<void>,
  ): void {
    const fetch: Fetch = { region: this.#fetch(count, length, fill), users: 1 };
    const loads: Load[] = [];
    for (let index = 0; index < count; index++) {
      assert(!object.loads.has(chunk + index), 'a chunk is fetched once at a time');
      const load: Load = { fetch, offset: index * readCacheChunkBytes, isForgotten: false };
      object.loads.set(chunk + index, load);
      loads.push(load);
    }
    const end = (): void => {
      for (const [index, load] of loads.entries())
        if (object.loads.get(chunk + index) === load) object.loads.delete(chunk + index);
    };
    const keep = async (region: Region): Promise<void> => {
      await this.#keep(object, chunk, loads, length, region);
      end();
      this.#endLoads(count);
      this.#release(fetch, region);
    };
    fetch.region.then(keep, end);
  }

  /** Waits for a chunk that is being fetched; `copy` takes from it what it wants before it returns. */
  async take(object: CachedObject, chunk: number, copy: (region: Region, offset: number) => void): Promise<void> {
    const { fetch, offset } = object.loads.get(chunk)!;
    fetch.users++;
    this.counts.misses++;
    const region = await fetch.region;
    copy(region, offset);
    this.#release(fetch, region);
  }

  /** No reader is open any more. */
  async close(): Promise<void> {
    const file = this.#file;
    this.#isBroken = true;
    this.#file = undefined;
    this.#countHeld();
    await file?.close();
  }

  async #fetch(count: number, length: number, fill: (region: Region) => Promise<void>): Promise<Region> {
    while (this.#loads > 0 && this.#loads + count > readCacheLoadsMax)
      await new Promise<void>((resolve) => this.#loadsWaiting.push(resolve));
    this.#loads += count;
    const region = this.#borrow(length);
    try {
      await fill(region);
      return region;
    } catch (error) {
      // Something may still write to the region: it is not used again.
      this.#endLoads(count);
      throw error;
    }
  }

  /** Sizes are powers of two, so that what is kept for later fits later. */
  #borrow(length: number): Region {
    const size = Math.max(readCacheChunkBytes, 2 ** Math.ceil(Math.log2(length)));
    const spare = this.#spares.get(size)?.pop();
    if (spare === undefined) return new Region(size);
    this.#spareBytes -= size;
    return spare;
  }

  #release(fetch: Fetch, region: Region): void {
    if (--fetch.users > 0 || this.#spareBytes + region.length > readCacheLoadsMax * readCacheChunkBytes) return;
    const spares = this.#spares.get(region.length) ?? [];
    this.#spares.set(region.length, spares);
    spares.push(region);
    this.#spareBytes += region.length;
  }

  /** All who wait look again: the next may need more than became free. */
  #endLoads(count: number): void {
    this.#loads -= count;
    for (const wake of this.#loadsWaiting.splice(0)) wake();
  }

  /** Writes what was fetched to slots of the file, in one piece where the slots are neighbours. */
  async #keep(
    object: CachedObject,
    chunk: number,
    loads: readonly Load[],
    length: number,
    region: Region,
  ): Promise<void> {
    await this.#open();
    const indexes: number[] = [];
    for (let at = 0; at < loads.length && !this.#isBroken; at++) {
      const index = this.#takeSlot();
      if (index === undefined) break;
      this.#slots[index] = { object, chunk: chunk + at, used: true, pins: 1 };
      indexes.push(index);
    }
    this.#countHeld();
    for (let at = 0, count = 1; at < indexes.length; at += count, count = 1) {
      while (at + count < indexes.length && indexes[at + count] === indexes[at]! + count) count++;
      const bytes = Math.min(count * readCacheChunkBytes, length - at * readCacheChunkBytes);
      const isWritten = await this.#write(indexes[at]!, bytes, region, at * readCacheChunkBytes);
      for (let each = at; each < at + count; each++) {
        const index = indexes[each]!;
        this.#slots[index]!.pins = 0;
        if (!isWritten || loads[each]!.isForgotten) this.#freeSlot(index);
        else object.slots[chunk + each] = index + 1;
      }
    }
  }

  /** One after the other: many writers of one file get in each other's way. False: a full or broken disk; what is held stays readable. */
  #write(index: number, length: number, region: Region, offset: number): Promise<boolean> {
    const writing = this.#lastWrite.then(async () => {
      try {
        await this.#file?.write(index * readCacheChunkBytes, length, region, offset);
        return this.#file !== undefined;
      } catch {
        return false;
      }
    });
    this.#lastWrite = writing;
    return writing;
  }

  #freeSlot(index: number): void {
    this.#slots[index] = undefined;
    this.#free.push(index);
    this.#countHeld();
  }

  #countHeld(): void {
    const slots = this.#isBroken ? 0 : this.#slots.length - this.#free.length;
    this.counts.heldBytes = slots * readCacheChunkBytes;
  }

  async #open(): Promise<void> {
    this.#opening ??= this.#openFile().then(
      async (file) => {
        if (this.#isBroken) await file.close();
        else this.#file = file;
      },
      () => {
        this.#isBroken = true;
      },
    );
    await this.#opening;
  }

  /** A free slot, a new one, or the first that nobody used since the hand came by; undefined if all are being read. */
  #takeSlot(): number | undefined {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#slots.length < this.#slotsMax) return this.#slots.push(undefined) - 1;
    for (let steps = this.#slotsMax * 2; steps > 0; steps--) {
      const index = this.#hand;
      this.#hand = (this.#hand + 1) % this.#slotsMax;
      const slot = this.#slots[index];
      if (slot === undefined || slot.pins > 0) continue;
      if (slot.used) {
        slot.used = false;
        continue;
      }
      if (slot.object.slots[slot.chunk] === index + 1) {
        slot.object.slots[slot.chunk] = 0;
        this.counts.evictions++;
      }
      return index;
    }
    return undefined;
  }
}
