/** Images against a model and against a second implementation of the specification, in memory. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { isCaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import { seededBytes } from '../../test/fuzz/seeded.ts';
import type { SeededBytes } from '../../test/fuzz/seeded.ts';
import { MemoryStore } from '../../test/sim/memory-store.ts';
import { buildImage, coldStore, imageSource, noise, readImage } from '../../test/support/hashed-image.ts';
import { createHashed } from './hashed-builder.ts';
import { leafBytes, parseRoot, spanBytes } from './hashed-format.ts';
import { listHashed, removeHashed } from './hashed-removal.ts';
import { verifyHashed } from './hashed-verify.ts';
import { openHashed } from './hashed-volume.ts';

/** Data, zeros and repetition in runs of any length. */
function randomImage(random: SeededBytes, size: number): Uint8Array {
  const image = new Uint8Array(size);
  for (let at = 0; at < size;) {
    const length = Math.min(size - at, 1 + random.below(5 * leafBytes));
    const kind = random.below(3);
    if (kind === 0) image.set(random.bytes(Math.min(length, 200)), at);
    if (kind === 1) image.fill(1 + random.below(255), at, at + length);
    at += length;
  }
  return image;
}

/** The specification once more, without a thought for speed. */
function rootByTheBook(image: Uint8Array): string {
  const hash = (...parts: Uint8Array[]): Uint8Array => {
    const digest = createHash('sha256');
    for (const part of parts) digest.update(part);
    return digest.digest();
  };
  const domain = (text: string, level: number): Uint8Array => {
    const bytes = Buffer.alloc(64);
    bytes.write(text);
    bytes[63] = level;
    return bytes;
  };
  const zero = Buffer.alloc(32);
  let digests: Uint8Array[] = [];
  let dataLeaves = 0;
  for (let at = 0; at < image.length; at += 16384) {
    const leaf = Buffer.alloc(16384);
    leaf.set(image.subarray(at, at + 16384));
    const isData = leaf.some((byte) => byte !== 0);
    if (isData) dataLeaves++;
    digests.push(isData ? hash(domain('caisson v1 hashed tree', 0), leaf) : zero);
  }
  for (let level = 1; level === 1 || digests.length > 1; level++) {
    const parents: Uint8Array[] = [];
    for (let at = 0; at < digests.length; at += 512) {
      const children = Buffer.concat(digests.slice(at, at + 512));
      parents.push(
        children.some((byte) => byte !== 0) ? hash(domain('caisson v1 hashed tree', level), children) : zero,
      );
    }
    digests = parents;
  }
  const record = Buffer.alloc(64);
  record.write('CSNHRT1\n');
  record.writeUInt16LE(1, 8);
  record[10] = 14;
  record[11] = 9;
  record.writeBigUInt64LE(BigInt(image.length), 16);
  record.writeBigUInt64LE(BigInt(dataLeaves), 24);
  record.set(digests[0]!, 32);
  return `sha256:${Buffer.from(hash(domain('caisson v1 hashed root', 0), record)).toString('hex')}`;
}

const sizes = [
  1,
  511,
  4096,
  leafBytes,
  leafBytes + 1,
  20 * leafBytes - 7,
  spanBytes,
  spanBytes + 1,
  2 * spanBytes + 3 * leafBytes,
];

test('a root is what the specification says, whatever the content', async () => {
  for (const [seed, size] of sizes.entries()) {
    const image = randomImage(seededBytes(seed), size);
    const { report } = await buildImage(new MemoryStore(), image);
    assert.equal(report.root, rootByTheBook(image), `${size} bytes`);
    const zeros = await buildImage(new MemoryStore(), new Uint8Array(size));
    assert.equal(zeros.report.root, rootByTheBook(new Uint8Array(size)), `${size} zeros`);
    assert.equal(zeros.report.objectsWritten, 1, 'zeros take the record alone');
  }
});

test('reads give the bytes of the image, at any offset, warm and cold, through tiny caches too', async () => {
  for (const [seed, size] of sizes.entries()) {
    const random = seededBytes(100 + seed);
    const image = randomImage(random, size);
    for (const isWarm of [true, false]) {
      const { store, root } = await buildImage(new MemoryStore(), image);
      const options = seed % 2 === 0 ? {} : { tableBytesMax: 1, readersMax: 1 };
      const volume = await openHashed(isWarm ? store : coldStore(store), root, options);
      const model = new Uint8Array(volume.size);
      model.set(image);
      assert.equal(volume.size, Math.ceil(size / 4096) * 4096);
      for (let count = 0; count < 60; count++) {
        const offset = random.below(volume.size);
        const length = random.below(Math.min(volume.size - offset, 3 * spanBytes) + 1);
        const read = await readImage(volume, offset, length);
        assert.equal(
          Buffer.compare(read, model.subarray(offset, offset + length)),
          0,
          `seed ${seed}: ${offset}+${length}`,
        );
      }
      await volume.close();
    }
  }
});

test('many reads at once give the same bytes', async () => {
  const image = randomImage(seededBytes(7), 3 * spanBytes);
  const { store, root } = await buildImage(new MemoryStore(), image);
  const volume = await openHashed(coldStore(store), root, { tableBytesMax: 1, readersMax: 1 });
  const random = seededBytes(8);
  const reads = Array.from({ length: 200 }, async () => {
    const offset = random.below(volume.size - 70_000);
    const length = random.below(70_000);
    const read = await readImage(volume, offset, length);
    assert.equal(Buffer.compare(read, image.subarray(offset, offset + length)), 0);
  });
  await Promise.all(reads);
  await volume.close();
});

test('extents cover the image, say zero only where it is zero, and are as fine as leaves', async () => {
  for (const [seed, size] of sizes.entries()) {
    const random = seededBytes(200 + seed);
    const image = randomImage(random, size);
    const { store, root } = await buildImage(new MemoryStore(), image);
    const volume = await openHashed(store, root);
    const model = new Uint8Array(volume.size);
    model.set(image);
    for (let count = 0; count < 20; count++) {
      const offset = random.below(volume.size);
      const length = 1 + random.below(volume.size - offset);
      const countMax = 1 + random.below(8);
      const extents = await volume.extents(offset, length, countMax);
      assert.ok(extents.length > 0 && extents.length <= countMax);
      let at = offset;
      for (const extent of extents) {
        assert.ok(extent.length > 0);
        const isZero = model.subarray(at, at + extent.length).every((byte) => byte === 0);
        assert.ok(isZero || !extent.zero, 'what is said to be zero is zero');
        assert.equal(extent.hole, extent.zero);
        at += extent.length;
      }
      assert.ok(at <= offset + length);
      if (extents.length < countMax) assert.equal(at, offset + length);
    }
    await volume.close();
  }
});

test('an image beyond one node of level 2: zeros cost nothing, the far end is read', async () => {
  const size = 4 * 2 ** 30 + 3 * leafBytes;
  const store = new MemoryStore();
  const source = imageSource(size, [
    [size - 5, Uint8Array.of(1, 2, 3, 4, 5)],
    [0, Uint8Array.of(9)],
  ]);
  const report = await createHashed(store, { source, random: seededBytes(1) });
  assert.equal(report.dataBytes, 2 * leafBytes);
  // The record, a node of level 3 and two of level 2, two spans.
  assert.equal(report.objectsWritten, 6);
  const volume = await openHashed(store, parseRoot(report.root), { tableBytesMax: 1 });
  assert.deepEqual([...(await readImage(volume, size - 6, 6))], [0, 1, 2, 3, 4, 5]);
  assert.deepEqual([...(await readImage(volume, 0, 2))], [9, 0]);
  const extents = await volume.extents(0, volume.size, 100);
  assert.deepEqual(
    extents.map(({ hole }) => hole),
    [false, true, false],
  );
  const { findings, leavesChecked } = await verifyHashed(store, parseRoot(report.root));
  assert.deepEqual([findings, leavesChecked], [[], 2]);
});

test('images share what they have in common, and a build goes on where it was broken off', async () => {
  const store = new MemoryStore();
  const image = noise(3, 4 * spanBytes);
  const first = await buildImage(store, image);
  assert.equal(first.report.objectsShared, 0);
  assert.equal(first.report.objectsWritten, 6);
  const again = await buildImage(store, image);
  assert.deepEqual([again.report.objectsWritten, again.report.objectsShared], [0, 6]);
  assert.equal(again.report.root, first.report.root);
  image[2 * spanBytes + 5]! ^= 1;
  const next = await buildImage(store, image);
  assert.deepEqual([next.report.objectsWritten, next.report.objectsShared], [3, 3]);
  assert.deepEqual(await listHashed(store), [first.report.root, next.report.root].sort());
});

test('removing an image takes what nobody else needs, and what broken-off builds left', async () => {
  const store = new MemoryStore();
  const image = noise(4, 3 * spanBytes);
  const first = await buildImage(store, image);
  image[0]! ^= 1;
  const second = await buildImage(store, image);
  const source = {
    ...imageSource(5 * spanBytes, [[0, noise(5, 2 * spanBytes)]]),
    checkUnchanged: async () => Promise.reject(new Error('broken off')),
  };
  await assert.rejects(createHashed(store, { source, random: seededBytes(6) }), /broken off/);
  const removed = await removeHashed(store, first.root);
  // Its record, its node and its first span; the two spans of the build that ended early.
  assert.deepEqual(removed, { removedObjects: 5 + 1, imagesLeft: 1 });
  assert.deepEqual((await verifyHashed(store, second.root)).findings, []);
  await assert.rejects(openHashed(store, first.root), (error) => isCaissonError(error, 'volume-missing'));
  await assert.rejects(removeHashed(store, first.root), (error) => isCaissonError(error, 'volume-missing'));
  assert.equal((await removeHashed(store, second.root)).imagesLeft, 0);
  for await (const { key } of store.list('')) assert.fail(`${key} is left`);
});

test('nothing is removed when another image cannot be read', async () => {
  const store = new MemoryStore();
  const first = await buildImage(store, noise(1, 2 * spanBytes));
  const second = await buildImage(store, noise(2, 2 * spanBytes));
  const keys: string[] = [];
  for await (const { key } of store.list('hashed/nodes/')) keys.push(key);
  for (const key of keys) await store.remove(key);
  await assert.rejects(
    removeHashed(store, first.root),
    (error) => isCaissonError(error, 'object-missing') && error.kind === 'integrity',
  );
  assert.deepEqual(await listHashed(store), [first.report.root, second.report.root].sort());
});

test('a build and a removal never meet', async () => {
  const store = new MemoryStore();
  const { root } = await buildImage(store, Uint8Array.of(1));
  await store.create('hashed/builds/000102030405060708090a0b0c0d0e0f', Uint8Array.of(1));
  await assert.rejects(removeHashed(store, root), (error) => isCaissonError(error, 'volume-busy'));
  await buildImage(store, Uint8Array.of(2)); // builds do not mind each other
  assert.equal((await removeHashed(store, root, { force: true })).imagesLeft, 1);
  await store.create('hashed/removal', Uint8Array.of(1));
  await assert.rejects(buildImage(store, Uint8Array.of(3)), (error) => isCaissonError(error, 'volume-busy'));
  assert.equal((await listHashed(store)).length, 1);
});

test('an empty source, one that ends early or changes, and a store that fails end the build with no record', async () => {
  const store = new MemoryStore();
  const random = seededBytes(1);
  await assert.rejects(createHashed(store, { source: imageSource(0, []), random }), (error) =>
    isCaissonError(error, 'size-invalid'),
  );
  const tooLong = imageSource(2 ** 50, []);
  await assert.rejects(createHashed(store, { source: tooLong, random }), (error) =>
    isCaissonError(error, 'size-invalid'),
  );
  const failing = { ...imageSource(3 * spanBytes, []), read: async () => Promise.reject(new Error('source ended')) };
  await assert.rejects(createHashed(store, { source: failing, random }), /source ended/);
  class FullStore extends MemoryStore {
    override async create(key: string, bytes: Uint8Array): Promise<void> {
      if (key.startsWith('hashed/spans/')) throw new Error('no room');
      await super.create(key, bytes);
    }
  }
  const source = imageSource(9 * spanBytes, [[0, noise(2, 9 * spanBytes)]]);
  await assert.rejects(createHashed(new FullStore(), { source, random }), /no room/);
  for await (const { key } of store.list('')) assert.fail(`${key} is left`);
});

test('an object that was cut off is replaced by the next build', async () => {
  const store = new MemoryStore();
  const image = noise(1, 3 * leafBytes);
  const { root } = await buildImage(store, image);
  const [key] = await keysOf(store, 'hashed/spans/');
  const bytes = await store.get(key!, 2 ** 30);
  await store.remove(key!);
  await store.create(key!, bytes.subarray(0, 1000));
  assert.equal((await verifyHashed(store, root)).findings[0]?.code, 'format-invalid');
  await buildImage(store, image);
  assert.deepEqual((await verifyHashed(store, root)).findings, []);
});

test('nothing can be written, and a closed image says so', async () => {
  const { store, root } = await buildImage(new MemoryStore(), Uint8Array.of(1));
  const volume = await openHashed(store, root);
  const isReadOnly = (error: unknown): boolean => isCaissonError(error, 'volume-read-only');
  for (const operation of [() => volume.write(), () => volume.beginWrite(), () => volume.zero(), () => volume.trim()]) {
    assert.throws(operation, isReadOnly);
  }
  await assert.rejects(volume.resize(), isReadOnly);
  await volume.flush();
  assert.throws(
    () => volume.read(4096, 1, new Region(1), 0),
    (error) => isCaissonError(error, 'range-outside'),
  );
  await volume.close();
  await volume.close();
  assert.throws(
    () => volume.read(0, 1, new Region(1), 0),
    (error) => isCaissonError(error, 'volume-closed'),
  );
});

test('what is not a root is refused by name', () => {
  for (const text of [
    '',
    'sha256:',
    'sha256:12',
    `sha512:${'0'.repeat(64)}`,
    '0'.repeat(64),
    `sha256:${'g'.repeat(64)}`,
  ]) {
    assert.throws(
      () => parseRoot(text),
      (error) => isCaissonError(error, 'argument-invalid'),
      text,
    );
  }
  assert.equal(parseRoot(`sha256:${'AB'.repeat(32)}`)[0], 0xab);
});

async function keysOf(store: MemoryStore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}
