import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { blockDeviceConformance } from '../../test/conformance/block-device.ts';
import { MemoryDevice } from '../../test/support/memory-device.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import { BoundedDevice, type DevicePart } from './bounded-device.ts';

const block = 4096;
const everything = { mayRead: true, mayWrite: true, mayTrim: true, mayResize: false } as const;

blockDeviceConformance('part to the end', (size) => ({
  device: new BoundedDevice(new MemoryDevice(size + 3 * block), {
    ...everything,
    mayResize: true,
    base: 3 * block,
    length: undefined,
  }),
}));

const isRefused = (error: unknown): boolean => isCaissonError(error, 'capability-refused');
const isOutside = (error: unknown): boolean => isCaissonError(error, 'range-outside');

function deviceWith(change: Partial<DevicePart>) {
  const inner = new MemoryDevice(16 * block);
  return { inner, part: new BoundedDevice(inner, { ...everything, base: 4 * block, length: 8 * block, ...change }) };
}

test('a part is as large as what is there of it', () => {
  assert.equal(deviceWith({}).part.size, 8 * block);
  assert.equal(deviceWith({ length: 100 * block }).part.size, 12 * block);
  assert.equal(deviceWith({ base: 16 * block }).part.size, 0);
  assert.equal(deviceWith({ base: 64 * block, length: undefined }).part.size, 0);
});

test('no call, whatever its numbers, reaches a byte outside the part', async () => {
  const number = fc.oneof(
    fc.integer({ min: -2, max: 12 * block }),
    fc.constantFrom(-1, 0, block, 8 * block, 2 ** 53 - 1, 2 ** 53, Infinity, -Infinity, NaN, 0.5),
  );
  const region = Region.from(new Uint8Array(16 * block).fill(9));
  await fc.assert(
    fc.asyncProperty(number, number, fc.integer({ min: 0, max: 4 }), async (offset, length, kind) => {
      const { inner, part } = deviceWith({});
      try {
        if (kind === 0) await part.write(offset, length, region, 0, false);
        else if (kind === 1) await part.zero(offset, length, true, false);
        else if (kind === 2) await part.trim(offset, length, false);
        else if (kind === 3) await part.read(offset, length, new Region(16 * block), 0);
        else await part.extents(offset, length, 8);
      } catch (error) {
        assert.ok(isOutside(error), String(error));
        assert.deepEqual(inner.calls, []);
        return;
      }
      for (const call of inner.calls) {
        const [at = 0, count = 0] = (call.match(/\d+/g) ?? []).map(Number);
        assert.ok(at >= 4 * block && at + count <= 12 * block, call);
      }
      const { content } = inner;
      assert.ok(content.subarray(0, 4 * block).every((byte) => byte === 0));
      assert.ok(content.subarray(12 * block).every((byte) => byte === 0));
    }),
    { numRuns: 300 },
  );
});

test('a right that is not granted is refused before the device hears of it', async () => {
  const region = new Region(block);
  const calls: Readonly<Record<string, readonly ((part: BoundedDevice) => unknown)[]>> = {
    mayRead: [(part) => part.read(0, block, region, 0), (part) => part.extents(0, block, 1)],
    mayWrite: [
      (part) => part.write(0, block, region, 0, false),
      (part) => part.beginWrite(0, block),
      (part) => part.zero(0, block, true, false),
    ],
    mayTrim: [(part) => part.trim(0, block, false)],
  };
  for (const [right, attempts] of Object.entries(calls)) {
    const { inner, part } = deviceWith({ [right]: false });
    for (const attempt of attempts) assert.throws(() => attempt(part), isRefused, right);
    assert.deepEqual(inner.calls, []);
    await deviceWith({}).part.read(0, block, region, 0);
  }
  await assert.rejects(deviceWith({}).part.resize(block), isRefused);
});

test('without the right to write a part is read-only', () => {
  assert.equal(deviceWith({}).part.readOnly, false);
  assert.equal(deviceWith({ mayWrite: false }).part.readOnly, true);
});

test('once it has ended every call is refused with the reason', async () => {
  const { inner, part } = deviceWith({});
  const reason = new CaissonError('denied', 'capability-refused', 'the capability has expired');
  part.end(reason);
  const isReason = (error: unknown): boolean => error === reason;
  const region = new Region(block);
  assert.throws(() => part.read(0, block, region, 0), isReason);
  assert.throws(() => part.write(0, block, region, 0, false), isReason);
  assert.throws(() => part.beginWrite(0, block), isReason);
  assert.throws(() => part.zero(0, block, false, false), isReason);
  assert.throws(() => part.trim(0, block, false), isReason);
  assert.throws(() => part.extents(0, block, 1), isReason);
  await assert.rejects(part.flush(), isReason);
  await assert.rejects(part.resize(block), isReason);
  assert.deepEqual(inner.calls, []);
});

test('a part tells of a new size only when its own changes', async () => {
  const { inner, part } = deviceWith({});
  const sizes: number[] = [];
  part.onResize((size) => sizes.push(size));
  await inner.resize(20 * block);
  await inner.resize(10 * block);
  assert.deepEqual(sizes, [6 * block]);
});

test('a part that is not whole blocks is never made', () => {
  for (const change of [{ base: 1 }, { base: -block }, { length: 100 }, { length: 0 }, { base: NaN }])
    assert.throws(
      () => deviceWith(change),
      (error) => isCaissonError(error, 'assertion-failed'),
      JSON.stringify(change),
    );
  assert.throws(
    () => deviceWith({ mayResize: true }),
    (error) => isCaissonError(error, 'assertion-failed'),
  );
});
