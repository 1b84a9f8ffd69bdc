/** Reads, writes, sizes and the map of one volume, where the block device suite does not reach. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Region } from '../lib/region.ts';
import { createTestVolume } from '../../test/support/test-volume.ts';
import type { Volume } from './volume-types.ts';

const block = 4096;
const leafBlocks = 1024;
const gibibyte = 2 ** 30;
const tebibyte = 2 ** 40;

async function put(volume: Volume, offset: number, bytes: Uint8Array): Promise<void> {
  await volume.write(offset, bytes.length, Region.from(bytes), 0, false);
}

async function get(volume: Volume, offset: number, length: number): Promise<Uint8Array> {
  const target = new Region(length);
  await volume.read(offset, length, target, 0);
  return target.bytes;
}

test('parts of one block written at the same time are all there', async () => {
  const { volume, dispose } = await createTestVolume();
  await put(volume, 0, new Uint8Array(4 * block).fill(0xff));
  await volume.checkpoint();
  const parts = Array.from({ length: 64 }, (_, index) => put(volume, index * 200 + 3, Uint8Array.of(index, index)));
  const whole = put(volume, 3 * block, new Uint8Array(block).fill(1));
  await Promise.all([...parts, whole]);
  const found = await get(volume, 0, 4 * block);
  for (let index = 0; index < 64; index++) {
    const at = index * 200 + 3;
    if (at + 2 > 3 * block) continue;
    assert.deepEqual([...found.subarray(at - 1, at + 3)], [0xff, index, index, 0xff], `part ${index}`);
  }
  await dispose();
});

test('a write of a whole block does not overtake the part that was asked for before it', async () => {
  const { volume, dispose } = await createTestVolume();
  await put(volume, 0, new Uint8Array(block).fill(1));
  await volume.checkpoint();
  const part = put(volume, 10, Uint8Array.of(2));
  const whole = put(volume, 0, new Uint8Array(block).fill(3));
  await Promise.all([part, whole]);
  assert.ok((await get(volume, 0, block)).every((byte) => byte === 3));
  await dispose();
});

test('FUA is durable when it is answered: a sync was done', async () => {
  const { volume, dispose } = await createTestVolume();
  const { syncs } = volume.stats();
  await volume.write(0, block, new Region(block), 0, true);
  assert.ok(volume.stats().syncs > syncs);
  await volume.trim(0, block, true);
  await volume.zero(0, block, false, true);
  assert.ok(volume.stats().syncs >= syncs + 3);
  await dispose();
});

test('a smaller size forgets, across close and open', async () => {
  const { volume, open, dispose } = await createTestVolume({ size: 64 * 2 ** 20 });
  await put(volume, 0, new Uint8Array(64 * 2 ** 20).fill(5));
  await volume.resize(10 * block);
  await volume.close();
  const again = await open();
  assert.equal(again.size, 10 * block);
  await again.resize(64 * 2 ** 20);
  assert.ok((await get(again, 0, 10 * block)).every((byte) => byte === 5));
  assert.ok((await get(again, 10 * block, 8 * 2 ** 20)).every((byte) => byte === 0));
  const extents = await again.extents(0, again.size, 10);
  assert.deepEqual(
    extents.map(({ length, hole }) => [length, hole]),
    [
      [10 * block, false],
      [64 * 2 ** 20 - 10 * block, true],
    ],
  );
  await dispose();
});

test('writes and a smaller size at the same time: no write lands beyond the end', async () => {
  const { volume, dispose } = await createTestVolume({ size: 16 * 2 ** 20 });
  await volume.checkpoint();
  const last = volume.size - block;
  const writes = [
    put(volume, last + 5, Uint8Array.of(1)),
    volume.resize(block * 8),
    put(volume, last + 9, Uint8Array.of(1)),
  ];
  const outcomes = await Promise.allSettled(writes);
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected')
      assert.equal((outcome.reason as { kind: string }).kind, 'invalid', String(outcome.reason));
  }
  assert.equal(volume.size, 8 * block);
  await volume.resize(16 * 2 ** 20);
  assert.ok((await get(volume, last, block)).every((byte) => byte === 0));
  await dispose();
});

test('a map far larger than its memory: random overwrites are right and the memory stays', async () => {
  const leaves = 200;
  const { volume, open, dispose } = await createTestVolume({
    size: leaves * leafBlocks * block,
    tuning: { mapBytesMax: 20 * 8192 },
  });
  const truth = new Map<number, number>();
  let state = 1;
  for (let round = 0; round < 1200; round++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 1;
    const at = (state % leaves) * leafBlocks + (round % 7);
    truth.set(at, round % 255);
    await put(volume, at * block, new Uint8Array(block).fill(round % 255));
    assert.ok(volume.stats().mapLeavesLoaded <= 20, `${volume.stats().mapLeavesLoaded} leaves are resident`);
  }
  for (const [at, fill] of truth) assert.equal((await get(volume, at * block + 77, 1))[0], fill, `block ${at}`);
  await volume.close();
  const again = await open();
  for (const [at, fill] of truth) assert.equal((await get(again, at * block, 1))[0], fill, `block ${at}`);
  assert.ok(again.stats().mapLeavesLoaded <= 20);
  await dispose();
});

test('a write that spans more leaves than the map may hold', async () => {
  const { volume, dispose } = await createTestVolume({ size: gibibyte, tuning: { mapBytesMax: 16 * 8192 } });
  for (let leaf = 0; leaf < 12; leaf++)
    await put(volume, (100 + leaf) * leafBlocks * block, new Uint8Array(block).fill(1));
  const length = 24 * 2 ** 20;
  const content = new Uint8Array(length);
  for (let at = 0; at < length; at += block) content.fill((at / block) % 251, at, at + block);
  await put(volume, 2 ** 20, content);
  assert.equal(Buffer.compare(await get(volume, 2 ** 20, length), content), 0);
  await dispose();
});

test('TRIM of 2 TiB on 64 TiB costs neither leaves nor log', async () => {
  const { volume, open, dispose } = await createTestVolume({ size: 64 * tebibyte });
  assert.ok(volume.stats().mapBytesResident < 2 ** 20, 'an empty volume of any size costs next to nothing');
  for (let at = 0; at < 8; at++) await put(volume, at * 400 * gibibyte + 8192, new Uint8Array(block).fill(at + 1));
  await volume.checkpoint();
  const before = volume.stats();
  await volume.trim(100 * gibibyte, 2 * tebibyte, false);
  const after = volume.stats();
  assert.ok(after.mapLeavesLoaded - before.mapLeavesLoaded <= 2, 'the two ends at most');
  assert.ok(after.bytesSealed - before.bytesSealed < 4096, 'one record at most');
  await volume.close();
  const again = await open();
  for (let at = 0; at < 8; at++) {
    const isGone = at >= 1 && at <= 5;
    assert.equal((await get(again, at * 400 * gibibyte + 8192, 1))[0], isGone ? 0 : at + 1, `${at}`);
  }
  await dispose();
});
