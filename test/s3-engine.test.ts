/** The engine over the S3 store: a server that fails every few requests in every way, and two machines that want one volume. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { nodeSealer } from '../src/crypto/node-sealer.ts';
import { systemRandom } from '../src/crypto/random.ts';
import { systemClock } from '../src/lib/clock.ts';
import { isCaissonError } from '../src/lib/errors.ts';
import { fromHex } from '../src/lib/hex.ts';
import { readCacheChunkBytes } from '../src/lib/limits.ts';
import { Region } from '../src/lib/region.ts';
import { CachedStore } from '../src/store/cached-store.ts';
import { nodeFileSystem } from '../src/store/node-file-system.ts';
import { ReadCache } from '../src/store/read-cache.ts';
import { openS3Store } from '../src/store/s3/open-s3-store.ts';
import { createVolume, openVolume, verifyVolume } from '../src/volume/volume.ts';
import type { VolumeEnvironment } from '../src/volume/volume-types.ts';
import { MemoryAnchor } from './sim/memory-anchor.ts';
import { SeededRandom } from './sim/random.ts';
import { FakeS3 } from './support/fake-s3.ts';
import type { Fault } from './support/fake-s3.ts';
import { JumpClock } from './support/jump-clock.ts';
import { testKey } from './support/test-volume.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-s3-engine-'));
const blockBytes = 4096;
const size = 4 * 2 ** 20;
let server: FakeS3;
let folderCount = 0;
before(async () => {
  server = await FakeS3.start();
});
beforeEach(() => server.objects.clear());
after(async () => {
  await server.stop();
  fs.rmSync(base, { recursive: true, force: true });
});

/** A machine of its own: other spools, another cache; the anchor is the same. */
async function machine(anchor: MemoryAnchor): Promise<VolumeEnvironment> {
  const folder = path.join(base, String(++folderCount));
  fs.mkdirSync(folder);
  const store = await openS3Store(`//bucket/p?endpoint=http://127.0.0.1:${server.port}`, {
    create: true,
    environment: { AWS_ACCESS_KEY_ID: 'AK', AWS_SECRET_ACCESS_KEY: 'SK' },
    spoolFolder: path.join(folder, 'spools'),
    random: systemRandom,
    clock: new JumpClock(),
  });
  const cache = new ReadCache(
    () => nodeFileSystem.open(path.join(folder, 'cache'), 'exclusive'),
    8 * readCacheChunkBytes,
  );
  return {
    ...{ store: new CachedStore(store, cache), anchor, sealer: nodeSealer },
    ...{ clock: systemClock, random: systemRandom, tuning: { segmentBytesMax: 2 ** 20 } },
  };
}

const faults: readonly Fault[] = [
  { kind: 'answer', status: 503, code: 'SlowDown' },
  { kind: 'hang-up', applies: true },
  { kind: 'answer', status: 500, code: 'InternalError', applies: true },
  { kind: 'hang-up', applies: false },
  { kind: 'answer', status: 409, code: 'ConditionalRequestConflict' },
  { kind: 'cut', bytes: 1000 },
  { kind: 'answer', status: 429, code: 'TooManyRequests' },
];

test('a server that fails every third request, in every way, loses nothing and latches nothing', async () => {
  const anchor = new MemoryAnchor();
  const environment = await machine(anchor);
  const keySource = testKey();
  const { volumeId } = await createVolume(environment, { size, protection: 'sealed', durability: 'local', keySource });
  const options = { volumeId: fromHex(volumeId, 16)!, keySource };
  const { requests } = server;
  requests.length = 0;
  for (const [index, fault] of faults.entries()) {
    const isNext = (): boolean => requests.length % 3 === 0 && (requests.length / 3) % faults.length === index;
    server.inject(isNext, fault, Infinity);
  }
  const random = new SeededRandom(11);
  const model = new Uint8Array(size);
  const block = new Region(blockBytes * 64);
  for (let round = 0; round < 4; round++) {
    const volume = await openVolume(environment, options);
    const found = new Region(size);
    await volume.read(0, size, found, 0);
    assert.deepEqual(found.bytes, model, `after opening number ${round}`);
    for (let step = 0; step < 60; step++) {
      const count = 1 + random.below(64);
      const at = random.below(size / blockBytes - count) * blockBytes;
      block.bytes.set(random.bytes(64), 0);
      block.bytes.copyWithin(64, 0, count * blockBytes - 64);
      await volume.write(at, count * blockBytes, block, 0, step % 16 === 0);
      model.set(block.bytes.subarray(0, count * blockBytes), at);
      if (step % 20 === 19) await volume.checkpoint();
    }
    await volume.close();
  }
  assert.ok(requests.length > 300, `${requests.length} requests, a third of which failed`);
  server.clearFaults();
  const report = await verifyVolume(await machine(anchor), { ...options });
  assert.deepEqual(report.findings, []);
  assert.equal(report.freshness, 'current');
  assert.ok(report.unitsChecked > 0);
});

test('of two machines the later one has the volume, and the earlier one is told', async () => {
  const anchor = new MemoryAnchor();
  const [first, second] = [await machine(anchor), await machine(anchor)];
  const keySource = testKey();
  const { volumeId } = await createVolume(first, { size, protection: 'sealed', durability: 'local', keySource });
  const options = { volumeId: fromHex(volumeId, 16)!, keySource };
  const block = new Region(blockBytes);
  const earlier = await openVolume(first, options);
  block.bytes.fill(1);
  await earlier.write(0, blockBytes, block, 0, true);
  await earlier.checkpoint();
  const later = await openVolume(second, options);
  const found = new Region(blockBytes);
  await later.read(0, blockBytes, found, 0);
  assert.deepEqual(found.bytes, block.bytes);
  block.bytes.fill(2);
  await later.write(0, blockBytes, block, 0, true);
  await later.checkpoint();
  block.bytes.fill(3);
  await assert.rejects(
    (async () => {
      await earlier.write(0, blockBytes, block, 0, true);
      await earlier.checkpoint();
    })(),
    (error) => isCaissonError(error) && ['fenced', 'closed'].includes(error.kind),
  );
  await earlier.close().catch(() => undefined); // it has nothing left to publish
  await later.read(0, blockBytes, found, 0);
  assert.equal(found.bytes[0], 2);
  await later.close();
});
