import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { pattern, rejects, storeConformance } from '../../test/conformance/store.ts';
import { FaultStore, StoreFaults } from '../../test/sim/fault-store.ts';
import { MemoryMedium, MemoryStore } from '../../test/sim/memory-store.ts';
import { createTestVolume } from '../../test/support/test-volume.ts';
import { systemClock } from '../lib/clock.ts';
import { isCaissonError } from '../lib/errors.ts';
import { readCacheChunkBytes, readCachePrefetchesMax } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import { CachedStore } from './cached-store.ts';
import type { FileHandle } from './file-system.ts';
import { nodeFileSystem } from './node-file-system.ts';
import * as paths from './paths.ts';
import { ReadCache } from './read-cache.ts';
import type { ObjectReader, Store } from './store.ts';
import { ReadCacheCounts } from './store-counts.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-cached-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));
const chunk = readCacheChunkBytes;
const prefix = paths.volumePrefix(new Uint8Array(16).fill(1));
const segment = (id: number): string => paths.segmentKey(prefix, new Uint8Array(16).fill(id));
let fileCount = 0;

interface Rig {
  readonly store: CachedStore;
  readonly faults: StoreFaults;
  readonly counts: ReadCacheCounts;
  /** The cache's own file. */
  readonly file: string;
}

async function rig(chunks = 8, inner: Store = new MemoryStore(new MemoryMedium())): Promise<Rig> {
  const file = path.join(base, String(++fileCount));
  const faults = new StoreFaults();
  const counts = new ReadCacheCounts();
  const cache = new ReadCache(() => nodeFileSystem.open(file, 'exclusive'), chunks * chunk, counts);
  return { store: new CachedStore(new FaultStore(inner, systemClock, faults), cache, true), faults, counts, file };
}

async function read(reader: ObjectReader, offset: number, length: number): Promise<Uint8Array> {
  const target = new Region(length);
  if (!reader.tryRead(offset, length, target, 0)) await reader.read(offset, length, target, 0);
  return target.bytes;
}

/** What was fetched is written to the cache a moment later. */
async function untilKept(reader: ObjectReader, offset: number): Promise<void> {
  const target = new Region(1);
  while (!reader.tryRead(offset, 1, target, 0)) await new Promise((resolve) => setTimeout(resolve, 1));
}

storeConformance('a store behind a read cache', async () => {
  const medium = new MemoryMedium();
  return { open: async () => (await rig(8, new MemoryStore(medium))).store, dispose: async () => undefined };
});

describe('read cache', () => {
  it('fetches a chunk once, for all who wait and all who come later', async () => {
    const { store, faults } = await rig();
    const bytes = pattern(chunk * 3 - 100, 1);
    await store.create(segment(1), bytes);
    const reader = await store.open(segment(1));
    const reads = Array.from({ length: 20 }, (_, index) => read(reader, index * 100, 4112));
    for (const [index, found] of (await Promise.all(reads)).entries())
      assert.deepEqual(found, bytes.subarray(index * 100, index * 100 + 4112));
    assert.equal(faults.countOf('reader.read'), 1);
    assert.deepEqual(await read(reader, chunk - 50, chunk + 100), bytes.subarray(chunk - 50, 2 * chunk + 50));
    assert.equal(faults.countOf('reader.read'), 2);
    await untilKept(reader, 2 * chunk);
    const again = await store.open(segment(1));
    assert.deepEqual(await read(again, 0, bytes.length), bytes);
    assert.equal(faults.countOf('reader.read'), 2, 'all of it was held');
    await reader.close();
    await again.close();
  });

  it('holds no more than it may, and what it holds is right', async () => {
    const { store, file } = await rig(4);
    for (let id = 0; id < 6; id++) await store.create(segment(id), pattern(chunk * 2, id));
    for (let round = 0; round < 3; round++) {
      for (let id = 0; id < 6; id++) {
        const reader = await store.open(segment(id));
        assert.deepEqual(
          await read(reader, 1000, 2 * chunk - 2000),
          pattern(chunk * 2, id).subarray(1000, 2 * chunk - 1000),
        );
        await reader.close();
      }
    }
    assert.ok(fs.statSync(file).size <= 4 * chunk);
  });

  it('fetches again what was called wrong', async () => {
    const { store, faults, file } = await rig();
    await store.create(segment(1), pattern(chunk * 2, 1));
    const reader = await store.open(segment(1));
    await read(reader, 0, 2 * chunk);
    await untilKept(reader, 0);
    await untilKept(reader, chunk);
    fs.writeFileSync(file, pattern(chunk * 2, 9));
    assert.notDeepEqual(await read(reader, 0, 100), pattern(100, 1));
    assert.equal(reader.forget!(50, 10), true);
    assert.equal(reader.forget!(50, 10), false);
    assert.deepEqual(await read(reader, 0, 100), pattern(100, 1));
    assert.equal(faults.countOf('reader.read'), 2, 'the other chunk was not fetched again');
    await reader.close();
  });

  it('counts what it answered, what waited for the store, what made room and what it holds', async () => {
    const { store, counts } = await rig(2);
    const seen = (): number[] => [counts.hits, counts.misses, counts.evictions, counts.heldBytes / chunk];
    await store.create(segment(1), new Uint8Array(4 * chunk));
    const reader = await store.open(segment(1));
    const target = new Region(2 * chunk);
    await reader.read(0, 2 * chunk, target, 0);
    await untilKept(reader, 0);
    await untilKept(reader, chunk);
    const [hits = 0, ...others] = seen();
    assert.deepEqual(others, [2, 0, 2], 'two pieces waited for, and held');
    // At once, and by a wait for the disk: a read of both pieces is two hits, either way.
    assert.equal(reader.tryRead(chunk - 5, 10, target, 0), true);
    assert.equal(counts.hits - hits, 2);
    await reader.read(chunk - 5, 10, target, 0);
    assert.equal(counts.hits - hits, 4);
    // One of them is not held: it is no hit until the read that waits for it.
    assert.equal(reader.tryRead(2 * chunk - 5, 10, target, 0), false);
    assert.equal(counts.hits - hits, 4);
    await reader.read(3 * chunk, 10, target, 0);
    await untilKept(reader, 3 * chunk);
    assert.deepEqual(seen().slice(1), [3, 1, 2]);
    assert.equal(reader.forget!(3 * chunk, 1), true);
    assert.deepEqual(seen().slice(1), [3, 1, 1]);
    assert.equal(counts.bytesMax, 2 * chunk);
    await reader.close();
    await store.close();
    assert.deepEqual(seen().slice(1), [3, 1, 0]);
  });

  it('a failure is not kept, and each waiter hears of it', async () => {
    const { store, faults } = await rig();
    await store.create(segment(1), pattern(chunk, 1));
    const reader = await store.open(segment(1));
    faults.failNext('reader.read');
    const results = await Promise.allSettled([read(reader, 0, 10), read(reader, 10, 10)]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['rejected', 'rejected'],
    );
    assert.deepEqual(await read(reader, 0, 10), pattern(10, 1));
    await reader.close();
  });

  it('fetches ahead without being waited for, and swallows what goes wrong', async () => {
    const { store, faults } = await rig();
    await store.create(segment(1), pattern(chunk * 2, 1));
    const reader = await store.open(segment(1));
    faults.failNext('reader.read');
    reader.prefetch!(0, 10);
    await new Promise((resolve) => setTimeout(resolve, 5));
    reader.prefetch!(0, 2 * chunk + 500);
    await untilKept(reader, 2 * chunk - 1);
    await untilKept(reader, 0);
    assert.equal(faults.countOf('reader.read'), 2, 'neighbours come with one request');
    assert.equal(reader.tryRead(0, 2 * chunk, new Region(2 * chunk), 0), true);
    await reader.close();
  });

  it('says when too much is under way to fetch more ahead, and fetches it when asked again', async () => {
    const { store } = await rig(2 * readCachePrefetchesMax);
    const size = (readCachePrefetchesMax + 2) * chunk;
    await store.create(segment(1), new Uint8Array(size));
    const reader = await store.open(segment(1));
    assert.equal(reader.prefetch!(0, chunk), true);
    assert.equal(reader.prefetch!(0, size), false);
    while (!reader.prefetch!(0, size)) await new Promise((resolve) => setTimeout(resolve, 1));
    await untilKept(reader, size - 1);
    await reader.close();
  });

  it('an object that is gone cannot be opened, whatever is held of it', async () => {
    const medium = new MemoryMedium();
    const { store } = await rig(8, new MemoryStore(medium));
    await store.create(segment(1), pattern(100, 1));
    const reader = await store.open(segment(1));
    await read(reader, 0, 100);
    await untilKept(reader, 0);
    await new MemoryStore(medium).remove(segment(1));
    await rejects(store.open(segment(1)), 'object-missing');
    await reader.close();
  });

  it('a disk that cannot be written makes it useless, not wrong', async () => {
    const broken = (): Promise<FileHandle> => Promise.reject(new Error('no disk'));
    const store = new CachedStore(new MemoryStore(new MemoryMedium()), new ReadCache(broken, 4 * chunk));
    await store.create(segment(1), pattern(chunk, 1));
    const reader = await store.open(segment(1));
    for (let round = 0; round < 3; round++)
      assert.deepEqual(await read(reader, 5, 100), pattern(200, 1).subarray(5, 105));
    await reader.close();
  });
});

describe('a volume behind a read cache', () => {
  it('repairs a damaged cache by itself, and tells a damaged store', async () => {
    const file = path.join(base, String(++fileCount));
    const cache = new ReadCache(() => nodeFileSystem.open(file, 'exclusive'), 64 * chunk);
    let damages = false;
    const faults = new StoreFaults();
    const wrapStore = (store: Store): Store => new CachedStore(new DamagingStore(store, () => damages, faults), cache);
    const { volume, open, dispose } = await createTestVolume({ wrapStore, size: 2 ** 22 });
    const source = Region.from(pattern(2 ** 20, 3));
    await volume.write(0, source.length, source, 0, false);
    for (let block = 300; block < 400; block += 2) await volume.write(block * 4096, 4096, source, 4096, false);
    await volume.close();
    const reopened = await open();
    const target = new Region(2 ** 20);
    const check = async (): Promise<void> => {
      target.bytes.fill(0);
      await reopened.read(0, target.length, target, 0);
      assert.deepEqual(target.bytes, source.bytes);
      await reopened.read(302 * 4096, 4096, target, 0);
      assert.deepEqual(target.bytes.subarray(0, 4096), source.bytes.subarray(4096, 8192));
    };
    const damageCache = async (): Promise<void> => {
      // What was fetched is written a moment later, and must be there to be damaged.
      while (cache.loads > 0) await new Promise((resolve) => setTimeout(resolve, 1));
      fs.writeFileSync(file, new Uint8Array(fs.statSync(file).size));
    };
    await check();
    const fetched = faults.countOf('reader.read');
    await damageCache();
    await check();
    assert.ok(faults.countOf('reader.read') > fetched, 'the damage was seen');
    damages = true;
    await damageCache();
    await assert.rejects(check(), (error) => isCaissonError(error, 'unit-tampered'));
    await dispose();
  });

  it('has what lies ahead of a reader in order fetched, and nothing for one that jumps', async () => {
    const file = path.join(base, String(++fileCount));
    const cache = new ReadCache(() => nodeFileSystem.open(file, 'exclusive'), 64 * chunk);
    const faults = new StoreFaults();
    const wrapStore = (store: Store): Store => new CachedStore(new FaultStore(store, systemClock, faults), cache);
    const { volume, open, dispose } = await createTestVolume({ wrapStore, size: 2 ** 22 });
    const source = Region.from(pattern(2 ** 22, 3));
    await volume.write(0, source.length, source, 0, false);
    await volume.close();
    const target = new Region(2 ** 16);
    const jumping = await open();
    const before = faults.countOf('reader.read');
    for (const at of [3 * 2 ** 20, 2 ** 20, 2 * 2 ** 20]) await jumping.read(at, 2 ** 16, target, 0);
    const jumped = faults.countOf('reader.read') - before;
    await jumping.close();
    const ordered = await open();
    for (let at = 0; at < 2 ** 18; at += 2 ** 16) {
      await ordered.read(at, 2 ** 16, target, 0);
      assert.deepEqual(target.bytes, source.bytes.subarray(at, at + 2 ** 16));
    }
    const fetched = faults.countOf('reader.read');
    assert.ok(jumped <= 8, `${jumped} requests for three jumps and the map`);
    await ordered.read(3 * 2 ** 20, 2 ** 16, target, 0);
    assert.equal(faults.countOf('reader.read'), fetched, 'what lies 3 MiB ahead was asked for already');
    assert.ok(fetched - before - jumped <= 8, 'in few requests');
    await dispose();
  });
});

/** Turns a bit of everything that is read. */
class DamagingStore extends FaultStore {
  readonly #damages: () => boolean;

  constructor(inner: Store, damages: () => boolean, faults: StoreFaults) {
    super(inner, systemClock, faults);
    this.#damages = damages;
  }

  override async open(key: string): Promise<ObjectReader> {
    const inner = await super.open(key);
    const damages = this.#damages;
    return {
      size: inner.size,
      tryRead: () => false,
      read: async (offset, length, target, targetOffset) => {
        await inner.read(offset, length, target, targetOffset);
        if (damages()) for (let at = 0; at < length; at += 64) target.bytes[targetOffset + at]! ^= 1;
      },
      close: () => inner.close(),
    };
  }
}
