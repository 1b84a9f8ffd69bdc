/**
 * SegmentHandles: the open segments of a volume, each a reader and a key, by index in the object table.
 *
 * Invariants: a segment that is being written, or whose tail is still in memory, is never closed; the
 * others are a bounded cache (second chance), so neither file handles nor key schedules grow with
 * the volume. A handle's object had exactly the size that the signed catalog states.
 */
import type { SealingKey } from '../crypto/sealer.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { segmentHandlesMax } from '../lib/limits.ts';
import type { ObjectTable } from '../manifest/object-table.ts';
import type { SegmentWriter } from '../segment/segment-writer.ts';
import { segmentKey, volumePrefix } from '../store/paths.ts';
import type { ObjectReader } from '../store/store.ts';
import type { StorePlace } from './map-loader.ts';
import type { ObjectKeys } from './object-keys.ts';

export interface SegmentHandle {
  readonly index: number;
  readonly key: SealingKey;
  /** Undefined until the spool file is open; then everything wanted is in the writer's memory. */
  reader: ObjectReader | undefined;
  /** Set while part of the segment is in memory only. */
  writer: SegmentWriter | undefined;
  used: boolean;
  /** Reads in flight; a handle in use is not closed. */
  pins: number;
  /** The segment is gone, or its index is another's: to be closed once nobody reads it. */
  isDropped: boolean;
  /** Frees the file behind the reader. */
  close: () => Promise<void>;
}

export class SegmentHandles {
  readonly #place: StorePlace;
  readonly #table: ObjectTable;
  readonly #keys: ObjectKeys;
  readonly #handles: (SegmentHandle | undefined)[] = [];
  readonly #opening = new Map<number, Promise<SegmentHandle | undefined>>();
  /** Closable handles in clock order. */
  readonly #clock: SegmentHandle[] = [];
  #hand = 0;

  constructor(place: StorePlace, table: ObjectTable, keys: ObjectKeys) {
    this.#place = place;
    this.#table = table;
    this.#keys = keys;
  }

  /** The handle if the segment is open. */
  get(index: number): SegmentHandle | undefined {
    return this.#handles[index];
  }

  /** Adds a segment that this process writes. */
  addWriter(index: number, key: SealingKey, writer: SegmentWriter): SegmentHandle {
    const handle: SegmentHandle = {
      index,
      key,
      reader: undefined,
      writer,
      used: true,
      pins: 0,
      isDropped: false,
      close: () => Promise.resolve(),
    };
    this.#install(handle);
    return handle;
  }

  /** Adds a segment that recovery found in the spool. */
  addFound(index: number, key: SealingKey, reader: ObjectReader): SegmentHandle {
    const handle: SegmentHandle = {
      index,
      key,
      reader,
      writer: undefined,
      used: true,
      pins: 0,
      isDropped: false,
      close: () => reader.close(),
    };
    this.#install(handle);
    return handle;
  }

  /** The segment is an object now: from here on the handle may be closed and opened again. */
  release(handle: SegmentHandle): void {
    if (handle.isDropped) return;
    this.#clock.push(handle);
    this.#shrink();
  }

  /** The segment is no longer part of the volume: reads in flight end, then its handle closes. */
  drop(index: number): void {
    const handle = this.#handles[index];
    if (handle === undefined) return;
    this.#handles[index] = undefined;
    handle.isDropped = true;
    const at = this.#clock.indexOf(handle);
    if (at >= 0) this.#clock.splice(at, 1);
    if (handle.pins === 0) closeHandle(handle);
  }

  /** The store was exchanged: reads in flight end in the old one, everything else opens in the new one. */
  reopenAll(): void {
    for (let index = 0; index < this.#handles.length; index++) this.drop(index);
    this.#opening.clear();
  }

  /** A read of the handle begins; `unpin` must follow. */
  pin(handle: SegmentHandle): void {
    handle.pins++;
  }

  unpin(handle: SegmentHandle): void {
    if (--handle.pins === 0 && handle.isDropped) closeHandle(handle);
  }

  /** Undefined when the segment left the volume while it was opened: start again from the map. */
  open(index: number): Promise<SegmentHandle | undefined> {
    const known = this.#handles[index];
    if (known !== undefined) return Promise.resolve(known);
    let opening = this.#opening.get(index);
    if (opening === undefined) {
      const started = this.#open(index).finally(() => {
        if (this.#opening.get(index) === started) this.#opening.delete(index);
      });
      opening = started;
      this.#opening.set(index, opening);
    }
    return opening;
  }

  async closeAll(): Promise<void> {
    const closes: Promise<void>[] = [];
    for (const handle of this.#handles) {
      if (handle === undefined) continue;
      handle.key.destroy();
      closes.push(handle.close());
    }
    this.#handles.length = 0;
    this.#clock.length = 0;
    await Promise.allSettled(closes);
  }

  async #open(index: number): Promise<SegmentHandle | undefined> {
    const entry = this.#table.get(index);
    const key = segmentKey(volumePrefix(entry.lineage), entry.id);
    const { store } = this.#place;
    let reader: ObjectReader;
    try {
      reader = await store.open(key);
    } catch (error) {
      if (store !== this.#place.store) return this.open(index);
      if (!isCaissonError(error, 'object-missing')) throw error;
      if (this.#table.find(index) !== entry) return undefined;
      throw new CaissonError('integrity', 'object-missing', `segment ${key} is missing from the store`, {
        details: { object: key },
        cause: error,
      });
    }
    if (store !== this.#place.store) {
      await reader.close();
      return this.open(index);
    }
    if (reader.size !== entry.bytes) {
      await reader.close();
      throw new CaissonError(
        'integrity',
        'digest-mismatch',
        `segment ${key} has ${reader.size} bytes, the signed catalog says ${entry.bytes}`,
        {
          details: { object: key },
        },
      );
    }
    if (this.#table.find(index) !== entry || this.#handles[index] !== undefined) {
      await reader.close();
      return this.#table.find(index) === entry ? this.#handles[index] : undefined;
    }
    const sealingKey = this.#keys.segmentKey(entry.id, entry.lineage, entry.keyEpoch);
    const handle: SegmentHandle = {
      index,
      key: sealingKey,
      reader,
      writer: undefined,
      used: true,
      pins: 0,
      isDropped: false,
      close: () => reader.close(),
    };
    this.#install(handle);
    this.#clock.push(handle);
    this.#shrink();
    return handle;
  }

  /** An index that was another segment's belongs to this one from now on. */
  #install(handle: SegmentHandle): void {
    this.drop(handle.index);
    this.#opening.delete(handle.index);
    this.#handles[handle.index] = handle;
  }

  #shrink(): void {
    let steps = this.#clock.length * 2;
    while (this.#clock.length > segmentHandlesMax && steps-- > 0) {
      if (this.#hand >= this.#clock.length) this.#hand = 0;
      const handle = this.#clock[this.#hand]!;
      if (handle.used || handle.pins > 0) {
        handle.used = false;
        this.#hand++;
        continue;
      }
      this.#clock.splice(this.#hand, 1);
      this.#handles[handle.index] = undefined;
      closeHandle(handle);
    }
  }
}

function closeHandle(handle: SegmentHandle): void {
  handle.key.destroy();
  // A close that fails loses nothing: the object is immutable and was only read.
  handle.close().catch(() => undefined);
}
