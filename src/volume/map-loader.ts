/**
 * MapLoader: reads map pages back from map objects and checks them before anybody sees them
 * (spec/map-format.md). A few objects are kept open; pages are small and rarely read twice.
 */
import type { PageLoader } from '../block-map/block-map.ts';
import {
  checkLeaf,
  checkUsage,
  decodeDirectoryPage,
  decodeRoot,
  directoryBytes,
  leafBytes,
  pageBlock,
  PageLevel,
  type PageReference,
  type Root,
  usageBytes,
} from '../block-map/map-format.ts';
import { equalBytes } from '../crypto/digest.ts';
import type { SealingKey } from '../crypto/sealer.ts';
import { tagBytes } from '../crypto/sealer.ts';
import { CaissonError, isCaissonError, messageOf } from '../lib/errors.ts';
import { mapObjectsOpenMax } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import type { ObjectTable } from '../manifest/object-table.ts';
import { mapObjectKey, volumePrefix } from '../store/paths.ts';
import type { ObjectReader, Store } from '../store/store.ts';
import type { ObjectKeys } from './object-keys.ts';

/** Says which store the volume is in now. */
export interface StorePlace {
  readonly store: Store;
}

interface OpenObject {
  readonly store: Store;
  readonly reader: ObjectReader;
  readonly key: SealingKey;
  readonly name: string;
  pins: number;
  /** No longer named by the map: to be closed once nobody reads it. */
  isForgotten: boolean;
}

export class MapLoader implements PageLoader {
  readonly #place: StorePlace;
  readonly #table: ObjectTable;
  readonly #keys: ObjectKeys;
  /** In order of last use. */
  readonly #open = new Map<number, Promise<OpenObject>>();

  /** Objects that a checkpoint is filling: a leaf that went into one may be evicted before its object is on the store. */
  readonly #coming = new Map<number, PromiseWithResolvers<void>>();

  constructor(place: StorePlace, table: ObjectTable, keys: ObjectKeys) {
    this.#place = place;
    this.#table = table;
    this.#keys = keys;
  }

  async loadLeaf(leaf: number, reference: PageReference): Promise<Uint32Array> {
    const page = await this.#page(PageLevel.leaf, leaf, reference, leafBytes);
    const words = new Uint32Array(page.bytes.buffer, 0, leafBytes / 4);
    this.#checked(reference, () => checkLeaf(words, (index) => this.#table.isSegment(index)));
    return words;
  }

  async loadDirectory(
    directory: number,
    reference: PageReference,
    visit: (leaf: number, object: number, slot: number, tag: Uint8Array) => void,
  ): Promise<void> {
    const page = await this.#page(PageLevel.directory, directory, reference, directoryBytes);
    this.#checked(reference, () =>
      decodeDirectoryPage(page.bytes.subarray(0, directoryBytes), (index) => this.#table.isMapObject(index), visit),
    );
  }

  async loadRoot(reference: PageReference, bytes: number): Promise<Root> {
    const page = await this.#page(PageLevel.root, 0, reference, bytes);
    return this.#checked(reference, () =>
      decodeRoot(page.bytes.subarray(0, bytes), (index) => this.#table.isMapObject(index)),
    );
  }

  async loadUsage(page: number, reference: PageReference): Promise<Uint32Array> {
    const plain = await this.#page(PageLevel.usage, page, reference, usageBytes);
    const counts = new Uint32Array(plain.bytes.buffer, 0, usageBytes / 4);
    this.#checked(reference, () => checkUsage(counts, page, (index) => this.#table.isSegment(index)));
    return counts;
  }

  /** The object with this index is being written; reads of its pages wait until it is there. */
  announce(index: number): void {
    const coming = Promise.withResolvers<void>();
    coming.promise.catch(() => undefined); // for whoever reads; maybe nobody does
    this.#coming.set(index, coming);
  }

  arrived(index: number): void {
    this.#coming.get(index)?.resolve();
    this.#coming.delete(index);
  }

  /** The checkpoint failed: what was announced never comes. */
  lost(error: unknown): void {
    for (const coming of this.#coming.values()) coming.reject(error);
  }

  async closeAll(): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const opening of open) await opening.then(closeObject).catch(() => undefined);
  }

  /** An object that is no longer named by the map is closed. */
  forget(index: number): void {
    const opening = this.#open.get(index);
    this.#open.delete(index);
    opening
      ?.then((object) => {
        object.isForgotten = true;
        return object.pins === 0 ? closeObject(object) : undefined;
      })
      .catch(() => undefined);
  }

  /** The store was exchanged: nothing that was opened in the old one is used again. */
  reopenAll(): void {
    for (const index of [...this.#open.keys()]) this.forget(index);
  }

  async #page(level: PageLevel, index: number, reference: PageReference, length: number): Promise<Region> {
    const object = await this.#object(reference.object);
    const offset = reference.slot * 16;
    object.pins++;
    try {
      const sealed = new Region(length + tagBytes);
      for (let isFirst = true; ; isFirst = false) {
        try {
          await object.reader.read(offset, length + tagBytes, sealed, 0);
        } catch (error) {
          if (isCaissonError(error, 'format-invalid')) throw this.#tampered(object.name, messageOf(error), error);
          // Deleted where it was, because the volume has moved.
          if (object.store !== this.#place.store) return await this.#page(level, index, reference, length);
          throw error;
        }
        const isNamed = equalBytes(sealed.bytes.subarray(length, length + tagBytes), reference.tag);
        const page = new Region(length);
        if (isNamed && object.key.open(reference.slot, pageBlock(level, index), length, sealed, 0, page, 0))
          return page;
        // A cache on local disk may have been damaged: the store itself is asked before anything is said of it.
        if (isFirst && object.reader.forget?.(offset, length + tagBytes) === true) continue;
        throw this.#tampered(
          object.name,
          isNamed ? 'a page does not authenticate' : 'a page has another tag than its parent names',
        );
      }
    } finally {
      object.pins--;
      if (object.isForgotten && object.pins === 0) closeObject(object).catch(() => undefined);
    }
  }

  #object(index: number): Promise<OpenObject> {
    const known = this.#open.get(index);
    if (known !== undefined) {
      this.#open.delete(index);
      this.#open.set(index, known);
      return known;
    }
    const opening = this.#openObject(index);
    this.#open.set(index, opening);
    opening.catch(() => this.#open.delete(index));
    if (this.#open.size > mapObjectsOpenMax) this.#closeOldest();
    return opening;
  }

  #closeOldest(): void {
    for (const [index, opening] of this.#open) {
      this.#open.delete(index);
      opening
        .then(async (object) => {
          if (object.pins === 0) await closeObject(object);
          else this.#open.set(index, opening);
        })
        .catch(() => undefined);
      return;
    }
  }

  async #openObject(index: number): Promise<OpenObject> {
    await this.#coming.get(index)?.promise;
    const entry = this.#table.get(index);
    const name = mapObjectKey(volumePrefix(entry.lineage), entry.id);
    const { store } = this.#place;
    let reader: ObjectReader;
    try {
      reader = await store.open(name);
    } catch (error) {
      if (store !== this.#place.store) return this.#openObject(index);
      if (isCaissonError(error, 'object-missing')) throw this.#tampered(name, 'it is missing', error);
      throw error;
    }
    if (entry.published && reader.size !== entry.bytes) {
      await reader.close();
      throw this.#tampered(name, `it has ${reader.size} bytes, the signed catalog says ${entry.bytes}`);
    }
    return {
      store,
      reader,
      key: this.#keys.mapKey(entry.id, entry.lineage, entry.keyEpoch),
      name,
      pins: 0,
      isForgotten: false,
    };
  }

  #checked<T>(reference: PageReference, decode: () => T): T {
    try {
      return decode();
    } catch (error) {
      if (!isCaissonError(error, 'format-invalid')) throw error;
      throw this.#tampered(`object ${reference.object}`, messageOf(error), error);
    }
  }

  #tampered(name: string, message: string, cause?: unknown): CaissonError {
    return new CaissonError('integrity', 'map-tampered', `map object ${name} is not what was written: ${message}`, {
      remedy:
        'The store was changed from outside or is damaged. Run `caisson volume verify`, then restore the object named.',
      details: { object: name },
      cause,
    });
  }
}

async function closeObject(object: OpenObject): Promise<void> {
  object.key.destroy();
  await object.reader.close();
}
