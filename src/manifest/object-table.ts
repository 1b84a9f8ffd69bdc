/**
 * ObjectTable: the objects of a volume under small indexes, by which the map names them. It becomes the
 * catalog (spec/manifest-format.md).
 *
 * Invariants: an index is given out once until the manifest that drops its object is published; only
 * published entries appear in the catalog; a catalog page is immutable, so a changed page is a new one.
 */
import { assert } from '../lib/assert.ts';
import { toHex } from '../lib/hex.ts';
import {
  catalogEntriesMax,
  encodeCatalogPage,
  ObjectKind,
  type CatalogEntry,
  type CatalogPage,
} from './catalog-format.ts';
import type { AddedObject, CatalogReference, DroppedObject } from './manifest-format.ts';

interface TableEntry {
  kind: ObjectKind;
  keyEpoch: number;
  bytes: number;
  id: Uint8Array;
  digest: Uint8Array;
  lineage: Uint8Array;
  published: boolean;
}

const noDigest = new Uint8Array(32);
const unused: CatalogEntry = {
  kind: ObjectKind.unused,
  keyEpoch: 0,
  bytes: 0,
  id: new Uint8Array(16),
  digest: noDigest,
};

export interface TableChange {
  readonly pages: readonly { readonly page: number; readonly bytes: Uint8Array; readonly entryCount: number }[];
  readonly added: readonly AddedObject[];
  readonly dropped: readonly DroppedObject[];
}

export class ObjectTable {
  readonly #volumeId: Uint8Array;
  readonly #entries: (TableEntry | undefined)[] = [];
  #free: number[] = [];
  readonly #references = new Map<number, CatalogReference>();
  readonly #dirtyPages = new Set<number>();
  #added: AddedObject[] = [];
  #dropped: (DroppedObject & { readonly index: number })[] = [];

  constructor(volumeId: Uint8Array) {
    this.#volumeId = volumeId;
  }

  get length(): number {
    return this.#entries.length;
  }

  /** The catalog as of the newest manifest. */
  get references(): readonly CatalogReference[] {
    return [...this.#references.values()].sort((a, b) => a.firstIndex - b.firstIndex);
  }

  /** Takes over a page of the newest manifest's catalog. */
  restore(page: CatalogPage, reference: CatalogReference): void {
    while (this.#entries.length < page.firstIndex + page.entries.length) this.#entries.push(undefined);
    page.entries.forEach((entry, at) => {
      if (entry.kind !== ObjectKind.unused)
        this.#entries[page.firstIndex + at] = { ...entry, lineage: page.lineage, published: true };
    });
    this.#references.set(page.firstIndex / catalogEntriesMax, reference);
  }

  /** To be called once after the last `restore`: finds the indexes that are free. */
  restored(): void {
    for (let index = this.#entries.length - 1; index >= 0; index--)
      if (this.#entries[index] === undefined) this.#free.push(index);
  }

  /** An index for an object that is being written; it is in no catalog yet. */
  allocate(kind: ObjectKind, id: Uint8Array, keyEpoch: number): number {
    const index = this.#free.pop() ?? this.#entries.length;
    this.#entries[index] = {
      kind,
      keyEpoch,
      bytes: 0,
      id,
      digest: noDigest,
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
    this.#added.push({ kind: entry.kind, id: entry.id, bytes, digest });
    this.#dirtyPages.add(pageOf(index));
  }

  /** The next manifest no longer names it. */
  drop(index: number): void {
    const entry = this.#entry(index);
    assert(entry.published, 'only a published object is dropped');
    entry.published = false;
    this.#dropped.push({ kind: entry.kind, id: entry.id, index });
    this.#dirtyPages.add(pageOf(index));
  }

  /** What the next manifest must say; pages are named by `place` once they are created. */
  change(): TableChange {
    const pages: { page: number; bytes: Uint8Array; entryCount: number }[] = [];
    for (const page of this.#dirtyPages) {
      const entries = this.#pageEntries(page);
      if (entries.length === 0) continue;
      const bytes = encodeCatalogPage({
        firstIndex: page * catalogEntriesMax,
        volumeId: this.#volumeId,
        lineage: this.#volumeId,
        entries,
      });
      pages.push({ page, bytes, entryCount: entries.length });
    }
    return { pages, added: this.#added, dropped: this.#dropped };
  }

  /** The manifest with this change is the head: new pages replace old ones, whose ids are returned. */
  commit(placed: ReadonlyMap<number, CatalogReference>): Uint8Array[] {
    const replaced: Uint8Array[] = [];
    for (const page of this.#dirtyPages) {
      const old = this.#references.get(page);
      if (old !== undefined) replaced.push(old.id);
      const reference = placed.get(page);
      if (reference === undefined) this.#references.delete(page);
      else this.#references.set(page, reference);
    }
    for (const { index } of this.#dropped) {
      this.#entries[index] = undefined;
      this.#free.push(index);
    }
    this.#dirtyPages.clear();
    this.#added = [];
    this.#dropped = [];
    return replaced;
  }

  /** The catalog as it will be with `placed` pages. */
  referencesWith(placed: ReadonlyMap<number, CatalogReference>): CatalogReference[] {
    const result = new Map(this.#references);
    for (const page of this.#dirtyPages) result.delete(page);
    for (const [page, reference] of placed) result.set(page, reference);
    return [...result.values()].sort((a, b) => a.firstIndex - b.firstIndex);
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

  /** Index of the object with this id, or -1. Linear: for opening only. */
  ids(): Map<string, number> {
    const result = new Map<string, number>();
    this.#entries.forEach((entry, index) => {
      if (entry !== undefined) result.set(toHex(entry.id), index);
    });
    return result;
  }

  totals(): { readonly count: number; readonly bytes: number } {
    let count = 0;
    let bytes = 0;
    for (const entry of this.#entries) {
      if (entry?.published !== true) continue;
      count++;
      bytes += entry.bytes;
    }
    return { count, bytes };
  }

  #pageEntries(page: number): CatalogEntry[] {
    const entries: CatalogEntry[] = [];
    const first = page * catalogEntriesMax;
    let used = 0;
    for (let at = 0; at < catalogEntriesMax; at++) {
      const entry = this.#entries[first + at];
      entries.push(
        entry?.published === true
          ? { kind: entry.kind, keyEpoch: entry.keyEpoch, bytes: entry.bytes, id: entry.id, digest: entry.digest }
          : unused,
      );
      if (entry?.published === true) used = at + 1;
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

function pageOf(index: number): number {
  return Math.floor(index / catalogEntriesMax);
}
