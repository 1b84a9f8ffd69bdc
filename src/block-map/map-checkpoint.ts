/**
 * MapCheckpoint: writes what changed in the map since the last one, as of one instant, while the map
 * goes on changing (spec/map-format.md).
 *
 * How: `freeze` marks every dirty leaf as pending and copies the states of dirty directories. `write`
 * then seals the pending leaves, their directories and the root. A leaf that is about to change before
 * its turn is sealed at that moment (`writeOut`), so nothing but 4 KiB of states a directory is copied.
 *
 * `pageCounts` (live pages a map object) follows the tree being written: a page counts from the
 * moment a directory or the root names it until a later tree no longer does.
 */
import { assert } from '../lib/assert.ts';
import { Region } from '../lib/region.ts';
import { DirectoryState, type BlockMap, type FreezeObserver } from './block-map.ts';
import { LeafState, type MapDirectory } from './map-directory.ts';
import {
  directoryBytes,
  directoryLeaves,
  encodeReference,
  encodeRoot,
  leafBytes,
  PageLevel,
  Reference,
  type PageReference,
  type RootReference,
  usageBytes,
} from './map-format.ts';
import type { FrozenUsagePage } from './usage-table.ts';

/** Seals a page into the map object being written and says where it went. */
export interface PageSink {
  writePage(level: PageLevel, index: number, source: Region, sourceOffset: number, length: number): PageReference;
  /** Asked between pages: a promise to wait for, so that other work gets its turn. */
  pause(): Promise<void> | undefined;
}

interface Frozen {
  readonly directory: MapDirectory;
  readonly states: Int32Array;
}

export interface WrittenRoot {
  readonly reference: PageReference;
  readonly bytes: number;
}

const noTag = new Uint8Array(16);

export class MapCheckpoint implements FreezeObserver {
  readonly #map: BlockMap;
  readonly #sink: PageSink;
  readonly #pageCounts: Map<number, number>;
  readonly #frozen = new Map<number, Frozen>();
  readonly #rootStates: number[];
  readonly #rootReferences: Map<number, PageReference>;
  readonly #dropped: BlockMap['dropped'];
  readonly #blockCount: number;
  readonly #usage: FrozenUsagePage[] | undefined;
  readonly #page = new Region(directoryBytes);
  readonly #pageView = new DataView(this.#page.bytes.buffer);
  readonly #pageWords = new Uint32Array(this.#page.bytes.buffer, 0, leafBytes / 4);

  readonly #previousRoot: PageReference | undefined;

  /** Freezes the map at this instant. One checkpoint at a time. */
  constructor(map: BlockMap, sink: PageSink, pageCounts: Map<number, number>, previousRoot: PageReference | undefined) {
    assert(map.observer === undefined, 'one checkpoint at a time');
    this.#map = map;
    this.#sink = sink;
    this.#pageCounts = pageCounts;
    this.#previousRoot = previousRoot;
    this.#blockCount = map.blockCount;
    map.changed = false;
    this.#rootStates = [...map.directoryStates];
    this.#rootReferences = new Map(map.directoryReferences);
    this.#dropped = map.dropped.splice(0);
    for (const directory of map.directories) {
      if (directory === undefined || !directory.dirty) continue;
      this.#frozen.set(directory.index, { directory, states: Int32Array.from(directory.states) });
      directory.dirty = false;
    }
    map.pool.forEach((slot) => {
      if (map.pool.isDirty(slot)) map.pool.freeze(slot);
    });
    this.#usage = map.usage.freeze();
    map.observer = this;
  }

  /** Writes everything frozen; the root's place names the whole tree. */
  async write(): Promise<WrittenRoot> {
    for (const frozen of this.#frozen.values()) {
      for (let leaf = 0; leaf < directoryLeaves; leaf++) {
        const slot = frozen.states[leaf]!;
        if (slot < 0 || !this.#map.pool.isPending(slot)) continue;
        this.writeOut(slot);
        const pause = this.#sink.pause();
        if (pause !== undefined) await pause;
      }
      this.#writeDirectory(frozen);
    }
    assert(this.#map.pool.pendingCount === 0, 'every frozen leaf was written');
    await this.#countOutDropped();
    this.#writeUsage();
    const root = this.#writeRoot();
    this.#map.observer = undefined;
    return root;
  }

  writeOut(slot: number): void {
    const { pool } = this.#map;
    const leaf = pool.owner(slot);
    const frozen = this.#frozen.get(leaf >>> 10);
    assert(frozen !== undefined, 'a pending leaf belongs to a frozen directory');
    this.#pageWords.set(pool.words(slot));
    const reference = this.#sink.writePage(PageLevel.leaf, leaf, this.#page, 0, leafBytes);
    const index = leaf & (directoryLeaves - 1);
    this.#countOut(frozen.directory.objects[index]!);
    this.#countIn(reference.object);
    frozen.directory.setReference(index, reference);
    pool.clearPending(slot);
  }

  #writeDirectory(frozen: Frozen): void {
    const { directory, states } = frozen;
    const bytes = this.#page.bytes;
    let holes = 0;
    for (let leaf = 0; leaf < directoryLeaves; leaf++) {
      const state = states[leaf]!;
      if (state === LeafState.hole || state === LeafState.zero) {
        this.#countOut(directory.objects[leaf]!);
        directory.clearReference(leaf);
        encodeReference(
          bytes,
          this.#pageView,
          leaf,
          state === LeafState.hole ? Reference.hole : Reference.zero,
          0,
          undefined,
        );
        if (state === LeafState.hole) holes++;
      } else {
        assert(directory.objects[leaf] !== Reference.hole, 'a leaf with data has a page');
        encodeReference(bytes, this.#pageView, leaf, directory.objects[leaf]!, directory.slots[leaf]!, directory.tags);
      }
    }
    const previous = this.#rootReferences.get(directory.index);
    if (previous !== undefined) this.#countOut(previous.object);
    let reference: PageReference | undefined;
    if (holes < directoryLeaves) {
      reference = this.#sink.writePage(PageLevel.directory, directory.index, this.#page, 0, directoryBytes);
      this.#countIn(reference.object);
    }
    this.#placeDirectory(directory, reference);
  }

  /** Notes where the directory's page went, unless the directory was dropped meanwhile. */
  #placeDirectory(directory: MapDirectory, reference: PageReference | undefined): void {
    setOrDelete(this.#rootReferences, directory.index, reference);
    if (this.#map.directories[directory.index] === directory) {
      setOrDelete(this.#map.directoryReferences, directory.index, reference);
      return;
    }
    const at = this.#map.dropped.findIndex((entry) => entry.directory === directory);
    assert(at >= 0, 'a directory that left the map was dropped');
    this.#map.dropped[at] = { directory, reference, index: directory.index };
  }

  /** Pages below directories that were dropped whole before the freeze are live no longer. */
  async #countOutDropped(): Promise<void> {
    for (const { directory, reference, index } of this.#dropped) {
      const known = directory ?? (reference === undefined ? undefined : await this.#map.loadDropped(index, reference));
      if (known !== undefined) for (let leaf = 0; leaf < directoryLeaves; leaf++) this.#countOut(known.objects[leaf]!);
      if (reference !== undefined) this.#countOut(reference.object);
    }
  }

  /** Counts that are not known are not written: an opening that finds none counts anew. */
  #writeUsage(): void {
    const { usage } = this.#map;
    if (this.#usage === undefined)
      for (const { page } of usage.references) this.#countOut(usage.place(page, undefined)!.object);
    for (const { page, counts } of this.#usage ?? []) {
      this.#pageWords.set(counts);
      const isEmpty = counts.every((count) => count === 0);
      const reference = isEmpty ? undefined : this.#sink.writePage(PageLevel.usage, page, this.#page, 0, usageBytes);
      const before = usage.place(page, reference);
      if (reference !== undefined) this.#countIn(reference.object);
      if (before !== undefined) this.#countOut(before.object);
    }
  }

  #writeRoot(): WrittenRoot {
    const references: RootReference[] = [];
    this.#rootStates.forEach((state, directory) => {
      if (state === DirectoryState.zero) references.push({ directory, object: Reference.zero, slot: 0, tag: noTag });
      const reference = this.#rootReferences.get(directory);
      if (state !== DirectoryState.zero && state !== DirectoryState.hole && reference !== undefined)
        references.push({ directory, ...reference });
    });
    const bytes = encodeRoot(this.#blockCount, references);
    const region = Region.from(bytes);
    const reference = this.#sink.writePage(PageLevel.root, 0, region, 0, bytes.length);
    this.#countIn(reference.object);
    if (this.#previousRoot !== undefined) this.#countOut(this.#previousRoot.object);
    return { reference, bytes: bytes.length };
  }

  #countIn(object: number): void {
    this.#pageCounts.set(object, (this.#pageCounts.get(object) ?? 0) + 1);
  }

  #countOut(object: number): void {
    if (object === Reference.hole || object === Reference.zero) return;
    const count = this.#pageCounts.get(object) ?? 0;
    assert(count > 0, 'a page that goes was counted');
    this.#pageCounts.set(object, count - 1);
  }
}

function setOrDelete(map: Map<number, PageReference>, key: number, value: PageReference | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
