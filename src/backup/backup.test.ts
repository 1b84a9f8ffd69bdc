/** Export and import together: what arrives is the volume, and what is not whole or not right changes nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exported, imported, type Exported } from '../../test/support/backup-stream.ts';
import { createTestVolume, type TestVolume } from '../../test/support/test-volume.ts';
import { seededBytes, type SeededBytes } from '../../test/fuzz/seeded.ts';
import { MemoryAnchor } from '../../test/sim/memory-anchor.ts';
import { FaultStore, StoreFaults } from '../../test/sim/fault-store.ts';
import { MemoryMedium, MemoryStore } from '../../test/sim/memory-store.ts';
import { systemClock } from '../lib/clock.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import { segmentKey, volumePrefix } from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import { openSnapshot, openVolume, verifyVolume } from '../volume/volume.ts';
import type { Volume } from '../volume/volume-types.ts';

const size = 4 * 2 ** 20;
const tuning = { segmentBytesMax: 256 * 1024, checkpointMilliseconds: 3_600_000 };

test('a full backup and incrementals after it, in whatever rhythm: the copy holds the same and verifies', async () => {
  for (let seed = 1; seed <= 6; seed++) {
    const random = seededBytes(seed);
    const source = await createTestVolume({ size, tuning });
    let { volume } = source;
    const model = new Uint8Array(size);
    const store = new MemoryStore(new MemoryMedium());
    let last: Exported | undefined;
    let fullBytes = 0;
    for (let round = 0; round < 5; round++) {
      await change(volume, model, random, 12);
      if (random.below(2) === 0) await volume.checkpoint();
      else {
        await volume.close();
        volume = await source.open();
        await volume.checkpoint();
      }
      const stream = await exported(source, last?.base);
      const report = await imported(store, stream.stream);
      assert.deepEqual([report.manifestNumber, report.wasPresent], [stream.manifestNumber, false], `seed ${seed}`);
      if (last === undefined) fullBytes = stream.stream.length;
      last = stream;
      assert.deepEqual(await contentOf(source, store), model, `seed ${seed} round ${round}`);
      const again = await imported(store, stream.stream);
      assert.deepEqual([again.wasPresent, again.createdCount], [true, 0]);
    }
    assert.ok(fullBytes > 0);
    await source.dispose();
  }
});

test('snapshots go along, roll back and leave again, and incrementals keep up', async () => {
  for (let seed = 1; seed <= 6; seed++) {
    const random = seededBytes(seed * 31);
    const source = await createTestVolume({ size, tuning });
    let { volume } = source;
    let model = new Uint8Array(size);
    const snapshots = new Map<string, Uint8Array>();
    const store = new MemoryStore(new MemoryMedium());
    let last: Exported | undefined;
    for (let round = 0; round < 6; round++) {
      await change(volume, model, random, 6);
      const [name] = [...snapshots.keys()];
      const dice = random.below(4);
      if (dice === 0 && name !== undefined) {
        await volume.removeSnapshot(name);
        snapshots.delete(name);
      } else if (dice === 1 && name !== undefined) {
        await volume.restore(name);
        model = Uint8Array.from(snapshots.get(name)!);
        volume = await source.open();
      } else {
        await volume.snapshot(`s${round}`);
        snapshots.set(`s${round}`, Uint8Array.from(model));
        await change(volume, model, random, 3);
      }
      await volume.checkpoint();
      if (random.below(3) === 0) continue; // one backup for several rounds
      const stream = await exported(source, last?.base);
      await imported(store, stream.stream);
      last = stream;
      const where = `seed ${seed} round ${round}`;
      assert.deepEqual(await contentOf(source, store), model, where);
      for (const [snapshot, content] of snapshots) {
        const environment = { ...source.environment, store, anchor: new MemoryAnchor() };
        const opened = await openSnapshot(environment, { ...source, snapshot, acceptMissingAnchor: true });
        assert.deepEqual(await readAll(opened), content, `${where} ${snapshot}`);
      }
    }
    await source.dispose();
  }
});

test('a clone takes what it shares with its parent along, beside a backup of the parent or alone', async () => {
  const source = await filledSource();
  const { keySource } = source;
  const cloned = await source.volume.clone({ keySource });
  const clone = { ...source, volumeId: new Uint8Array(Buffer.from(cloned.volumeId, 'hex')) };
  const opened = await openVolume(source.environment, { volumeId: clone.volumeId, keySource });
  await write(opened, 5, 3, 200);
  await opened.close();
  await source.volume.checkpoint();
  const [ofParent, ofClone] = [await exported(source), await exported(clone)];
  const alone = new MemoryStore(new MemoryMedium());
  await imported(alone, ofClone.stream);
  const expected = await contentOf(clone, alone);
  assert.equal(expected[5 * 4096], 200);
  const both = new MemoryStore(new MemoryMedium());
  await imported(both, ofParent.stream);
  const report = await imported(both, ofClone.stream);
  assert.ok(report.presentCount > 0, 'what they share is there once');
  assert.deepEqual(await contentOf(clone, both), expected);
  assert.notDeepEqual(await contentOf(source, both), expected);
  await source.dispose();
});

test('a stream that is cut anywhere is named so, shows nothing, and is taken up again', async () => {
  const source = await filledSource();
  const full = await exported(source);
  const cuts = [...full.boundaries, ...full.boundaries.map((at) => at + 20), ...full.boundaries.map((at) => at - 1)];
  const medium = new MemoryMedium();
  const store = new MemoryStore(medium);
  for (const cut of cuts.filter((at) => at >= 0 && at < full.stream.length)) {
    await refuses(store, full.stream.subarray(0, cut), ['backup-ended-early'], `cut at ${cut}`);
    await assertAbsent(store, source);
  }
  const report = await imported(store, full.stream);
  assert.ok(report.presentCount > 0 && report.createdCount <= 2, 'everything but the manifest was there already');
  await contentOf(source, store);
  await source.dispose();
});

test('an incremental that breaks off leaves the base as it was', async () => {
  const source = await filledSource();
  const store = new MemoryStore(new MemoryMedium());
  const full = await exported(source);
  await imported(store, full.stream);
  const before = await contentOf(source, store);
  await write(source.volume, 0, 64, 99);
  await source.volume.checkpoint();
  const next = await exported(source, full.base);
  assert.ok(next.stream.length < full.stream.length);
  for (const cut of next.boundaries.filter((at) => at < next.stream.length)) {
    await refuses(store, next.stream.subarray(0, cut), ['backup-ended-early'], `cut at ${cut}`);
    assert.deepEqual(await contentOf(source, store), before);
  }
  await imported(store, next.stream);
  assert.notDeepEqual(await contentOf(source, store), before);
  await source.dispose();
});

test('a changed byte in any field is refused by name and changes nothing', async () => {
  const source = await filledSource();
  const { stream, boundaries } = await exported(source);
  const known = [
    'backup-invalid',
    'backup-ended-early',
    'manifest-tampered',
    'head-tampered',
    'digest-mismatch',
    'format-version',
    'backup-base-missing',
  ];
  const places = new Set<number>();
  for (let at = 0; at < 72; at += 3) places.add(at);
  for (const boundary of boundaries)
    for (const offset of [0, 3, 8, 20, 24, 39, 40, 46, 48, 60, 150, 300]) places.add(boundary + offset);
  for (let back = 1; back <= 88; back += 5) places.add(stream.length - back);
  for (const place of [...places].filter((at) => at < stream.length)) {
    const changed = Uint8Array.from(stream);
    changed[place]! ^= 0x10;
    const store = new MemoryStore(new MemoryMedium());
    await refuses(store, changed, known, `byte ${place}`);
    await assertAbsent(store, source);
  }
  const store = new MemoryStore(new MemoryMedium());
  await refuses(store, Buffer.concat([stream, Uint8Array.of(0)]), ['backup-invalid'], 'a byte more');
  await assertAbsent(store, source);
  await source.dispose();
});

test('the order of backups is kept: wrong base, no base, a volume in the way, one that went on by itself', async () => {
  const source = await filledSource();
  const full = await exported(source);
  await write(source.volume, 3, 9, 1);
  await source.volume.checkpoint();
  const second = await exported(source, full.base);
  await write(source.volume, 30, 9, 2);
  await source.volume.checkpoint();
  const third = await exported(source, second.base);
  const store = new MemoryStore(new MemoryMedium());
  await refuses(store, second.stream, ['backup-base-missing'], 'nothing there');
  await imported(store, full.stream);
  await refuses(store, third.stream, ['backup-base-missing'], 'one left out');
  const later = await exported(source);
  await refuses(store, later.stream, ['volume-exists'], 'full over an older one');
  await imported(store, second.stream);
  await refuses(store, full.stream, ['volume-exists'], 'an old full one');
  const anchor = new MemoryAnchor();
  const restored = await openVolume({ ...source.environment, store, anchor }, { ...source, acceptMissingAnchor: true });
  await refuses(store, third.stream, ['volume-open-elsewhere'], 'open');
  await write(restored, 0, 1, 5);
  await restored.close();
  await refuses(store, third.stream, ['backup-base-missing'], 'written to since');
  await source.dispose();
});

test('a writer that deletes what is being exported: the stream starts again and is whole', async () => {
  const source = await filledSource();
  let published = 0;
  const stream = await exported(source, undefined, async () => {
    if (published === 4) return;
    published++;
    await write(source.volume, published, 300, published);
    await source.volume.checkpoint();
  });
  assert.ok(stream.restartCount > 0, `${stream.restartCount} restarts`);
  const store = new MemoryStore(new MemoryMedium());
  await imported(store, stream.stream);
  await contentOf(source, store);
  await source.dispose();
});

test('what is missing in the store without a newer manifest is an error, not an endless search', async () => {
  const source = await filledSource();
  await source.volume.close();
  const { store } = source.environment;
  for await (const { key } of store.list(`${volumePrefix(source.volumeId)}segments/`)) {
    await store.remove(key);
    break;
  }
  await assert.rejects(exported(source), (error) => isCaissonError(error, 'object-missing'));
  await source.dispose();
});

test('a closed volume is exported without any key; an open one asks for it', async () => {
  const source = await filledSource();
  const { environment, volumeId } = source;
  const noKey = {
    environment,
    volumeId,
    keySource: { ...source.keySource, derive: () => Promise.reject(new Error('no key')) },
  };
  await assert.rejects(exported(noKey));
  await source.volume.close();
  await exported(noKey);
  await source.dispose();
});

test('every call of the target store may fail: a repetition finishes it', async () => {
  const source = await filledSource();
  const { stream } = await exported(source);
  let failureCount = 0;
  for (const call of ['create', 'stat', 'swap', 'getVersioned', 'list', 'get', 'lock'] as const) {
    for (let skip = 0; skip < 3; skip++) {
      const faults = new StoreFaults();
      const medium = new MemoryMedium();
      const inner = new MemoryStore(medium);
      if (skip > 0) await imported(inner, stream.subarray(0, stream.length - 40 * skip)).catch(() => undefined);
      faults.failNext(call, 2);
      const store = new FaultStore(inner, systemClock, faults);
      await imported(store, stream).catch((error: unknown) => {
        assert.ok(error instanceof CaissonError, String(error));
        failureCount++;
      });
      await imported(inner, stream);
      await contentOf(source, inner);
    }
  }
  assert.ok(failureCount > 7, `${failureCount} failures were heard of`);
  await source.dispose();
});

test('an object that another put in the way is named', async () => {
  const source = await filledSource();
  const { stream } = await exported(source);
  const store = new MemoryStore(new MemoryMedium());
  const id = Uint8Array.from({ length: 16 }, () => 1);
  await store.create(segmentKey(volumePrefix(source.volumeId), id), id);
  await imported(store, stream); // a stranger's object is nobody's business
  const other = new MemoryStore(new MemoryMedium());
  for await (const { key } of store.list(`${volumePrefix(source.volumeId)}segments/`))
    if (!key.endsWith(Buffer.from(id).toString('hex'))) await other.create(key, new Uint8Array(5));
  await refuses(other, stream, ['digest-mismatch'], 'wrong bytes under a right key');
  await source.dispose();
});

async function filledSource(): Promise<TestVolume> {
  const source = await createTestVolume({ size, tuning });
  const random = seededBytes(77);
  await change(source.volume, new Uint8Array(size), random, 30);
  await source.volume.checkpoint();
  return source;
}

async function change(volume: Volume, model: Uint8Array, random: SeededBytes, count: number): Promise<void> {
  for (let step = 0; step < count; step++) {
    const block = random.below(size / 4096);
    const blocks = Math.min(1 + random.below(40), size / 4096 - block);
    const value = random.below(250) + 1;
    if (random.below(5) === 0) {
      await volume.trim(block * 4096, blocks * 4096, false);
      model.fill(0, block * 4096, (block + blocks) * 4096);
    } else {
      await write(volume, block, blocks, value);
      model.fill(value, block * 4096, (block + blocks) * 4096);
    }
  }
  await volume.flush();
}

async function write(volume: Volume, block: number, blocks: number, value: number): Promise<void> {
  const region = new Region(blocks * 4096);
  region.bytes.fill(value);
  await volume.write(block * 4096, blocks * 4096, region, 0, false);
}

/** Verified with the key, with nothing left over but what an older state needed. */
async function contentOf(
  source: Pick<TestVolume, 'environment' | 'volumeId' | 'keySource'>,
  store: Store,
): Promise<Uint8Array> {
  const { volumeId, keySource } = source;
  const environment = { ...source.environment, store, anchor: new MemoryAnchor() };
  const report = await verifyVolume(environment, { volumeId, keySource });
  assert.deepEqual(report.findings, []);
  return readAll(await openVolume(environment, { volumeId, keySource, readOnly: true, acceptMissingAnchor: true }));
}

async function readAll(volume: Volume): Promise<Uint8Array> {
  try {
    const region = new Region(size);
    await volume.read(0, size, region, 0);
    return Uint8Array.from(region.bytes);
  } finally {
    await volume.close();
  }
}

async function refuses(store: Store, stream: Uint8Array, codes: readonly string[], where: string): Promise<void> {
  await assert.rejects(imported(store, stream), (error) => {
    assert.ok(error instanceof CaissonError, `${where}: ${String(error)}`);
    assert.ok(codes.includes(error.code), `${where}: ${error.code}: ${error.message}`);
    return true;
  });
}

async function assertAbsent(store: Store, { volumeId }: TestVolume): Promise<void> {
  await assert.rejects(store.getVersioned(`${volumePrefix(volumeId)}head`, 512), (error) =>
    isCaissonError(error, 'object-missing'),
  );
}
