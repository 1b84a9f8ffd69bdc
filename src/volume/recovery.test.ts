/** Recovery from spools that a crash left behind, each put together byte by byte. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Region } from '../lib/region.ts';
import { volumePrefix } from '../store/paths.ts';
import { captureImage, storeOf, withObject, bytesOf, type StoreImage } from '../../test/tamper/store-image.ts';
import { MemoryAnchor } from '../../test/sim/memory-anchor.ts';
import { createTestVolume, type TestVolume } from '../../test/support/test-volume.ts';
import { openVolume, verifyVolume } from './volume.ts';
import type { Volume, VolumeEnvironment } from './volume-types.ts';

const block = 4096;
const recordBytes = 592 + block + 16;

async function write(volume: Volume, at: number, fill: number): Promise<void> {
  const source = new Region(block);
  source.bytes.fill(fill);
  await volume.write(at * block, block, source, 0, false);
  await volume.flush();
}

async function firstByte(volume: Volume, at: number): Promise<number> {
  const target = new Region(block);
  await volume.read(at * block, block, target, 0);
  return target.bytes[0]!;
}

/** The crash: what the store holds now, with so many bytes cut off the records of the spool file. */
async function crashed(
  subject: TestVolume,
  environment: VolumeEnvironment,
  records: number,
  cut: number,
): Promise<StoreImage> {
  const image = await captureImage(environment.store, volumePrefix(subject.volumeId));
  assert.equal(image.spool.size, 1);
  const [name] = image.spool.keys();
  const bytes = bytesOf(image, name!);
  return withObject(image, name!, bytes.subarray(0, 112 + records * recordBytes - cut));
}

/** An anchor that never hears of the spool, as when the machine died before its turn. */
async function restarted(subject: TestVolume, image: StoreImage): Promise<VolumeEnvironment> {
  const store = await storeOf(image, volumePrefix(subject.volumeId));
  return { ...subject.environment, store, anchor: new MemoryAnchor() };
}

test('a torn last record is cut off, twice in a row, and what is before it stays', async () => {
  const subject = await createTestVolume();
  const options = { volumeId: subject.volumeId, keySource: subject.keySource, acceptMissingAnchor: true };
  for (const at of [0, 1, 2]) await write(subject.volume, at, at + 1);
  const first = await restarted(subject, await crashed(subject, subject.environment, 3, 100));
  const second = await openVolume(first, options);
  const { recovery } = second.info();
  assert.deepEqual([recovery.clean, recovery.segmentCount, recovery.recordCount], [false, 1, 2]);
  assert.equal(recovery.tornBytes, recordBytes - 100);
  assert.deepEqual([await firstByte(second, 0), await firstByte(second, 1), await firstByte(second, 2)], [1, 2, 0]);
  await write(second, 2, 33);
  await write(second, 3, 44);
  const environment = await restarted(subject, await crashed(subject, first, 2, 1));
  const third = await openVolume(environment, options);
  assert.equal(third.info().recovery.recordCount, 1);
  assert.deepEqual([await firstByte(third, 1), await firstByte(third, 2), await firstByte(third, 3)], [2, 33, 0]);
  await third.close();
  const report = await verifyVolume(environment, options);
  assert.deepEqual([report.findings, report.orphans], [[], []]);
  await subject.dispose();
});

test('a segment whose first record is torn gives its ordinal to the next', async () => {
  const subject = await createTestVolume();
  const options = { volumeId: subject.volumeId, keySource: subject.keySource, acceptMissingAnchor: true };
  await write(subject.volume, 0, 1);
  const first = await restarted(subject, await crashed(subject, subject.environment, 1, 100));
  const second = await openVolume(first, options);
  assert.equal(second.info().recovery.recordCount, 0);
  await write(second, 0, 2);
  const third = await openVolume(await restarted(subject, await crashed(subject, first, 1, 0)), options);
  assert.equal(await firstByte(third, 0), 2);
  await third.close();
  await subject.dispose();
});

test('a half made copy that an interrupted recovery left beside a segment counts for nothing', async () => {
  const subject = await createTestVolume();
  const options = { volumeId: subject.volumeId, keySource: subject.keySource, acceptMissingAnchor: true };
  await write(subject.volume, 0, 1);
  await write(subject.volume, 1, 2);
  const image = await crashed(subject, subject.environment, 2, 0);
  const [name] = image.spool.keys();
  for (const copy of ['00000000000000000000000000000000', 'ffffffffffffffffffffffffffffffff']) {
    const spool = new Map([[copy, bytesOf(image, name!).subarray(0, 112 + recordBytes)], ...image.spool]);
    const volume = await openVolume(await restarted(subject, { objects: image.objects, spool }), options);
    assert.deepEqual([await firstByte(volume, 0), await firstByte(volume, 1)], [1, 2]);
    await volume.close();
  }
  await subject.dispose();
});

test('a segment that was published in vain makes room for the one that recovery publishes', async () => {
  const subject = await createTestVolume();
  const options = { volumeId: subject.volumeId, keySource: subject.keySource, acceptMissingAnchor: true };
  await write(subject.volume, 0, 1);
  const image = await crashed(subject, subject.environment, 1, 0);
  const [name] = image.spool.keys();
  const prefix = volumePrefix(subject.volumeId);
  const key = `${prefix}segments/${name!.substring(30)}/${name!}`;
  const objects = new Map([...image.objects, [key, bytesOf(image, name!).subarray(0, 300)]]);
  const environment = await restarted(subject, { objects, spool: image.spool });
  const volume = await openVolume(environment, options);
  assert.equal(await firstByte(volume, 0), 1);
  await volume.close();
  assert.deepEqual((await verifyVolume(environment, options)).findings, []);
  await subject.dispose();
});
