/** Hashed images on every kind of store, and on one whose calls fail one after the other. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { systemRandom } from '../../src/crypto/random.ts';
import { leafBytes, spanBytes } from '../../src/hashed/hashed-format.ts';
import { removeHashed } from '../../src/hashed/hashed-removal.ts';
import { verifyHashed } from '../../src/hashed/hashed-verify.ts';
import { openHashed } from '../../src/hashed/hashed-volume.ts';
import { CaissonError, isCaissonError } from '../../src/lib/errors.ts';
import { CachedStore } from '../../src/store/cached-store.ts';
import { nodeFileSystem } from '../../src/store/node-file-system.ts';
import { openStore } from '../../src/store/open-store.ts';
import { ReadCache } from '../../src/store/read-cache.ts';
import type { ObjectInfo, Store } from '../../src/store/store.ts';
import { MemoryMedium, MemoryStore } from '../sim/memory-store.ts';
import { FakeS3 } from '../support/fake-s3.ts';
import { buildImage, noise, readImage } from '../support/hashed-image.ts';

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-hashed-stores-'));
after(() => fs.rmSync(scratch, { recursive: true }));

const image = new Uint8Array(2 * spanBytes + 5000);
image.set(noise(1, spanBytes + 3 * leafBytes), 0);
image.set(noise(2, 5000), 2 * spanBytes);
const { report: expected } = await buildImage(new MemoryStore(), image);

async function assertHolds(store: Store): Promise<void> {
  const { root, report } = await buildImage(store, image);
  assert.equal(report.root, expected.root, 'the store makes no difference to the root');
  const volume = await openHashed(store, root);
  const reads = Array.from({ length: 40 }, async (_, index) => {
    const offset = (index * 7_654_321) % (image.length - 100_000);
    const bytes = await readImage(volume, offset, 100_000);
    assert.equal(Buffer.compare(bytes, image.subarray(offset, offset + 100_000)), 0, `at ${offset}`);
  });
  await Promise.all(reads);
  await volume.close();
  assert.deepEqual((await verifyHashed(store, root)).findings, []);
  assert.equal((await removeHashed(store, root)).imagesLeft, 0);
  for await (const { key } of store.list('hashed/')) assert.fail(`${key} is left`);
}

test('a directory store', async () => {
  const store = await openStore(path.join(scratch, 'dir'), { create: true });
  await assertHolds(store);
  await store.close();
});

test('a block store', async () => {
  const file = path.join(scratch, 'device');
  fs.writeFileSync(file, '');
  fs.truncateSync(file, 256 * 2 ** 20);
  const store = await openStore(`block:${file}`, { create: true });
  await assertHolds(store);
  await store.close();
});

test('an S3 store, also behind a read cache', async () => {
  const server = await FakeS3.start();
  const environment = { AWS_ACCESS_KEY_ID: 'AK', AWS_SECRET_ACCESS_KEY: 'SK' };
  const remote = { spoolFolder: path.join(scratch, 'spool'), environment, random: systemRandom };
  fs.mkdirSync(remote.spoolFolder);
  const url = `s3://bucket/p?endpoint=http://127.0.0.1:${server.port}`;
  const store = await openStore(url, { create: true, remote });
  await assertHolds(store);
  const cache = new ReadCache(() => nodeFileSystem.open(path.join(scratch, 'cache'), 'exclusive'), 32 * 2 ** 20);
  const cached = new CachedStore(store, cache);
  await assertHolds(cached);
  await cached.close();
  await server.stop();
});

/** The call number `failing`, of those that change or ask for one object, fails; with `applies` its answer alone is lost. */
class BrittleStore extends MemoryStore {
  calls = 0;
  readonly #failing: number;
  readonly #applies: boolean;

  constructor(medium: MemoryMedium, failing: number, applies: boolean) {
    super(medium);
    this.#failing = failing;
    this.#applies = applies;
  }

  override stat(key: string): Promise<ObjectInfo> {
    return this.#run(() => super.stat(key));
  }

  override create(key: string, bytes: Uint8Array): Promise<void> {
    return this.#run(() => super.create(key, bytes));
  }

  override remove(key: string): Promise<void> {
    return this.#run(() => super.remove(key));
  }

  async #run<Value>(call: () => Promise<Value>): Promise<Value> {
    const isFailing = ++this.calls === this.#failing;
    if (isFailing && !this.#applies) throw new CaissonError('io', 'store-io', 'broken');
    const value = await call();
    if (isFailing) throw new CaissonError('io', 'store-io', 'the answer was lost');
    return value;
  }
}

test('whichever call of the store fails, the build says so or is whole, and the next one ends it', async () => {
  for (const applies of [false, true]) {
    let isReached = true;
    for (let failing = 1; isReached; failing++) {
      const medium = new MemoryMedium();
      const brittle = new BrittleStore(medium, failing, applies);
      const first = await buildImage(brittle, image).then(
        ({ report }) => report.root,
        (error: unknown) => error,
      );
      isReached = brittle.calls >= failing;
      const isToldOrWhole = first === expected.root || isCaissonError(first, 'store-io');
      assert.ok(isToldOrWhole, `call ${failing}: ${String(first)}`);
      const store = new MemoryStore(medium);
      const { root, report } = await buildImage(store, image);
      assert.equal(report.root, expected.root);
      assert.deepEqual((await verifyHashed(store, root)).findings, []);
      // A marker whose removal failed is the one thing that stays; it asks for --force.
      await removeHashed(store, root, { force: true });
      for await (const { key } of store.list('hashed/')) assert.fail(`call ${failing}: ${key} is left`);
    }
  }
});

test('whichever call fails while an image is removed, the others stay whole, and the next removal ends it', async () => {
  let isReached = true;
  for (let failing = 1; isReached; failing++) {
    const medium = new MemoryMedium();
    const store = new MemoryStore(medium);
    const { root } = await buildImage(store, image);
    const other = await buildImage(store, image.subarray(0, spanBytes + leafBytes));
    const brittle = new BrittleStore(medium, failing, false);
    await removeHashed(brittle, root).catch((error: unknown) =>
      assert.ok(isCaissonError(error, 'store-io'), String(error)),
    );
    isReached = brittle.calls >= failing;
    assert.deepEqual((await verifyHashed(store, other.root)).findings, []);
    await removeHashed(store, other.root, { force: true });
    await removeHashed(store, root, { force: true }).catch((error: unknown) => {
      assert.ok(isCaissonError(error, 'volume-missing'), String(error));
    });
    for await (const { key } of store.list('hashed/')) assert.fail(`call ${failing}: ${key} is left`);
  }
});
