/**
 * ObjectTable: the objects of a volume under small indexes, by which the map names them. It becomes the
 * catalog (spec/manifest-format.md).
 *
 * Invariants: an index is given out once until the manifest that removes its object from the catalog is
 * published; only published entries appear in the catalog; a catalog page is immutable, so a changed page
 * is a new one; an object that a pinned state needs stays listed, dead, under its index.
 */
import { assert } from '../lib/assert.ts';
import { toHex } from '../lib/hex.ts';
import {
  catalogEntriesMax,
  encodeCatalogPage,
  ObjectKind,
  unusedEntry,
  type CatalogEntry,
  type CatalogPage,
} from './catalog-format.ts';
import type { AddedObject, CatalogReference, DroppedObject } from './manifest-format.ts';
import type { PinnedNumbers } from './pinned-numbers.ts';

interface TableEntry {
  kind: ObjectKind;
  keyEpoch: number;
  bytes: number;
  birth: number;
  death: number;
  id: Uint8Array;
  digest: Uint8Array;
  lineage: Uint8Array;
  /** It is durable under its key; the newest manifest or the next one names it. */
  published: boolean;
}

export interface TableChange {
  readonly pages: readonly { readonly page: number; readonly bytes: Uint8Array; readonly entryCount: number }[];
  readonly added: readonly AddedObject[];
  /** What leaves the catalog. */
  readonly dropped: readonly DroppedObject[];
}

/** What may be deleted once the manifest with a change is anchored: objects of this volume alone. */
export type RemovedObject = DroppedObject;

export class ObjectTable {
  readonly #volumeId: Uint8Array;
  readonly #entries: (TableEntry | undefined)[] = [];
  #free: number[] = [];
  readonly #references = new Map<number, CatalogReference>();
  /** Pages taken over from another volume, with its id; no object of ours goes there. */
  readonly #foreignPages = new Map<number, Uint8Array>();
  readonly #dirtyPages = new Set<number>();
  #added: number[] = [];
  /** No longer needed by the newest state. */
  #dropped: number[] = [];
  /** Leave the catalog with the next manifest. */
  #leaving = new Set<number>();

  constructor(volumeId: Uint8Array) {
    this.#volumeId = volumeId;
  }

  get length(): number {
    return this.#entries.length;
  }

  /** The catalog as of the newest manifest. */
  get references(): readonly CatalogReference[] {
    return sorted(this.#references);
  }

  /** Takes over a page of the newest manifest's catalog. */
  restore(page: CatalogPage, reference: CatalogReference): void {
    while (this.#entries.length < page.firstIndex + page.entries.length) this.#entries.push(undefined);
    const number = page.firstIndex / catalogEntriesMax;
    const isForeign = !sameId(page.lineage, this.#volumeId);
    // A page of the parent's own counts births and deaths in the parent's manifests.
    const isParents = !sameId(page.volumeId, this.#volumeId);
    if (isForeign) this.#foreignPages.set(number, Uint8Array.from(page.lineage));
    page.entries.forEach((entry, at) => {
      if (entry.kind === ObjectKind.unused || (isParents && entry.death !== 0)) return;
      const { lineage } = page;
      const index = page.firstIndex + at;
      this.#entries[index] = { ...entry, birth: isParents ? 0 : entry.birth, lineage, published: true };
    });
    this.#references.set(number, reference);
  }

  /** To be called once after the last `restore`: finds the indexes that are free. */
  restored(): void {
    for (let index = this.#entries.length - 1; index >= 0; index--)
      if (this.#entries[index] === undefined && !this.#foreignPages.has(pageOf(index))) this.#free.push(index);
  }

  /** An index for an object that is being written; it is in no catalog yet. */
  allocate(kind: ObjectKind, id: Uint8Array, keyEpoch: number): number {
    const index = this.#free.pop() ?? this.#nextIndex();
    this.#entries[index] = {
      kind,
      keyEpoch,
      bytes: 0,
      birth: 0,
      death: 0,
      id,
      digest: unusedEntry.digest,
      lineage: this.#volumeId,
      published: false,
    };
    return index;
  }

  /** Gives back an index that was never published. */
  abandon(index: number): void {
    assert(!this.#entry(index).published, 'only an unpublished object is abandoned');
    this.#entries[index] = undefined;
    this.#free.push(index);
  }

  /** The object is durable under its key: the next manifest names it. */
  publish(index: number, bytes: number, digest: Uint8Array): void {
    const entry = this.#entry(index);
    assert(!entry.published, 'an object is published once');
    entry.bytes = bytes;
    entry.digest = digest;
    entry.published = true;
    this.#added.push(index);
    this.#dirtyPages.add(pageOf(index));
  }

  /** The newest state no longer needs it. */
  drop(index: number): void {
    const entry = this.#entry(index);
    assert(entry.published && entry.death === 0, 'only a live object is dropped');
    this.#dropped.push(index);
    this.#dirtyPages.add(pageOf(index));
  }

  /**
   * The newest state becomes that of manifest `number`, which is pinned: what lived then lives again, nothing else.
   * After an earlier rollback a life may span a time in which the object was not needed, so the map objects of that
   * state are given; of segments one too many is found by cleaning.
   */
  rollBackTo(number: number, mapObjects: ReadonlySet<number>): void {
    this.#entries.forEach((entry, index) => {
      if (entry?.published !== true || entry.kind === ObjectKind.catalog) return;
      const isWithin = entry.birth <= number && (entry.death === 0 || entry.death > number);
      const lives = isWithin && (entry.kind !== ObjectKind.map || mapObjects.has(index));
      if (lives && entry.death !== 0) {
        entry.death = 0;
        this.#dirtyPages.add(pageOf(index));
      } else if (!lives && entry.death === 0) this.drop(index);
    });
  }

  /** Pins have gone: what was kept for them alone leaves the catalog. */
  releaseUnpinned(pins: PinnedNumbers): void {
    this.#entries.forEach((entry, index) => {
      if (entry?.published !== true || entry.death === 0 || pins.anyIn(entry.birth, entry.death)) return;
      this.#leaving.add(index);
      this.#dirtyPages.add(pageOf(index));
    });
  }

  /** What manifest `number` must say; `place` names the pages once they are created. Called once a manifest. */
  change(number: number, pins: PinnedNumbers): TableChange {
    for (const index of this.#added) this.#entry(index).birth = number;
    for (const index of this.#dropped) {
      const entry = this.#entry(index);
      if (pins.anyIn(entry.birth, number)) entry.death = number;
      else this.#leaving.add(index);
    }
    this.#dropped = [];
    this.#keepPinnedPages(number, pins);
    const pages: { page: number; bytes: Uint8Array; entryCount: number }[] = [];
    for (const page of this.#dirtyPages) {
      const entries = this.#pageEntries(page);
      if (entries.length === 0) continue;
      const bytes = encodeCatalogPage({
        firstIndex: page * catalogEntriesMax,
        volumeId: this.#volumeId,
        lineage: this.#foreignPages.get(page) ?? this.#volumeId,
        entries,
      });
      pages.push({ page, bytes, entryCount: entries.length });
    }
    return {
      pages,
      added: this.#added
        .map((index) => this.#entry(index))
        .map(({ kind, id, bytes, digest }) => ({ kind, id, bytes, digest })),
      dropped: [...this.#leaving].map((index) => this.#entry(index)).map(({ kind, id }) => ({ kind, id })),
    };
  }

  /** The manifest with this change is the head: new pages replace old ones. Returns what nobody needs any more. */
  commit(placed: ReadonlyMap<number, CatalogReference>): RemovedObject[] {
    const removed: RemovedObject[] = [];
    const listed = new Set<string>();
    for (const entry of this.#entries)
      if (entry?.kind === ObjectKind.catalog && entry.published) listed.add(toHex(entry.id));
    for (const page of this.#dirtyPages) {
      const old = this.#references.get(page);
      if (old !== undefined && sameId(old.owner, this.#volumeId) && !listed.has(toHex(old.id)))
        removed.push({ kind: ObjectKind.catalog, id: old.id });
      const reference = placed.get(page);
      if (reference === undefined) this.#references.delete(page);
      else this.#references.set(page, reference);
    }
    for (const index of this.#leaving) {
      const { kind, id, lineage } = this.#entry(index);
      if (sameId(lineage, this.#volumeId)) removed.push({ kind, id });
      this.#entries[index] = undefined;
      if (!this.#foreignPages.has(pageOf(index))) this.#free.push(index);
    }
    this.#dirtyPages.clear();
    this.#added = [];
    this.#leaving.clear();
    return removed;
  }

  /** The catalog as it will be with `placed` pages. */
  referencesWith(placed: ReadonlyMap<number, CatalogReference>): CatalogReference[] {
    const result = new Map(this.#references);
    for (const page of this.#dirtyPages) result.delete(page);
    for (const [page, reference] of placed) result.set(page, reference);
    return sorted(result);
  }

  isSegment(index: number): boolean {
    return this.#entries[index]?.kind === ObjectKind.segment;
  }

  isMapObject(index: number): boolean {
    return this.#entries[index]?.kind === ObjectKind.map;
  }

  get(index: number): Readonly<TableEntry> {
    return this.#entry(index);
  }

  /** Undefined for an index that is free. */
  find(index: number): Readonly<TableEntry> | undefined {
    return this.#entries[index];
  }

  /** Whether the newest state needs the object, as far as manifests say. */
  isLive(index: number): boolean {
    const entry = this.#entries[index];
    return entry?.published === true && entry.death === 0 && !this.#leaving.has(index);
  }

  isOwn(index: number): boolean {
    return sameId(this.#entry(index).lineage, this.#volumeId);
  }

  /** Whether the newest state or a pinned one reads objects of another volume. */
  hasForeign(): boolean {
    for (const page of this.#foreignPages.keys())
      for (let at = 0; at < catalogEntriesMax; at++) {
        const index = page * catalogEntriesMax + at;
        if (this.#entries[index]?.published === true && !this.#leaving.has(index)) return true;
      }
    return false;
  }

  /** Index of the object with each id. Linear: for opening only. */
  ids(): Map<string, number> {
    const result = new Map<string, number>();
    this.#entries.forEach((entry, index) => {
      if (entry !== undefined) result.set(toHex(entry.id), index);
    });
    return result;
  }

  totals(): { readonly count: number; readonly bytes: number; readonly pinnedBytes: number } {
    let count = 0;
    let bytes = 0;
    let pinnedBytes = 0;
    for (const entry of this.#entries) {
      if (entry?.published !== true) continue;
      count++;
      bytes += entry.bytes;
      if (entry.death !== 0) pinnedBytes += entry.bytes;
    }
    return { count, bytes, pinnedBytes };
  }

  /** Own pages about to be replaced that a pinned manifest names are listed as dead objects, which may dirty further pages. */
  #keepPinnedPages(number: number, pins: PinnedNumbers): void {
    const seen = new Set<number>();
    for (let more = true; more;) {
      more = false;
      for (const page of [...this.#dirtyPages]) {
        const old = this.#references.get(page);
        if (seen.has(page) || old === undefined) continue;
        seen.add(page);
        if (!sameId(old.owner, this.#volumeId) || !pins.anyIn(old.birth, number)) continue;
        const index = this.allocate(ObjectKind.catalog, old.id, 0);
        const entry = this.#entries[index]!;
        Object.assign(entry, {
          bytes: old.bytes,
          digest: old.digest,
          birth: old.birth,
          death: number,
          published: true,
        });
        this.#dirtyPages.add(pageOf(index));
        more = true;
      }
    }
  }

  #nextIndex(): number {
    while (this.#foreignPages.has(pageOf(this.#entries.length))) this.#entries.push(undefined);
    return this.#entries.length;
  }

  #pageEntries(page: number): CatalogEntry[] {
    const entries: CatalogEntry[] = [];
    const first = page * catalogEntriesMax;
    let used = 0;
    for (let at = 0; at < catalogEntriesMax; at++) {
      const entry = this.#entries[first + at];
      if (entry?.published !== true || this.#leaving.has(first + at)) {
        entries.push(unusedEntry);
        continue;
      }
      const { kind, keyEpoch, bytes, birth, death, id, digest } = entry;
      entries.push({ kind, keyEpoch, bytes, birth, death, id, digest });
      used = at + 1;
    }
    entries.length = used;
    return entries;
  }

  #entry(index: number): TableEntry {
    const entry = this.#entries[index];
    assert(entry !== undefined, `object ${index} is in the table`);
    return entry;
  }
}

function sorted(references: ReadonlyMap<number, CatalogReference>): CatalogReference[] {
  return [...references.values()].sort((left, right) => left.firstIndex - right.firstIndex);
}

function pageOf(index: number): number {
  return Math.floor(index / catalogEntriesMax);
}

function sameId(left: Uint8Array, right: Uint8Array): boolean {
  for (let at = 0; at < 16; at++) if (left[at] !== right[at]) return false;
  return true;
}
