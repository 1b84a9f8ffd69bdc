/**
 * BlockMap: block -> where its data lies. Two levels in memory, directories of 1024 leaves of 1024
 * blocks; leaves come from the store when they are needed and are evicted when the cap is reached.
 *
 * Invariants:
 * - Lookups and changes of resident leaves are synchronous and allocate nothing; `prepare` makes a
 *   range resident first and returns undefined when there is nothing to wait for.
 * - Extents (trim, zero) cost per leaf or per directory, never per block, but at their two ends.
 * - A leaf frozen for a checkpoint is written out before it changes (`map-checkpoint.ts`), so a
 *   checkpoint sees one instant without a copy of the map.
 */
import { assert } from '../lib/assert.ts';
import { LeafPool } from './leaf-pool.ts';
import { LeafState, MapDirectory, directoryMemoryBytes } from './map-directory.ts';
import {
  directoryLeaves,
  leafBlocks,
  packLocation,
  Reference,
  Where,
  type PageReference,
  type Root,
} from './map-format.ts';
import { UsageTable } from './usage-table.ts';

/** Reads pages back; every page was authenticated and checked when this resolves. */
export interface PageLoader {
  loadLeaf(leaf: number, reference: PageReference): Promise<Uint32Array>;
  loadDirectory(
    directory: number,
    reference: PageReference,
    visit: (leaf: number, object: number, slot: number, tag: Uint8Array) => void,
  ): Promise<void>;
}

/** What a checkpoint in progress wants to know before the map changes. */
export interface FreezeObserver {
  /** `slot` is pending and about to change or go: write it out now. */
  writeOut(slot: number): void;
}

/** Leaves that can always be added without asking for more room. */
const leavesSpare = 4;

/** State of a directory when it is not in memory. */
export const DirectoryState = { hole: 0, zero: 1, loaded: 2, stored: 3 } as const;

export interface MapExtent {
  readonly blocks: number;
  readonly kind: 'data' | 'hole' | 'zero';
}

export class BlockMap {
  readonly pool: LeafPool;
  /** Location word of the last successful `find`. */
  location = 0;
  observer: FreezeObserver | undefined;
  /** Something differs from the tree that was frozen last. */
  changed = false;
  /** How many blocks lie in each object. */
  readonly usage = new UsageTable();

  readonly #loader: PageLoader;
  readonly #loading = new Map<number, Promise<void>>();
  readonly #room: () => Promise<void>;
  readonly directories: (MapDirectory | undefined)[] = [];
  readonly directoryStates: number[] = [];
  /** Where the newest manifest has each directory's page. */
  readonly directoryReferences = new Map<number, PageReference>();
  /** Directories dropped whole: their pages still count as live until the next checkpoint. */
  readonly dropped: {
    readonly directory: MapDirectory | undefined;
    readonly reference: PageReference | undefined;
    readonly index: number;
  }[] = [];
  #directoriesLoaded = 0;
  /** The leaves of the range that was found prepared last. */
  #keepFirst = -1;
  #keepLast = -1;
  #keepEnds = false;
  #blockCount: number;

  /** `room` is awaited when every leaf in memory is dirty: it must make a checkpoint happen. */
  constructor(blockCount: number, bytesMax: number, loader: PageLoader, room: () => Promise<void>) {
    this.pool = new LeafPool(bytesMax);
    this.#blockCount = blockCount;
    this.#loader = loader;
    this.#room = room;
    this.#growTo(blockCount);
  }

  get blockCount(): number {
    return this.#blockCount;
  }

  /** Leaves that the volume's size allows. */
  get leafCount(): number {
    return Math.ceil(this.#blockCount / leafBlocks);
  }

  get residentBytes(): number {
    return this.pool.residentBytes + this.#directoriesLoaded * directoryMemoryBytes;
  }

  /** Takes over the root of the newest manifest; the map must be empty. */
  restore(root: Root): void {
    for (const reference of root.references) {
      const zero = reference.object === Reference.zero;
      this.directoryStates[reference.directory] = zero ? DirectoryState.zero : DirectoryState.stored;
      if (!zero) this.directoryReferences.set(reference.directory, reference);
    }
  }

  /** Grows or shrinks; shrinking drops what lies beyond (the caller made the edge resident). */
  resize(blockCount: number): void {
    if (blockCount !== this.#blockCount) this.changed = true;
    if (blockCount < this.#blockCount) this.setExtent(blockCount, this.#blockCount - blockCount, false);
    this.#blockCount = blockCount;
    this.#growTo(blockCount);
  }

  /**
   * `where` of a block (spec/map-format.md), its location in `this.location`; -1 when the leaf must be
   * loaded first (`prepare`).
   */
  find(block: number): number {
    const leaf = Math.floor(block / leafBlocks);
    const directory = leaf >>> 10;
    const state = this.directoryStates[directory]!;
    if (state !== DirectoryState.loaded) {
      this.location = 0;
      return state === DirectoryState.hole ? Where.hole : state === DirectoryState.zero ? Where.zero : -1;
    }
    const slot = this.directories[directory]!.states[leaf & (directoryLeaves - 1)]!;
    if (slot < 0) {
      this.location = 0;
      return slot === LeafState.hole ? Where.hole : slot === LeafState.zero ? Where.zero : -1;
    }
    this.pool.touch(slot);
    const slab = this.pool.slab(slot);
    const at = this.pool.offset(slot) + (block % leafBlocks) * 2;
    this.location = slab[at + 1]!;
    return slab[at]!;
  }

  /** Points one block, or the eight of a large unit, at segment `object`. The range was prepared. */
  setUnit(block: number, large: boolean, object: number, slot: number): void {
    const leaf = Math.floor(block / leafBlocks);
    const leafSlot = this.#writable(leaf);
    const slab = this.pool.slab(leafSlot);
    let at = this.pool.offset(leafSlot) + (block % leafBlocks) * 2;
    const parts = large ? 8 : 1;
    this.#countOut(slab, at, parts, leaf);
    this.usage.add(object, parts, leaf);
    for (let part = 0; part < parts; part++) {
      slab[at++] = object + 1;
      slab[at++] = packLocation(slot, large, part);
    }
  }

  /** Makes [block, block + count) holes or, with `allocated`, zeroes. Both end leaves were prepared. */
  setExtent(block: number, count: number, allocated: boolean): void {
    const end = block + count;
    let at = block;
    while (at < end) {
      const leaf = Math.floor(at / leafBlocks);
      const inLeaf = at % leafBlocks;
      if (inLeaf === 0 && (leaf & (directoryLeaves - 1)) === 0 && end - at >= leafBlocks * directoryLeaves) {
        this.#dropDirectory(leaf >>> 10, allocated);
        at += leafBlocks * directoryLeaves;
      } else if (inLeaf === 0 && (end - at >= leafBlocks || end === this.#blockCount)) {
        this.#setLeafState(leaf, allocated ? LeafState.zero : LeafState.hole);
        at += Math.min(leafBlocks, end - at);
      } else {
        const blocks = Math.min(leafBlocks - inLeaf, end - at);
        this.#fillBlocks(leaf, inLeaf, blocks, allocated);
        at += blocks;
      }
    }
  }

  /**
   * Makes every leaf of the range resident or known to be uniform. Undefined: nothing to wait for.
   * With `ends` only the first and the last leaf matter (for extents).
   */
  prepare(block: number, count: number, ends: boolean): Promise<void> | undefined {
    if (this.isPrepared(block, count, ends)) return undefined;
    return this.#prepareSlowly(Math.floor(block / leafBlocks), Math.floor((block + count - 1) / leafBlocks), ends);
  }

  /**
   * Whether `prepare` would have nothing to wait for; starts nothing. If so, changing the range in this
   * turn of the event loop finds room for all its leaves and evicts none of them.
   */
  isPrepared(block: number, count: number, ends: boolean): boolean {
    const first = Math.floor(block / leafBlocks);
    const last = Math.floor((block + count - 1) / leafBlocks);
    if (!ends && last - first >= leavesSpare && !this.#hasRoom(last - first + 1)) return false;
    for (let leaf = first; leaf <= last; leaf += ends && last > first ? last - first : 1) {
      if (!this.#isReady(leaf)) return false;
    }
    this.#keepFirst = first;
    this.#keepLast = last;
    this.#keepEnds = ends;
    return true;
  }

  /** Extents of a prepared range, merged, at most `countMax`; the last may end before the range does. */
  extents(block: number, count: number, countMax: number): MapExtent[] {
    const result: { blocks: number; kind: MapExtent['kind'] }[] = [];
    let at = block;
    const end = block + count;
    while (at < end) {
      const state = this.#uniformState(at);
      let kind: MapExtent['kind'];
      let blocks = 1;
      if (state !== undefined) {
        kind = state.kind;
        blocks = Math.min(state.blocks, end - at);
      } else {
        const where = this.find(at);
        if (where === -1) break;
        kind = where === Where.hole ? 'hole' : where === Where.zero ? 'zero' : 'data';
      }
      const last = result.at(-1);
      if (last?.kind === kind) last.blocks += blocks;
      else if (result.length === countMax) break;
      else result.push({ blocks, kind });
      at += blocks;
    }
    return result;
  }

  /** Blocks of the uniform run that starts at `block`, when its leaf or directory is uniform. */
  #uniformState(block: number): MapExtent | undefined {
    const leaf = Math.floor(block / leafBlocks);
    const directory = leaf >>> 10;
    const state = this.directoryStates[directory]!;
    if (state === DirectoryState.hole || state === DirectoryState.zero) {
      const span = leafBlocks * directoryLeaves;
      return { kind: state === DirectoryState.hole ? 'hole' : 'zero', blocks: span - (block % span) };
    }
    if (state !== DirectoryState.loaded) return undefined;
    const leafState = this.directories[directory]!.states[leaf & (directoryLeaves - 1)]!;
    if (leafState !== LeafState.hole && leafState !== LeafState.zero) return undefined;
    return { kind: leafState === LeafState.hole ? 'hole' : 'zero', blocks: leafBlocks - (block % leafBlocks) };
  }

  #growTo(blockCount: number): void {
    const directories = Math.ceil(blockCount / (leafBlocks * directoryLeaves));
    while (this.directoryStates.length < directories) this.directoryStates.push(DirectoryState.hole);
  }

  #isReady(leaf: number): boolean {
    const state = this.directoryStates[leaf >>> 10]!;
    if (state !== DirectoryState.loaded) return state !== DirectoryState.stored && this.#hasRoom();
    const leafState = this.directories[leaf >>> 10]!.states[leaf & (directoryLeaves - 1)]!;
    if (leafState >= 0) return true;
    return leafState !== LeafState.stored && this.#hasRoom();
  }

  /** Whether a leaf can be added without waiting for a checkpoint. */
  #hasRoom(leaves = leavesSpare): boolean {
    return this.pool.dirtyCount + this.pool.pendingCount + leaves <= this.pool.capacity;
  }

  async #prepareSlowly(first: number, last: number, ends: boolean): Promise<void> {
    for (let leaf = first; leaf <= last; leaf += ends && last > first ? last - first : 1) {
      while (!this.#isReady(leaf)) {
        if (!this.#hasRoom()) await this.#room();
        else await this.#load(leaf);
      }
    }
  }

  #load(leaf: number): Promise<void> {
    const known = this.#loading.get(leaf);
    if (known !== undefined) return known;
    const loading = this.#loadLeaf(leaf).finally(() => this.#loading.delete(leaf));
    this.#loading.set(leaf, loading);
    return loading;
  }

  async #loadLeaf(leaf: number): Promise<void> {
    const directory = await this.#loadDirectory(leaf >>> 10);
    const index = leaf & (directoryLeaves - 1);
    if (directory === undefined || directory.states[index] !== LeafState.stored) return;
    const words = await this.#loader.loadLeaf(leaf, directory.reference(index));
    // The leaf may have been trimmed while it was on its way.
    if (this.directories[leaf >>> 10] !== directory || directory.states[index] !== LeafState.stored) return;
    const slot = this.#allocate(leaf);
    if (slot < 0) return;
    this.pool.words(slot).set(words);
    directory.states[index] = slot;
  }

  /** The directory in memory; undefined when it is uniform. */
  async #loadDirectory(index: number): Promise<MapDirectory | undefined> {
    if (this.directoryStates[index] !== DirectoryState.stored) return this.directories[index];
    const key = -1 - index;
    let loading = this.#loading.get(key);
    if (loading === undefined) {
      loading = this.#fetchDirectory(index).finally(() => this.#loading.delete(key));
      this.#loading.set(key, loading);
    }
    await loading;
    return this.directories[index];
  }

  async #fetchDirectory(index: number): Promise<void> {
    const reference = this.directoryReferences.get(index);
    assert(reference !== undefined, 'a stored directory has a reference');
    const directory = new MapDirectory(index, LeafState.hole);
    await this.#loader.loadDirectory(index, reference, (leaf, object, slot, tag) => {
      if (object === Reference.hole) return;
      if (object === Reference.zero) directory.states[leaf] = LeafState.zero;
      else {
        directory.states[leaf] = LeafState.stored;
        directory.setReference(leaf, { object, slot, tag });
      }
    });
    if (this.directoryStates[index] !== DirectoryState.stored) return;
    this.directories[index] = directory;
    this.directoryStates[index] = DirectoryState.loaded;
    this.#directoriesLoaded++;
  }

  /** The directory, in memory from now on; undefined when it is uniform. */
  async loadDirectory(index: number): Promise<MapDirectory | undefined> {
    return this.#loadDirectory(index);
  }

  /** The leaf's page is to be written anew though nothing in it changes. False where there is none in memory. */
  touchLeaf(leaf: number): boolean {
    const state = this.directories[leaf >>> 10]?.states[leaf & (directoryLeaves - 1)] ?? LeafState.hole;
    if (state < 0) return false;
    this.#writable(leaf);
    return true;
  }

  /** The same for a directory in memory. */
  touchDirectory(index: number): void {
    this.directories[index]!.dirty = true;
    this.changed = true;
  }

  /** Loads a dropped directory's references, for counting its pages out (map-checkpoint.ts). */
  async loadDropped(index: number, reference: PageReference): Promise<MapDirectory> {
    const directory = new MapDirectory(index, LeafState.hole);
    await this.#loader.loadDirectory(index, reference, (leaf, object, slot, tag) => {
      if (object !== Reference.hole && object !== Reference.zero) directory.setReference(leaf, { object, slot, tag });
    });
    return directory;
  }

  /** The directory of `leaf`, made out of a uniform one if need be. */
  #directory(index: number): MapDirectory {
    const known = this.directories[index];
    if (known !== undefined) return known;
    const state = this.directoryStates[index]!;
    assert(
      state === DirectoryState.hole || state === DirectoryState.zero,
      'a stored directory is loaded before it changes',
    );
    const directory = new MapDirectory(index, state === DirectoryState.hole ? LeafState.hole : LeafState.zero);
    this.directories[index] = directory;
    this.directoryStates[index] = DirectoryState.loaded;
    this.#directoriesLoaded++;
    return directory;
  }

  /** The slot of `leaf`, ready to be changed: resident, written out if frozen, dirty. */
  #writable(leaf: number): number {
    const directory = this.#directory(leaf >>> 10);
    const index = leaf & (directoryLeaves - 1);
    let slot = directory.states[index]!;
    if (slot < 0) {
      assert(slot !== LeafState.stored, 'a stored leaf is loaded before it changes');
      const zero = slot === LeafState.zero;
      slot = this.#allocate(leaf);
      assert(slot >= 0, 'room for a leaf was prepared');
      this.#fillUniform(slot, 0, leafBlocks, zero);
      directory.states[index] = slot;
    } else if (this.pool.isPending(slot)) this.observer!.writeOut(slot);
    this.pool.markDirty(slot);
    directory.dirty = true;
    this.changed = true;
    return slot;
  }

  #allocate(leaf: number): number {
    return this.pool.allocate(leaf, (evicted) => {
      if (this.#isKept(evicted)) return false;
      this.directories[evicted >>> 10]!.states[evicted & (directoryLeaves - 1)] = LeafState.stored;
      return true;
    });
  }

  #isKept(leaf: number): boolean {
    if (this.#keepEnds) return leaf === this.#keepFirst || leaf === this.#keepLast;
    return leaf >= this.#keepFirst && leaf <= this.#keepLast;
  }

  /** What these blocks point at loses them: one step for each run that points at the same object. */
  #countOut(slab: Uint32Array, from: number, blocks: number, leaf: number): void {
    let where = slab[from]!;
    let count = 1;
    for (let at = from + 2; at < from + blocks * 2; at += 2) {
      if (slab[at] === where) {
        count++;
        continue;
      }
      this.usage.remove(where, count, leaf);
      where = slab[at]!;
      count = 1;
    }
    this.usage.remove(where, count, leaf);
  }

  #fillUniform(slot: number, firstBlock: number, blocks: number, zero: boolean): void {
    const slab = this.pool.slab(slot);
    const from = this.pool.offset(slot) + firstBlock * 2;
    const to = from + blocks * 2;
    slab.fill(0, from, to);
    if (zero) for (let at = from; at < to; at += 2) slab[at] = Where.zero;
  }

  #fillBlocks(leaf: number, firstBlock: number, blocks: number, allocated: boolean): void {
    const state = this.#uniformState(leaf * leafBlocks + firstBlock);
    if (state !== undefined && state.kind === (allocated ? 'zero' : 'hole')) return;
    const slot = this.#writable(leaf);
    this.#countOut(this.pool.slab(slot), this.pool.offset(slot) + firstBlock * 2, blocks, leaf);
    this.#fillUniform(slot, firstBlock, blocks, allocated);
  }

  #setLeafState(leaf: number, state: number): void {
    const index = leaf >>> 10;
    const uniform = this.directoryStates[index]!;
    if (uniform === (state === LeafState.hole ? DirectoryState.hole : DirectoryState.zero)) return;
    // The ends of an extent were prepared; a directory in its middle is covered whole.
    assert(uniform !== DirectoryState.stored, 'a stored directory is loaded before part of it changes');
    const directory = this.#directory(index);
    const at = leaf & (directoryLeaves - 1);
    const slot = directory.states[at]!;
    if (slot === state) return;
    if (slot >= 0) {
      this.#countOut(this.pool.slab(slot), this.pool.offset(slot), leafBlocks, leaf);
      this.#free(slot);
    } else if (slot === LeafState.stored) this.usage.uncountedLeaves++;
    directory.states[at] = state;
    directory.dirty = true;
    this.changed = true;
  }

  #dropDirectory(index: number, allocated: boolean): void {
    const target = allocated ? DirectoryState.zero : DirectoryState.hole;
    if (this.directoryStates[index] === target) return;
    this.changed = true;
    const directory = this.directories[index];
    if (directory !== undefined) {
      for (let leaf = 0; leaf < directoryLeaves; leaf++) {
        const slot = directory.states[leaf]!;
        // Not counted out: a trim of terabytes must not look at every block.
        if (slot >= 0 || slot === LeafState.stored) this.usage.uncountedLeaves++;
        if (slot >= 0) this.#free(slot);
        directory.states[leaf] = LeafState.hole;
      }
      this.#directoriesLoaded--;
      this.directories[index] = undefined;
    } else if (this.directoryStates[index] === DirectoryState.stored) this.usage.uncountedLeaves += directoryLeaves;
    this.dropped.push({ directory, reference: this.directoryReferences.get(index), index });
    this.directoryReferences.delete(index);
    this.directoryStates[index] = target;
  }

  #free(slot: number): void {
    if (this.pool.isPending(slot)) this.observer!.writeOut(slot);
    this.pool.release(slot);
  }
}
