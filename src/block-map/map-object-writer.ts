/**
 * MapObjectWriter: packs sealed pages into map objects (spec/map-format.md) and hands each full one on.
 *
 * Invariant: a page has its own offset in an object with a fresh id, so its slot is sealed once.
 */
import type { SealingKey } from '../crypto/sealer.ts';
import { tagBytes } from '../crypto/sealer.ts';
import { Region } from '../lib/region.ts';
import type { PageSink } from './map-checkpoint.ts';
import { mapHeaderBytes, mapVersion, pageBlock, type PageLevel, type PageReference } from './map-format.ts';

const firstRegionBytes = 128 * 1024;
const magicMap = 0x0a3150414d_4e5343n; // "CSNMAP1\n" read as a little-endian u64

export interface MapHeader {
  readonly protection: 0 | 1;
  readonly keyEpoch: number;
  readonly lineage: Uint8Array; // 16 bytes
  readonly objectId: Uint8Array; // 16 bytes
}

/** A map object that is being filled. */
export interface OpenMapObject extends MapHeader {
  /** Index in the object table. */
  readonly index: number;
  readonly key: SealingKey;
}

export function encodeMapHeader(target: Uint8Array, header: MapHeader): void {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  target.fill(0, 0, mapHeaderBytes);
  view.setBigUint64(0, magicMap, true);
  view.setUint16(8, mapVersion, true);
  view.setUint8(10, header.protection);
  view.setUint32(12, header.keyEpoch, true);
  target.set(header.lineage, 16);
  target.set(header.objectId, 32);
}

export class MapObjectWriter implements PageSink {
  readonly #bytesMax: number;
  readonly #begin: () => OpenMapObject;
  readonly #emit: (object: OpenMapObject, region: Region, length: number) => Promise<void>;
  readonly #emitted: Promise<void>[] = [];
  #object: OpenMapObject | undefined;
  #region: Region | undefined;
  #filled = 0;
  #pagesSincePause = 0;
  readonly #yield: () => Promise<void>;

  /** `emit` makes the object durable; `breathe` lets other work run. */
  constructor(options: {
    readonly bytesMax: number;
    readonly begin: () => OpenMapObject;
    readonly emit: (object: OpenMapObject, region: Region, length: number) => Promise<void>;
    readonly breathe: () => Promise<void>;
  }) {
    this.#bytesMax = options.bytesMax;
    this.#begin = options.begin;
    this.#emit = options.emit;
    this.#yield = options.breathe;
  }

  writePage(level: PageLevel, index: number, source: Region, sourceOffset: number, length: number): PageReference {
    if (this.#object !== undefined && this.#filled + length + tagBytes > this.#bytesMax) this.#handOn();
    if (this.#object === undefined) {
      this.#object = this.#begin();
      this.#region = new Region(
        Math.max(Math.min(this.#bytesMax, firstRegionBytes), mapHeaderBytes + length + tagBytes),
      );
      encodeMapHeader(this.#region.bytes, this.#object);
      this.#filled = mapHeaderBytes;
    }
    const at = this.#filled;
    const slot = at / 16;
    const region = this.#regionFor(at + length + tagBytes);
    this.#object.key.seal(slot, pageBlock(level, index), length, source, sourceOffset, region, at);
    this.#filled = at + length + tagBytes;
    return {
      object: this.#object.index,
      slot,
      tag: Uint8Array.from(region.bytes.subarray(at + length, at + length + tagBytes)),
    };
  }

  /** Every 64 pages (about 0.2 ms of sealing) others get their turn; two full objects at most wait for the disk. */
  pause(): Promise<void> | undefined {
    if (++this.#pagesSincePause < 64) return undefined;
    this.#pagesSincePause = 0;
    const oldest = this.#emitted.at(-2);
    return oldest === undefined ? this.#yield() : oldest.then(() => this.#yield());
  }

  /** Hands on the last object; resolves when all are durable. */
  async finish(): Promise<void> {
    if (this.#object !== undefined) this.#handOn();
    await Promise.all(this.#emitted);
  }

  /** Grown by doubling: most checkpoints fill a small part of what an object may hold. */
  #regionFor(bytes: number): Region {
    const region = this.#region!;
    if (bytes <= region.length) return region;
    const grown = new Region(Math.max(bytes, Math.min(this.#bytesMax, region.length * 2)));
    grown.bytes.set(region.bytes.subarray(0, this.#filled));
    this.#region = grown;
    return grown;
  }

  #handOn(): void {
    const emitted = this.#emit(this.#object!, this.#region!, this.#filled);
    // Awaited in `finish`; a failure before that must not count as unhandled.
    emitted.catch(() => undefined);
    this.#emitted.push(emitted);
    this.#object = undefined;
    this.#region = undefined;
  }
}
