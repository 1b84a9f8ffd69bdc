/** Moving an open volume between stores: with a writer at work, interrupted, refused, taken back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CaissonError, isCaissonError, type ErrorCode } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { Region } from '../lib/region.ts';
import type { Store } from '../store/store.ts';
import { StoreDecorator } from '../../test/sim/lockless-store.ts';
import { MemoryMedium, MemoryStore } from '../../test/sim/memory-store.ts';
import { SeededRandom } from '../../test/sim/random.ts';
import { createTestVolume, testKey, type TestVolume } from '../../test/support/test-volume.ts';
import { locateMoving, openVolume, removeMovedSource, removeVolume, verifyVolume } from './volume.ts';
import type { Volume } from './volume-types.ts';

const block = 4096;
const blocks = 4096;

/** What was written, by block. */
type Content = Map<number, number>;

const subject = (options = {}): Promise<TestVolume> =>
  createTestVolume({ size: blocks * block, tuning: { segmentBytesMax: 256 * 1024 }, ...options });

async function write(volume: Volume, content: Content, at: number, value: number): Promise<void> {
  await volume.write(at * block, block, Region.from(new Uint8Array(block).fill(value)), 0, false);
  content.set(at, value);
}

async function check(volume: Volume, content: Content): Promise<void> {
  const target = new Region(block);
  for (const [at, value] of content) {
    await volume.read(at * block, block, target, 0);
    assert.equal(target.bytes[0], value, `block ${at}`);
    assert.equal(target.bytes[block - 1], value, `block ${at}`);
  }
}

async function fill(volume: Volume, seed: number, count: number): Promise<Content> {
  const random = new SeededRandom(seed);
  const content: Content = new Map();
  for (let turn = 0; turn < count; turn++) await write(volume, content, random.below(blocks), random.between(1, 255));
  await volume.flush();
  return content;
}

async function keysOf(store: Store): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list('')) keys.push(key);
  return keys.sort();
}

async function refused(code: ErrorCode, act: () => Promise<unknown>): Promise<CaissonError> {
  let caught: unknown;
  await assert.rejects(act, (error) => {
    caught = error;
    return isCaissonError(error, code);
  });
  return caught as CaissonError;
}

for (const store of ['memory', 'dir'] as const) {
  test(`a volume moves from a ${store} store while it is written`, async () => {
    const { volume, environment, volumeId, dispose } = await subject({ store });
    const content = await fill(volume, 1, 300);
    await volume.snapshot('before');
    const target = new MemoryStore();
    const random = new SeededRandom(2);
    let moving = true;
    const move = volume.move(target).finally(() => (moving = false));
    let writes = 0;
    do {
      await write(volume, content, random.below(blocks), random.between(1, 255));
      if (++writes % 7 === 0) await volume.flush();
      if (writes % 5 === 0) await environment.clock.turn();
    } while (moving);
    const report = await move;
    assert.ok(report.objectsCopied > 3 && report.bytesCopied > 0 && report.passes >= 1);
    assert.equal(report.sourceRemains, false);
    await check(volume, content);
    await write(volume, content, 5, 99);
    await volume.flush();
    assert.deepEqual(await keysOf(environment.store), []);
    await volume.close();
    const there = { ...environment, store: target };
    const again = await openVolume(there, { volumeId, keySource: testKey() });
    await check(again, content);
    assert.deepEqual(
      again.snapshots().map(({ name }) => name),
      ['before'],
    );
    await again.close();
    const verified = await verifyVolume(there, { volumeId, keySource: testKey() });
    assert.deepEqual([verified.findings, verified.orphans, verified.freshness], [[], [], 'current']);
    await dispose();
  });
}

test('what stays behind says that the volume has moved, and can be removed without harm', async () => {
  const { volume, environment, volumeId, dispose } = await subject();
  const content = await fill(volume, 3, 50);
  const target = new MemoryStore();
  const report = await volume.move(target, { keepSource: true });
  assert.equal(report.sourceRemains, true);
  assert.equal(report.removedObjects, 0);
  await volume.close();
  await refused('volume-moved', () => openVolume(environment, { volumeId, keySource: testKey() }));
  const there = { ...environment, store: target };
  assert.equal(await locateMoving({ ...environment, source: environment.store, target }, volumeId), 'target');
  await removeVolume(environment, volumeId);
  assert.deepEqual(await keysOf(environment.store), []);
  const again = await openVolume(there, { volumeId, keySource: testKey() });
  await check(again, content);
  await again.close();
  await refused('volume-busy', () => removeMovedSource(there, volumeId));
  await dispose();
});

test('a volume moves there and back and there again', async () => {
  const { volume, environment, volumeId, dispose } = await subject();
  const content = await fill(volume, 4, 80);
  const places: Store[] = [new MemoryStore(), environment.store, new MemoryStore(), environment.store];
  const keep = [true, true, false, true];
  for (const [at, place] of places.entries()) {
    await volume.move(place, { keepSource: keep[at]! });
    await write(volume, content, at, 200 + at);
    await volume.flush();
  }
  await check(volume, content);
  await volume.close();
  const again = await openVolume(environment, { volumeId, keySource: testKey() });
  await check(again, content);
  await again.close();
  await dispose();
});

test('a move that is stopped goes on where it stopped', async () => {
  const { volume, environment, volumeId, dispose } = await subject();
  const content = await fill(volume, 5, 600);
  const target = new MemoryStore();
  const stop = new AbortController();
  const stopped = new CaissonError('closed', 'cancelled', 'stopped by hand');
  const onProgress = (): void => stop.abort(stopped);
  const error = await refused('cancelled', () => volume.move(target, { onProgress, signal: stop.signal }));
  assert.match(error.message, /goes on in memory:/);
  const copied = await keysOf(target);
  assert.ok(copied.length > 0);
  await write(volume, content, 7, 77);
  const { objectsPresent } = await volume.move(target);
  assert.ok(objectsPresent >= copied.length - 3, `${objectsPresent} of ${copied.length}`);
  await check(volume, content);
  await volume.close();
  assert.deepEqual(await keysOf(environment.store), []);
  const again = await openVolume({ ...environment, store: target }, { volumeId, keySource: testKey() });
  await check(again, content);
  await again.close();
  await dispose();
});

test('targets that are no targets are refused, and the volume stays', async () => {
  const { volume, environment, volumeId, dispose } = await subject();
  const content = await fill(volume, 6, 40);
  await refused('argument-invalid', () => volume.move(environment.store));
  class Renamed extends StoreDecorator {
    override get url(): string {
      return 'memory:other';
    }
  }
  await refused('argument-invalid', () => volume.move(new Renamed(environment.store)));
  const full = new (class extends StoreDecorator {
    override async create(): Promise<void> {
      throw new CaissonError('full', 'store-full', 'no room');
    }
  })(new MemoryStore());
  await refused('store-full', () => volume.move(full));
  const foreign = new MemoryStore();
  const [first] = (await keysOf(environment.store)).filter((key) => key.includes('/segments/'));
  if (first !== undefined) await foreign.create(first, Uint8Array.of(1, 2, 3));
  await volume.checkpoint();
  const [segment] = (await keysOf(environment.store)).filter((key) => key.includes('/segments/'));
  if (first === undefined) await foreign.create(segment!, Uint8Array.of(1, 2, 3));
  await refused('digest-mismatch', () => volume.move(foreign));
  // A state that is ahead of ours: the volume was moved, went on, and its old store was put back.
  const ahead = new MemoryStore();
  for await (const { key } of environment.store.list('')) if (!key.endsWith('/head')) continue;
  await write(volume, content, 1, 11);
  await volume.flush();
  await check(volume, content);
  await volume.move(ahead, { keepSource: true });
  await volume.close();
  const there = { ...environment, store: ahead };
  const other = await openVolume(there, { volumeId, keySource: testKey() });
  await check(other, content);
  await other.close();
  await dispose();
});

test('a damaged source is noticed and not moved', async () => {
  const medium = new MemoryMedium();
  const { volume, environment, dispose } = await subject({ wrapStore: () => new MemoryStore(medium) });
  const content = await fill(volume, 7, 60);
  await volume.checkpoint();
  const segment = (await keysOf(environment.store)).find((key) => key.includes('/segments/'))!;
  const bytes = await environment.store.get(segment, 2 ** 20);
  bytes[bytes.length >> 1]! ^= 1;
  await environment.store.remove(segment);
  await environment.store.create(segment, bytes);
  const target = new MemoryStore();
  const error = await refused('digest-mismatch', () => volume.move(target));
  assert.match(error.message, new RegExp(segment));
  assert.equal(
    (await keysOf(target)).some((key) => key.endsWith('/head')),
    false,
  );
  await write(volume, content, 3, 3);
  await volume.flush();
  await volume.close();
  await dispose();
});

test('a clone that reads inherited objects and a parent of clones stay together', async () => {
  const { volume, environment, dispose } = await subject();
  const content = await fill(volume, 8, 40);
  const keySource = testKey();
  const clone = await volume.clone({ keySource });
  await refused('volume-needed', () => volume.move(new MemoryStore()));
  const volumeId = new Uint8Array(Buffer.from(clone.volumeId, 'hex'));
  const opened = await openVolume(environment, { volumeId, keySource });
  await refused('volume-inherits', () => opened.move(new MemoryStore()));
  await check(opened, content);
  await opened.close();
  await volume.close();
  await dispose();
});

test('an anchor that cannot be advanced takes the volume back, and nothing is lost', async () => {
  const { volume, environment, volumeId, dispose } = await subject();
  const content = await fill(volume, 9, 60);
  const { anchor } = environment;
  const advance = anchor.advance.bind(anchor);
  let refusals = 0;
  const { epoch } = volume.info();
  anchor.advance = async (state) => {
    if (state.epoch === epoch + 1 && refusals++ === 0) throw new CaissonError('io', 'store-io', 'no anchor now');
    return advance(state);
  };
  const target = new MemoryStore();
  await refused('store-io', () => volume.move(target));
  assert.equal(refusals, 1);
  assert.equal(volume.info().latched, undefined);
  await write(volume, content, 9, 9);
  await volume.flush();
  await refused('rolled-back', () => openVolume({ ...environment, store: target }, { volumeId, keySource: testKey() }));
  assert.equal(await locateMoving({ ...environment, source: environment.store, target }, volumeId), 'source');
  await volume.move(target);
  await check(volume, content);
  await volume.close();
  const again = await openVolume({ ...environment, store: target }, { volumeId, keySource: testKey() });
  await check(again, content);
  await again.close();
  await dispose();
});

test('a target that does not answer in time is left, and writers go on', async () => {
  const { volume, environment, dispose } = await subject();
  const content = await fill(volume, 10, 30);
  const { clock } = environment;
  class Stuck extends StoreDecorator {
    override swap(): Promise<string> {
      return new Promise(() => undefined);
    }
  }
  const quick = { ...clock };
  Object.assign(clock, { after: (_: number, call: () => void) => quick.after(20, call) });
  try {
    const move = refused('timeout', () => volume.move(new Stuck(new MemoryStore())));
    await write(volume, content, 2, 22);
    await move;
  } finally {
    Object.assign(clock, quick);
  }
  await write(volume, content, 4, 44);
  await volume.flush();
  await check(volume, content);
  await volume.close();
  assert.equal(toHex(new Uint8Array(Buffer.from(volume.id, 'hex'))), volume.id);
  await dispose();
});
