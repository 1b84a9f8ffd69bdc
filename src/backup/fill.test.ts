import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { MemoryDevice } from '../../test/support/memory-device.ts';
import { seededBytes } from '../../test/fuzz/seeded.ts';
import { isCaissonError } from '../lib/errors.ts';
import { contentPieceBytes } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import { deviceContent, readContent, type ContentSource } from './content.ts';
import { startSparseDigest } from './content-digest.ts';
import { fillVolume, type FilledDevice, type FillOptions } from './fill.ts';

const options: FillOptions = {
  digest: 'plain',
  grows: false,
  expectedSha256: undefined,
  onProgress: undefined,
  signal: undefined,
};

test('whatever holes a source has: same bytes, zero blocks never written, right digest', async () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = seededBytes(seed);
    const bytes = patchwork(random.below(3 * contentPieceBytes) + 1, seed);
    const device = target(roundUp(bytes.length));
    const digest = seed % 2 === 0 ? 'plain' : 'sparse';
    const report = await fillVolume(device, bytesContent(bytes, seed % 3 === 0), { ...options, digest });
    assert.ok(Buffer.from(device.content).subarray(0, bytes.length).equals(bytes), `seed ${seed}`);
    assert.ok(device.content.subarray(bytes.length).every((byte) => byte === 0));
    assert.deepEqual([report.sourceBytes, report.paddedBytes], [bytes.length, roundUp(bytes.length) - bytes.length]);
    assert.equal(report.writtenBytes, 4096 * blocksWithData(bytes), `seed ${seed}`);
    if (digest === 'plain') assert.equal(report.sha256, createHash('sha256').update(bytes).digest('hex'));
  }
});

test('the sparse digest does not depend on how holes are cut', async () => {
  const bytes = patchwork(2 * contentPieceBytes + 12_288, 7);
  const [withHoles, without] = await Promise.all([true, false].map((pipe) => sparseDigest(bytesContent(bytes, pipe))));
  assert.equal(withHoles, without);
  bytes[bytes.length - 1]! ^= 1;
  assert.notEqual(await sparseDigest(bytesContent(bytes, false)), without);
});

test('a volume grows with a pipe and ends as large as it', async () => {
  const bytes = patchwork(3 * contentPieceBytes + 5, 3);
  const device = target(8192);
  const report = await fillVolume(device, bytesContent(bytes, true), { ...options, grows: true });
  assert.equal(device.size, roundUp(bytes.length));
  assert.equal(report.paddedBytes, 4091);
});

test('too long, too short, empty, unexpected, tampered: an error each', async () => {
  const bytes = patchwork(contentPieceBytes + 4096, 5);
  const fails = async (device: FilledDevice, source: ContentSource, more: Partial<FillOptions>, code: string) =>
    assert.rejects(fillVolume(device, source, { ...options, ...more }), (error) =>
      isCaissonError(error, code as never),
    );
  const size = roundUp(bytes.length);
  await fails(target(size - 4096), bytesContent(bytes, true), {}, 'import-too-large');
  await fails(target(size + 4096), { ...bytesContent(bytes, true), size: size + 4096 }, {}, 'import-ended-early');
  await fails(target(size), bytesContent(new Uint8Array(0), true), {}, 'import-ended-early');
  await fails(target(size), bytesContent(bytes, false), { expectedSha256: 'ab'.repeat(32) }, 'digest-mismatch');
  const lying = target(size);
  lying.checkpoint = async () => void (lying.content[0]! ^= 1);
  await fails(lying, bytesContent(bytes, false), {}, 'digest-mismatch');
  const failing = target(size);
  failing.faults.push({ operation: 'write', error: new Error('the disk'), late: true });
  await assert.rejects(fillVolume(failing, bytesContent(bytes, false), options), /the disk/);
});

test('an abort stops it', async () => {
  const controller = new AbortController();
  const onProgress = (): void => controller.abort(new Error('stopped'));
  const bytes = patchwork(20 * contentPieceBytes, 9);
  const work = fillVolume(target(bytes.length), bytesContent(bytes, true), {
    ...options,
    onProgress,
    signal: controller.signal,
  });
  await assert.rejects(work, /stopped/);
});

function target(size: number): MemoryDevice & { checkpoint(): Promise<void> } {
  const device = new MemoryDevice(size);
  device.recordsCalls = false;
  return Object.assign(device, { checkpoint: async () => undefined });
}

async function sparseDigest(source: ContentSource): Promise<string> {
  const digest = startSparseDigest();
  const visitor = {
    data: (offset: number, region: Region, length: number) => digest.data(offset, region.bytes.subarray(0, length)),
    hole: (_offset: number, length: number) => digest.hole(length),
  };
  await readContent(source, visitor, undefined);
  return Buffer.from(digest.finish()).toString('hex');
}

/** Data and zeroes in stretches of every size. */
function patchwork(length: number, seed: number): Uint8Array {
  const random = seededBytes(seed);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const stretch = 1 + random.below(random.below(4) === 0 ? contentPieceBytes : 9_000);
    if (random.below(2) === 0) bytes.fill(1 + random.below(255), at, at + stretch);
    at += stretch;
  }
  return bytes;
}

/** As a pipe of unknown length, or as a device that knows its holes. */
function bytesContent(bytes: Uint8Array, isPipe: boolean): ContentSource {
  const read: ContentSource['read'] = async (offset, length, target_) => {
    const piece = bytes.subarray(offset, offset + length);
    target_.bytes.set(piece);
    return piece.length;
  };
  if (isPipe) return { size: undefined, nextData: async (offset) => ({ offset, length: 2 ** 50 }), read };
  const device = new MemoryDevice(roundUp(bytes.length));
  device.recordsCalls = false;
  for (let at = 0; at < bytes.length; at += 4096) {
    const block = bytes.subarray(at, at + 4096);
    if (block.some((byte) => byte !== 0)) void device.write(at, block.length, Region.from(block), 0, false);
  }
  return deviceContent(device, bytes.length);
}

function blocksWithData(bytes: Uint8Array): number {
  let count = 0;
  for (let at = 0; at < bytes.length; at += 4096) if (bytes.subarray(at, at + 4096).some((byte) => byte !== 0)) count++;
  return count;
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / 4096) * 4096;
}
