import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fromHex } from '../lib/hex.ts';
import { Region } from '../lib/region.ts';
import { createTestVolume, testKey, type TestVolume, type TestVolumeOptions } from '../../test/support/test-volume.ts';
import { openSnapshot, openVolume, verifyVolume } from './volume.ts';
import type { Volume } from './volume-types.ts';

const block = 4096;
const size = 16 * 2 ** 20;
const blocks = size / block;
/** Segments of 62 blocks; cleaning only when the test asks for it, and with no garbage left alone. */
const tuning = { segmentBytesMax: 256 * 1024, cleaningSlackBytes: 0, cleaningBytesPerSecond: 0 };

/** What each block was written with last; 0: nothing. */
class Content {
  readonly #stamps: Uint32Array;
  readonly #volume: () => Volume;
  #next = 1;

  constructor(volume: () => Volume, count = blocks) {
    this.#volume = volume;
    this.#stamps = new Uint32Array(count);
  }

  async write(at: number, count = 1): Promise<void> {
    const region = new Region(count * block);
    for (let index = 0; index < count; index++) {
      this.#stamps[at + index] = this.#next;
      fill(region.bytes.subarray(index * block, (index + 1) * block), this.#next++);
    }
    await this.#volume().write(at * block, count * block, region, 0, false);
  }

  async trim(at: number, count: number): Promise<void> {
    this.#stamps.fill(0, at, at + count);
    await this.#volume().trim(at * block, count * block, false);
  }

  async check(volume = this.#volume()): Promise<void> {
    const target = new Region(block);
    const expected = new Uint8Array(block);
    for (const [at, stamp] of this.#stamps.entries()) {
      await volume.read(at * block, block, target, 0);
      fill(expected, stamp);
      assert.equal(Buffer.compare(target.bytes, expected), 0, `block ${at}`);
    }
  }
}

function fill(bytes: Uint8Array, stamp: number): void {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, block / 4);
  words.fill(stamp);
}

async function storeBytes({ environment }: TestVolume): Promise<number> {
  let bytes = 0;
  for await (const object of environment.store.list('')) bytes += object.size;
  return bytes;
}

async function assertSound({ environment, volumeId }: TestVolume): Promise<void> {
  for (const keySource of [undefined, testKey()]) {
    const report = await verifyVolume(environment, { volumeId, ...(keySource === undefined ? {} : { keySource }) });
    assert.deepEqual(report.findings, []);
    assert.deepEqual(report.orphans, []);
  }
}

async function withVolume(
  body: (subject: TestVolume) => Promise<void>,
  options: TestVolumeOptions = {},
): Promise<void> {
  const subject = await createTestVolume({ size, tuning, ...options });
  try {
    await body(subject);
  } finally {
    await subject.dispose();
  }
}

/** Every block once, then a share of them again in a fixed disorder. */
async function overwrite(content: Content, count: number, first = 0): Promise<void> {
  for (let step = 0; step < count; step++) await content.write((first + step * 1103) % blocks);
}

describe('cleaning', () => {
  test('gives back what was overwritten, and everything reads the same', () =>
    withVolume(async (subject) => {
      const { volume } = subject;
      const content = new Content(() => volume);
      for (let at = 0; at < blocks; at += 64) await content.write(at, 64);
      await overwrite(content, 3 * blocks);
      await volume.checkpoint();
      const before = await storeBytes(subject);
      assert.ok(before > 3 * size, 'garbage has gathered');
      const report = await volume.clean();
      assert.deepEqual(report.findings, []);
      assert.ok(report.segmentsCleaned > 0);
      const after = await storeBytes(subject);
      assert.ok(after <= 1.25 * size, `${(after / size).toFixed(3)} times the live data`);
      const stats = volume.housekeeping();
      assert.equal(stats.liveBytes, size);
      assert.ok(stats.deadBytes < 0.25 * size);
      await content.check();
      await volume.close();
      await assertSound(subject);
      const again = await subject.open();
      await content.check(again);
      assert.equal(again.housekeeping().liveBytes, size, 'counts were read back');
    }));

  test('with snapshots and clones: what they need stays, the rest goes', () =>
    withVolume(async (subject) => {
      const { volume } = subject;
      const content = new Content(() => volume);
      for (let at = 0; at < blocks; at += 64) await content.write(at, 64);
      await volume.snapshot('first');
      await overwrite(content, 2 * blocks);
      await volume.clean({ all: true });
      const after = await storeBytes(subject);
      assert.ok(after <= 2.2 * size, `${(after / size).toFixed(3)} times the live data`);
      assert.ok(volume.housekeeping().pinnedBytes >= size);
      await content.check();
      await volume.removeSnapshot('first');
      assert.ok((await storeBytes(subject)) <= 1.2 * size, 'what only the snapshot needed is gone');
      await volume.close();
      await assertSound(subject);
    }));

  test('a trim of cold leaves is found out by counting again', () =>
    withVolume(
      async (subject) => {
        const content = new Content(() => subject.volume);
        for (let at = 0; at < blocks; at += 64) await content.write(at, 64);
        await subject.volume.close();
        let volume = await subject.open();
        const cold = new Content(() => volume);
        await cold.trim(0, blocks);
        assert.equal(volume.housekeeping().liveBytes, size / 2, 'two leaves went that nobody had loaded');
        await cold.write(7, 9);
        await volume.clean();
        assert.equal(volume.housekeeping().liveBytes, 9 * block);
        assert.ok((await storeBytes(subject)) <= 2 ** 20);
        await cold.check();
        await volume.close();
        volume = await subject.open();
        assert.equal(volume.housekeeping().liveBytes, 9 * block);
        await volume.close();
        await assertSound(subject);
      },
      { tuning: { ...tuning, mapBytesMax: 1 } },
    ));
});

describe('cleaning what is not as it should be', () => {
  test('a segment that was changed in the store is kept and named, the rest is cleaned', () =>
    withVolume(async (subject) => {
      const { environment } = subject;
      const content = new Content(() => subject.volume);
      for (let at = 0; at < blocks; at += 64) await content.write(at, 64);
      await subject.volume.checkpoint();
      await overwrite(content, blocks / 2);
      await subject.volume.close();
      const [changed] = await segmentKeys(subject);
      const bytes = await environment.store.get(changed!, 2 ** 20);
      bytes[bytes.length - 100]! ^= 1; // in its sealed directory
      await environment.store.remove(changed!);
      await environment.store.create(changed!, bytes);
      const volume = await subject.open();
      const report = await volume.clean({ all: true });
      assert.deepEqual(
        report.findings.map(({ code, object }) => [code, changed!.endsWith(object)]),
        [['unit-tampered', true]],
      );
      assert.ok(report.segmentsCleaned > 10);
      assert.ok((await segmentKeys(subject)).includes(changed!), 'it is kept');
      await content.check(volume);
    }));

  test('orphans are removed, what anything names is not', () =>
    withVolume(async (subject) => {
      const { environment, volume } = subject;
      const content = new Content(() => volume);
      for (let at = 0; at < 512; at += 64) await content.write(at, 64);
      await volume.snapshot('kept');
      await content.write(3);
      await volume.checkpoint();
      const [named] = await segmentKeys(subject);
      const folder = named!.substring(0, named!.lastIndexOf('/') - 2);
      const orphan = `${folder}ab/${'0'.repeat(30)}ab`;
      await environment.store.create(orphan, new Uint8Array(99));
      assert.equal((await volume.clean()).orphansRemoved, 1);
      assert.ok(!(await segmentKeys(subject)).includes(orphan));
      await content.check();
      await volume.close();
      await assertSound(subject);
    }));
});

async function segmentKeys({ environment }: TestVolume): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of environment.store.list('')) if (key.includes('/segments/')) keys.push(key);
  return keys;
}

describe('rekey', () => {
  test('with a snapshot and across a restart: what is pinned keeps its key and stays readable', () =>
    withVolume(async (subject) => {
      let { volume } = subject;
      const content = new Content(() => volume);
      for (let at = 0; at < blocks; at += 64) await content.write(at, 64);
      await volume.snapshot('before');
      await volume.rekey();
      await volume.close();
      volume = await subject.open();
      assert.notEqual(volume.housekeeping().rekey, undefined, 'it goes on');
      let most = 0;
      await volume.finishRekey((done) => (most = Math.max(most, done)));
      assert.ok(most > 0, 'progress was told');
      assert.equal(volume.housekeeping().rekey, undefined);
      await content.check();
      const { environment, volumeId, keySource } = subject;
      const snapshot = await openSnapshot(environment, { volumeId, keySource, snapshot: 'before' });
      await content.check(snapshot);
      await snapshot.close();
      await volume.close();
      await assertSound(subject);
    }));

  test('a clone takes everything over and then needs nothing of its parent', () =>
    withVolume(async (subject) => {
      const { volume, environment, keySource } = subject;
      const content = new Content(() => volume);
      for (let at = 0; at < blocks; at += 64) await content.write(at, 64);
      const info = await volume.clone({ keySource });
      const clone = await openVolume(environment, { volumeId: fromHex(info.volumeId, 16)!, keySource });
      await clone.rekey();
      await clone.finishRekey();
      await content.check(clone);
      await clone.close();
      const listed: string[] = [];
      for await (const { key } of environment.store.list(`${info.volumeId}/`)) listed.push(key);
      assert.ok(listed.filter((key) => key.includes('/segments/')).length >= blocks / 64);
    }));

  test('everything live is sealed under the new key, and the old one is forgotten', () =>
    withVolume(async (subject) => {
      let { volume } = subject;
      const content = new Content(() => volume);
      for (let at = 0; at < blocks; at += 64) await content.write(at, 64);
      await volume.checkpoint();
      await volume.rekey();
      while (volume.housekeeping().rekey !== undefined) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        assert.equal(volume.info().latched, undefined);
      }
      assert.equal(volume.info().keyEpoch, 2);
      await content.check();
      await volume.close();
      await assertSound(subject);
      volume = await subject.open();
      assert.equal(volume.info().keyEpoch, 2);
      await content.check();
    }));
});
