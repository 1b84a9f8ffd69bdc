/**
 * A store whose immutable objects are read through a cache on local disk. Nothing but `open` is
 * cached: heads, listings and small objects always come from the store itself.
 *
 * Invariant: an object that is gone from the store cannot be opened, whatever the cache holds of it.
 */
import {
  readAheadBytesMax,
  readCacheChunkBytes,
  readCacheFetchChunksMax,
  readCachePrefetchesMax,
} from '../lib/limits.ts';
import type { Region } from '../lib/region.ts';
import { shortObject } from './file-reader.ts';
import { CachedObject } from './read-cache.ts';
import type { ReadCache } from './read-cache.ts';
import type { ObjectInfo, ObjectReader, SpoolArea, Store, VersionedObject, WriterLock } from './store.ts';

const sweepCountMin = 1024;

export class CachedStore implements Store {
  readonly url: string;
  readonly isRemote: boolean;
  readonly #inner: Store;
  readonly #cache: ReadCache;
  readonly #ownsCache: boolean;
  /** Objects of which the cache may hold something. */
  readonly #objects = new Map<string, CachedObject>();
  #sweepAtCount = sweepCountMin;

  /** `ownsCache`: it serves this store alone and is closed with it. */
  constructor(inner: Store, cache: ReadCache, ownsCache = false) {
    this.#ownsCache = ownsCache;
    this.url = inner.url;
    this.isRemote = inner.isRemote;
    this.#inner = inner;
    this.#cache = cache;
  }

  async open(key: string): Promise<ObjectReader> {
    const inner = await this.#inner.open(key);
    const known = this.#objects.get(key);
    const isSame = known !== undefined && known.slots.length === Math.ceil(inner.size / readCacheChunkBytes);
    const object = isSame ? known : new CachedObject(inner.size);
    if (!isSame) {
      if (this.#objects.size >= this.#sweepAtCount) this.#sweep();
      this.#objects.set(key, object);
    }
    object.readers++;
    return new CachedReader(inner, key, object, this.#cache, () => {
      object.readers--;
      if (isUnused(object) && this.#objects.get(key) === object) this.#objects.delete(key);
    });
  }

  async remove(key: string): Promise<void> {
    await this.#inner.remove(key);
    this.#forget(key);
  }

  async close(): Promise<void> {
    await this.#inner.close();
    for (const key of this.#objects.keys()) this.#forget(key);
    if (this.#ownsCache) await this.#cache.close();
  }

  get(key: string, bytesMax: number): Promise<Uint8Array> {
    return this.#inner.get(key, bytesMax);
  }

  stat(key: string): Promise<ObjectInfo> {
    return this.#inner.stat(key);
  }

  create(key: string, bytes: Uint8Array): Promise<void> {
    return this.#inner.create(key, bytes);
  }

  getVersioned(key: string, bytesMax: number): Promise<VersionedObject> {
    return this.#inner.getVersioned(key, bytesMax);
  }

  swap(key: string, expectedVersion: string | null, bytes: Uint8Array): Promise<string> {
    return this.#inner.swap(key, expectedVersion, bytes);
  }

  version(key: string): Promise<string> {
    return this.#inner.version(key);
  }

  list(prefix: string): AsyncIterable<ObjectInfo> {
    return this.#inner.list(prefix);
  }

  spool(volumePrefix: string): Promise<SpoolArea> {
    return this.#inner.spool(volumePrefix);
  }

  lock(volumePrefix: string): Promise<WriterLock> {
    return this.#inner.lock(volumePrefix);
  }

  /** Objects whose last chunk made room for others. */
  #sweep(): void {
    for (const [key, object] of this.#objects) if (isUnused(object)) this.#objects.delete(key);
    this.#sweepAtCount = Math.max(sweepCountMin, this.#objects.size * 2);
  }

  #forget(key: string): void {
    const object = this.#objects.get(key);
    if (object === undefined) return;
    this.#objects.delete(key);
    for (let chunk = 0; chunk < object.slots.length; chunk++) this.#cache.drop(object, chunk);
  }
}

function isUnused(object: CachedObject): boolean {
  return object.readers === 0 && object.loads.size === 0 && object.slots.every((slot) => slot === 0);
}

class CachedReader implements ObjectReader {
  readonly size: number;
  readonly #inner: ObjectReader;
  readonly #key: string;
  readonly #object: CachedObject;
  readonly #cache: ReadCache;
  readonly #release: () => void;
  #isClosed = false;
  /** Where a read would continue the last one. */
  #nextOffset = -1;

  constructor(inner: ObjectReader, key: string, object: CachedObject, cache: ReadCache, release: () => void) {
    this.size = inner.size;
    this.#inner = inner;
    this.#key = key;
    this.#object = object;
    this.#cache = cache;
    this.#release = release;
  }

  tryRead(offset: number, length: number, target: Region, targetOffset: number): boolean {
    if (offset + length > this.size) return false; // `read` says why
    let position = offset;
    let hits = 0;
    const end = offset + length;
    while (position < end) {
      const chunk = Math.floor(position / readCacheChunkBytes);
      const within = position - chunk * readCacheChunkBytes;
      const count = Math.min(end - position, readCacheChunkBytes - within);
      if (!this.#cache.readNow(this.#object, chunk, within, count, target, targetOffset + position - offset))
        return false;
      position += count;
      hits++;
    }
    // Only now: a read that was not whole is made again, and counted there.
    this.#cache.counts.hits += hits;
    return true;
  }

  async read(offset: number, length: number, target: Region, targetOffset: number): Promise<void> {
    if (offset + length > this.size)
      throw shortObject(this.#key, offset, length, Math.max(0, Math.min(length, this.size - offset)));
    const parts: Promise<void>[] = [];
    const end = offset + length;
    const isInOrder = offset === this.#nextOffset;
    this.#nextOffset = end;
    this.#loadMissing(offset, length, Infinity);
    for (let position = offset; position < end;) {
      const chunk = Math.floor(position / readCacheChunkBytes);
      const within = position - chunk * readCacheChunkBytes;
      const count = Math.min(end - position, readCacheChunkBytes - within);
      parts.push(this.#readPart(chunk, within, count, target, targetOffset + position - offset));
      position += count;
    }
    if (isInOrder) this.prefetch(end, readAheadBytesMax / 8);
    // All of them, also when one fails: none may write to the target after this call has ended.
    for (const result of await Promise.allSettled(parts)) if (result.status === 'rejected') throw result.reason;
  }

  forget(offset: number, length: number): boolean {
    let hadAny = false;
    const last = Math.floor((Math.min(offset + length, this.size) - 1) / readCacheChunkBytes);
    for (let chunk = Math.floor(offset / readCacheChunkBytes); chunk <= last; chunk++) {
      if (this.#cache.drop(this.#object, chunk)) hadAny = true;
    }
    return hadAny;
  }

  prefetch(offset: number, length: number): boolean {
    // Whoever really reads the range hears of a failure then.
    return this.#loadMissing(offset, Math.min(length, this.size - offset), readCachePrefetchesMax);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#release();
    await this.#inner.close();
  }

  async #readPart(chunk: number, within: number, count: number, target: Region, at: number): Promise<void> {
    if (await this.#cache.read(this.#object, chunk, within, count, target, at)) return;
    if (!this.#object.loads.has(chunk)) this.#load(chunk, 1);
    const copy = (region: Region, offset: number): void =>
      target.bytes.set(region.bytes.subarray(offset + within, offset + within + count), at);
    await this.#cache.take(this.#object, chunk, copy);
  }

  /** Has what the cache lacks of the range fetched: neighbours in one request, as long as fewer than `loadsMax` chunks are under way, else false. */
  #loadMissing(offset: number, length: number, loadsMax: number): boolean {
    const last = Math.floor((offset + length - 1) / readCacheChunkBytes);
    for (let chunk = Math.floor(offset / readCacheChunkBytes); chunk <= last; chunk++) {
      if (!this.#isMissing(chunk)) continue;
      if (this.#cache.loads >= loadsMax) return false;
      let count = 1;
      while (count < readCacheFetchChunksMax && chunk + count <= last && this.#isMissing(chunk + count)) count++;
      this.#load(chunk, count);
      chunk += count - 1;
    }
    return true;
  }

  #isMissing(chunk: number): boolean {
    return this.#object.slots[chunk] === 0 && !this.#object.loads.has(chunk);
  }

  /** One request for `count` chunks, none of which is being fetched. */
  #load(chunk: number, count: number): void {
    const start = chunk * readCacheChunkBytes;
    const length = Math.min(count * readCacheChunkBytes, this.size - start);
    this.#cache.load(this.#object, chunk, count, length, (region) => this.#inner.read(start, length, region, 0));
  }
}
