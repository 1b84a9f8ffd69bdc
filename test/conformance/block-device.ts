/**
 * The rules of `src/export/block-device.ts`, as a suite that every implementation runs.
 *
 * Give it a name and a factory of fresh, empty devices; the suite registers its tests with node:test.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCaissonError } from '../../src/lib/errors.ts';
import { Region } from '../../src/lib/region.ts';
import type { BlockDevice, Extent } from '../../src/export/block-device.ts';
import { seededBytes } from '../fuzz/seeded.ts';

export interface BlockDeviceSubject {
  readonly device: BlockDevice;
  /** Called when the test is over. */
  close?(): void | Promise<void>;
}

export type BlockDeviceFactory = (size: number) => BlockDeviceSubject | Promise<BlockDeviceSubject>;

const block = 4096;
const size = 256 * block;

/** Registers the suite: `factory` gives a fresh device that reads as zeroes, of the size asked for; its sizes are multiples of `sizeStep`. */
export function blockDeviceConformance(name: string, factory: BlockDeviceFactory, sizeStep = 512): void {
  const check = (rule: string, body: (device: BlockDevice) => Promise<void>): void => {
    test(`block device ${name}: ${rule}`, async () => {
      const subject = await factory(size);
      try {
        await body(subject.device);
      } finally {
        await subject.close?.();
      }
    });
  };

  check('has the size asked for, whole 4 KiB blocks, and may be written', async (device) => {
    assert.equal(device.size, size);
    assert.equal(device.blockSize, block);
    assert.equal(device.readOnly, false);
  });

  check('a fresh device reads as zeroes everywhere', async (device) => {
    assert.ok(isZero(await read(device, 0, size)));
  });

  check('what was written is read, at any offset and length', async (device) => {
    const shadow = new Uint8Array(size);
    for (const [offset, length] of ranges) {
      const bytes = pattern(offset + 1, length);
      shadow.set(bytes, offset);
      await write(device, offset, bytes);
      assert.deepEqual(await read(device, offset, length), bytes, `${offset}+${length}`);
    }
    assert.equal(Buffer.compare(await read(device, 0, size), shadow), 0);
  });

  check('a write changes nothing outside its range', async (device) => {
    await write(device, 0, new Uint8Array(8 * block).fill(0xaa));
    await write(device, block + 100, Uint8Array.of(1, 2, 3));
    const found = await read(device, 0, 8 * block);
    assert.deepEqual(found.subarray(block + 99, block + 104), Uint8Array.of(0xaa, 1, 2, 3, 0xaa));
    found.fill(0xaa, block + 100, block + 103);
    assert.ok(found.every((byte) => byte === 0xaa));
  });

  check('a read fills exactly its part of the target', async (device) => {
    await write(device, 0, new Uint8Array(4 * block).fill(7));
    const target = new Region(4 * block);
    target.bytes.fill(1);
    await device.read(10, 5000, target, 33);
    assert.ok(target.bytes.subarray(0, 33).every((byte) => byte === 1));
    assert.ok(target.bytes.subarray(33, 5033).every((byte) => byte === 7));
    assert.ok(target.bytes.subarray(5033).every((byte) => byte === 1));
  });

  check('the source may be reused as soon as write or push returned', async (device) => {
    const source = new Region(4 * block);
    source.bytes.fill(5);
    const whole = device.write(100, 2 * block, source, 0, false);
    source.bytes.fill(6);
    await whole;
    assert.ok((await read(device, 100, 2 * block)).every((byte) => byte === 5));
    const pieces = device.beginWrite(20 * block, 3 * block);
    for (let index = 0; index < 3; index++) {
      source.bytes.fill(index + 1);
      pieces.push(source, 0, block);
    }
    source.bytes.fill(0xff);
    await pieces.finish(false);
    for (let index = 0; index < 3; index++) {
      assert.ok((await read(device, (20 + index) * block, block)).every((byte) => byte === index + 1));
    }
  });

  check('a write in pieces of any size is one write', async (device) => {
    const shadow = new Uint8Array(size);
    for (const [seed, [offset, length]] of ranges.entries()) {
      const random = seededBytes(seed + 1);
      const bytes = pattern(offset + 77, length);
      shadow.set(bytes, offset);
      const pieces = device.beginWrite(offset, length);
      for (let at = 0; at < length;) {
        const piece = Math.min(length - at, 1 + random.below(2 * block));
        const region = new Region(piece + 64);
        const shift = random.below(64);
        region.bytes.set(bytes.subarray(at, at + piece), shift);
        pieces.push(region, shift, piece);
        at += piece;
      }
      await pieces.finish(seed % 2 === 0);
      assert.deepEqual(await read(device, offset, length), bytes, `${offset}+${length}`);
    }
    assert.equal(Buffer.compare(await read(device, 0, size), shadow), 0);
  });

  check('several writes in pieces may be open at once', async (device) => {
    const region = new Region(block);
    const open = [0, 1, 2, 3].map((index) => device.beginWrite(index * 10 * block + 50, 2 * block));
    for (let half = 0; half < 2; half++) {
      for (const [index, pieces] of open.entries()) {
        region.bytes.fill(16 * half + index + 1);
        pieces.push(region, 0, block);
      }
    }
    for (const pieces of open.toReversed()) await pieces.finish(false);
    for (let index = 0; index < 4; index++) {
      const found = await read(device, index * 10 * block + 50, 2 * block);
      assert.ok(found.subarray(0, block).every((byte) => byte === index + 1));
      assert.ok(found.subarray(block).every((byte) => byte === 17 + index));
    }
  });

  check('an aborted write touches nothing outside its range, and the device goes on', async (device) => {
    await write(device, 0, new Uint8Array(16 * block).fill(3));
    const pieces = device.beginWrite(4 * block + 1000, 4 * block);
    const region = Region.from(new Uint8Array(block).fill(9));
    pieces.push(region, 0, block);
    pieces.push(region, 0, 100);
    pieces.abort();
    const never = device.beginWrite(0, block);
    never.abort();
    await device.flush();
    const found = await read(device, 0, 16 * block);
    assert.ok(found.subarray(0, 4 * block + 1000).every((byte) => byte === 3));
    assert.ok(found.subarray(8 * block + 1000).every((byte) => byte === 3));
    assert.ok(found.every((byte) => byte === 3 || byte === 9));
    await write(device, 4 * block, new Uint8Array(5 * block).fill(4));
    assert.ok((await read(device, 4 * block, 5 * block)).every((byte) => byte === 4));
  });

  check('zero reads as zeroes at any alignment, punched or not, and changes nothing else', async (device) => {
    for (const mayPunch of [true, false]) {
      for (const [offset, length] of ranges) {
        await write(device, 0, new Uint8Array(size).fill(0xbb));
        await device.zero(offset, length, mayPunch, mayPunch);
        const found = await read(device, 0, size);
        assert.ok(isZero(found.subarray(offset, offset + length)), `${offset}+${length}`);
        found.fill(0xbb, offset, offset + length);
        assert.ok(
          found.every((byte) => byte === 0xbb),
          `${offset}+${length}`,
        );
      }
    }
  });

  check('trim zeroes the whole blocks inside its range and nothing else', async (device) => {
    for (const [offset, length] of ranges) {
      await write(device, 0, new Uint8Array(size).fill(0xcc));
      await device.trim(offset, length, false);
      const first = Math.ceil(offset / block) * block;
      const last = Math.max(first, Math.floor((offset + length) / block) * block);
      const found = await read(device, 0, size);
      assert.ok(isZero(found.subarray(first, last)), `${offset}+${length}`);
      if (last > first) found.fill(0xcc, first, last);
      assert.ok(
        found.every((byte) => byte === 0xcc),
        `${offset}+${length}`,
      );
    }
  });

  check('a trimmed block can be written again', async (device) => {
    await write(device, 0, new Uint8Array(4 * block).fill(1));
    await device.trim(0, 4 * block, true);
    await write(device, block + 10, Uint8Array.of(5));
    const found = await read(device, 0, 4 * block);
    assert.equal(found[block + 10], 5);
    found[block + 10] = 0;
    assert.ok(isZero(found));
  });

  check('requests of nothing are fine', async (device) => {
    const region = new Region(block);
    for (const offset of [0, 100, size]) {
      await device.read(offset, 0, region, 0);
      await device.write(offset, 0, region, 0, true);
      await device.zero(offset, 0, true, false);
      await device.trim(offset, 0, false);
    }
  });

  check('ranges outside are refused by name and change nothing', async (device) => {
    await write(device, 0, new Uint8Array(size).fill(1));
    const region = new Region(4 * block);
    for (const [offset, length] of [
      [size, 1],
      [size - block, block + 1],
      [size + block, block],
      [2 ** 52, block],
    ] as const) {
      const calls: [string, () => unknown][] = [
        ['read', () => device.read(offset, length, region, 0)],
        ['write', () => device.write(offset, length, region, 0, false)],
        ['beginWrite', () => device.beginWrite(offset, length)],
        ['zero', () => device.zero(offset, length, true, false)],
        ['trim', () => device.trim(offset, length, false)],
        ['extents', () => device.extents(offset, length, 10)],
      ];
      for (const [call, run] of calls) {
        await assert.rejects(
          async () => await run(),
          (error) => isCaissonError(error, 'range-outside'),
          `${call} ${offset}+${length}`,
        );
      }
    }
    assert.ok((await read(device, 0, size)).every((byte) => byte === 1));
  });

  check('extents cover the range in order, without gaps, within the count', async (device) => {
    await write(device, 10 * block, new Uint8Array(5 * block).fill(1));
    await write(device, 30 * block + 7, Uint8Array.of(1));
    await device.flush();
    for (const countMax of [1, 2, 3, 1000]) {
      for (const [offset, length] of [...ranges, [0, size] as const]) {
        const found = await device.extents(offset, length, countMax);
        checkExtents(found, length, countMax);
      }
    }
    const all = await everyExtent(device);
    for (const { offset, extent } of all) {
      if (extent.zero) assert.ok(isZero(await read(device, offset, extent.length)), `zero extent at ${offset}`);
    }
  });

  check('written blocks are data, trimmed blocks are holes', async (device) => {
    assert.ok((await everyExtent(device)).every(({ extent }) => extent.hole && extent.zero));
    await write(device, 64 * block, pattern(1, 64 * block));
    const holeAt = async (at: number): Promise<boolean> => (await device.extents(at, block, 1))[0]!.hole;
    assert.equal(await holeAt(64 * block), false);
    assert.equal(await holeAt(127 * block), false);
    assert.equal(await holeAt(63 * block), true);
    assert.equal(await holeAt(128 * block), true);
    await device.trim(64 * block, 64 * block, false);
    await device.flush();
    assert.equal(await holeAt(64 * block), true);
    assert.equal(await holeAt(127 * block), true);
  });

  check('flush may overlap with anything and with itself', async (device) => {
    const flushes = [];
    for (let index = 0; index < 8; index++) {
      await write(device, index * block, new Uint8Array(block).fill(index + 1));
      flushes.push(device.flush());
    }
    await Promise.all([...flushes, device.flush(), device.flush()]);
    for (let index = 0; index < 8; index++) assert.equal((await read(device, index * block, 1))[0], index + 1);
  });

  check('writes with FUA are read back like any other', async (device) => {
    const region = Region.from(new Uint8Array(3 * block).fill(8));
    await device.write(block + 5, 2 * block, region, 0, true);
    assert.ok((await read(device, block + 5, 2 * block)).every((byte) => byte === 8));
  });

  check('growing keeps the content and adds zeroes, shrinking forgets', async (device) => {
    const heard: number[] = [];
    const stop = device.onResize((next) => heard.push(next));
    const from = size - 2 * block;
    const cut = from + sizeStep;
    await write(device, from, new Uint8Array(2 * block).fill(2));
    await device.resize(2 * size);
    assert.equal(device.size, 2 * size);
    assert.ok((await read(device, from, 2 * block)).every((byte) => byte === 2));
    assert.ok(isZero(await read(device, size, size)));
    await write(device, 2 * size - 1, Uint8Array.of(9));
    await device.resize(cut);
    assert.equal(device.size, cut);
    await assert.rejects(
      async () => await device.read(size, 1, new Region(1), 0),
      (error) => isCaissonError(error, 'range-outside'),
    );
    await device.resize(2 * size);
    assert.ok(isZero(await read(device, cut, 2 * size - cut)), 'what was cut off does not come back');
    assert.ok((await read(device, from, sizeStep)).every((byte) => byte === 2));
    assert.deepEqual(heard, [2 * size, cut, 2 * size]);
    stop();
    await device.resize(size);
    assert.equal(heard.length, 3);
  });

  check('sizes that are not whole sectors are refused', async (device) => {
    for (const wrong of [0, -512, 511, size + 1, 0.5]) {
      await assert.rejects(
        async () => await device.resize(wrong),
        (error) => isCaissonError(error, 'size-invalid'),
        `${wrong}`,
      );
    }
    assert.equal(device.size, size);
  });

  check('pressure is undefined or ends', async (device) => {
    for (let index = 0; index < 64; index++) {
      await write(device, index * 2 * block, new Uint8Array(2 * block).fill(index));
      await device.pressure();
    }
  });

  check('a long random history agrees with an array', async (device) => {
    await randomHistory(device, 12345, 600);
  });
}

/** Ranges of every alignment: inside a block, across blocks, whole blocks, to the very end. */
const ranges = [
  [0, 1],
  [0, block],
  [1, block - 1],
  [block - 1, 2],
  [block, block],
  [100, 3 * block],
  [5 * block, 17 * block],
  [7 * block + 4095, 30 * block + 2],
  [size - 1, 1],
  [size - block, block],
  [size - 3 * block - 5, 3 * block + 5],
] as const;

async function read(device: BlockDevice, offset: number, length: number): Promise<Uint8Array> {
  const target = new Region(Math.max(length, 1));
  await device.read(offset, length, target, 0);
  return target.bytes.subarray(0, length);
}

async function write(device: BlockDevice, offset: number, bytes: Uint8Array): Promise<void> {
  await device.write(offset, bytes.length, Region.from(bytes), 0, false);
}

function pattern(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index++) bytes[index] = Math.imul(index + seed, 2654435761) >>> 24;
  return bytes;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function checkExtents(found: readonly Extent[], length: number, countMax: number): void {
  assert.ok(found.length >= 1 && found.length <= countMax);
  assert.ok(found.every((extent) => extent.length > 0));
  const covered = found.reduce((sum, extent) => sum + extent.length, 0);
  assert.ok(covered <= length);
  if (found.length < countMax) assert.equal(covered, length, 'a shorter list covers everything');
}

async function everyExtent(device: BlockDevice): Promise<{ offset: number; extent: Extent }[]> {
  const all: { offset: number; extent: Extent }[] = [];
  for (let offset = 0; offset < device.size;) {
    for (const extent of await device.extents(offset, device.size - offset, 7)) {
      all.push({ offset, extent });
      offset += extent.length;
    }
  }
  return all;
}

async function randomHistory(device: BlockDevice, seed: number, steps: number): Promise<void> {
  const random = seededBytes(seed);
  const shadow = new Uint8Array(device.size);
  for (let step = 0; step < steps; step++) {
    const offset = random.below(device.size);
    const length = Math.min(device.size - offset, 1 + random.below(random.below(2) === 0 ? 700 : 5 * block));
    const where = `seed ${seed} step ${step}: ${offset}+${length}`;
    switch (random.below(6)) {
      case 0:
      case 1: {
        const bytes = pattern(step, length);
        shadow.set(bytes, offset);
        await write(device, offset, bytes);
        break;
      }
      case 2:
        shadow.fill(0, offset, offset + length);
        await device.zero(offset, length, random.below(2) === 0, false);
        break;
      case 3: {
        const first = Math.ceil(offset / block) * block;
        shadow.fill(0, first, Math.max(first, Math.floor((offset + length) / block) * block));
        await device.trim(offset, length, false);
        break;
      }
      case 4:
        await device.flush();
        break;
      default:
        assert.equal(
          Buffer.compare(await read(device, offset, length), shadow.subarray(offset, offset + length)),
          0,
          where,
        );
    }
  }
  assert.equal(Buffer.compare(await read(device, 0, device.size), shadow), 0, `seed ${seed} at the end`);
}
