/**
 * Every kind of byte of every kind of object of a hashed image is changed, cut, extended, swapped and
 * dropped: a whole read fails with an integrity error, a verification names it, and a read that gets an
 * answer gets the bytes of the image.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leafBytes, spanBytes } from '../../src/hashed/hashed-format.ts';
import { verifyHashed } from '../../src/hashed/hashed-verify.ts';
import { openHashed } from '../../src/hashed/hashed-volume.ts';
import { CaissonError, isCaissonError } from '../../src/lib/errors.ts';
import { parseHashedKey } from '../../src/store/paths.ts';
import type { Store } from '../../src/store/store.ts';
import { MemoryStore } from '../sim/memory-store.ts';
import { buildImage, coldStore, noise, readImage } from '../support/hashed-image.ts';

const objectBytesMax = 2 ** 26;

/** Two spans below a node, each with data and zeros, so that every field of the format occurs. */
function sampleImage(seed: number): Uint8Array {
  const image = new Uint8Array(spanBytes + 3 * leafBytes - 100);
  image.set(noise(seed, 2 * leafBytes), 0);
  image.set(noise(seed + 1, 100), spanBytes - 50);
  image.set(noise(seed + 2, leafBytes), spanBytes + 2 * leafBytes - 200);
  return image;
}

interface Sample {
  readonly image: Uint8Array;
  readonly root: Uint8Array;
  readonly objects: ReadonlyMap<string, Uint8Array>;
}

async function makeSample(seed: number): Promise<Sample> {
  const image = sampleImage(seed);
  const { store, root } = await buildImage(new MemoryStore(), image);
  const objects = new Map<string, Uint8Array>();
  for await (const { key } of store.list('hashed/')) objects.set(key, await store.get(key, objectBytesMax));
  return { image, root, objects };
}

const sample = await makeSample(1);
const stranger = await makeSample(50);
const keysOf = (kind: string): string[] =>
  [...sample.objects.keys()].filter((key) => parseHashedKey(key)?.kind === kind).sort();

async function storeWith(objects: ReadonlyMap<string, Uint8Array | undefined>): Promise<MemoryStore> {
  const store = new MemoryStore();
  for (const [key, bytes] of objects) if (bytes !== undefined) await store.create(key, bytes);
  return store;
}

async function assertRefused(what: string, key: string, bytes: Uint8Array | undefined): Promise<void> {
  const store = await storeWith(new Map([...sample.objects, [key, bytes]]));
  for (const variant of [store, coldStore(store)]) {
    const error = await readEverything(variant).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    const isGone = isCaissonError(error, 'volume-missing') && parseHashedKey(key)?.kind === 'root';
    const isNamed = error instanceof CaissonError && (error.kind === 'integrity' || isGone);
    assert.ok(isNamed, `${what} of ${key}: ${String(error)}`);
    if (!isGone) assert.equal(error.details['object'], key, what);
  }
  if (bytes === undefined && parseHashedKey(key)?.kind === 'root') return;
  const { findings } = await verifyHashed(store, sample.root);
  assert.ok(findings.length > 0, `${what} of ${key} is found`);
  assert.ok(
    findings.every((finding) => finding.object === key),
    `${what}: ${JSON.stringify(findings)}`,
  );
  await assertNeverWrong(store);
}

async function readEverything(store: Store): Promise<void> {
  const volume = await openHashed(store, sample.root);
  const bytes = await readImage(volume, 0, volume.size);
  assert.equal(Buffer.compare(bytes.subarray(0, sample.image.length), sample.image), 0, 'a wrong byte was read');
}

/** Leaf by leaf: what is answered is right. */
async function assertNeverWrong(store: Store): Promise<void> {
  const volume = await openHashed(store, sample.root).catch(() => undefined);
  if (volume === undefined) return;
  for (const offset of [0, leafBytes, 2 * leafBytes, spanBytes - leafBytes, spanBytes, spanBytes + leafBytes]) {
    const bytes: Uint8Array | undefined = await readImage(volume, offset, leafBytes).catch((error: unknown) => {
      assert.ok(error instanceof CaissonError && error.kind === 'integrity', String(error));
      return undefined;
    });
    if (bytes === undefined) continue;
    assert.equal(Buffer.compare(bytes, sample.image.subarray(offset, offset + leafBytes)), 0, `at ${offset}`);
  }
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at]! ^= 1 << (at % 8);
  return copy;
}

/** All of the small objects; of a span the header, digests of both kinds, and places in each leaf. */
function placesIn(bytes: Uint8Array): number[] {
  if (bytes.length < 200) return [...bytes.keys()];
  const dense = Array.from({ length: 16 + 4 * 32 }, (_, at) => at);
  const sparse: number[] = [];
  for (let at = dense.length; at < bytes.length; at += 4001) sparse.push(at);
  return [...dense, ...sparse, bytes.length - 1];
}

for (const kind of ['root', 'node', 'span']) {
  test(`hashed ${kind}: any changed byte is refused`, async () => {
    for (const key of keysOf(kind)) {
      const bytes = sample.objects.get(key)!;
      for (const at of placesIn(bytes)) await assertRefused(`byte ${at}`, key, flipped(bytes, at));
    }
  });

  test(`hashed ${kind}: cut, extended and missing objects are refused`, async () => {
    for (const key of keysOf(kind)) {
      const bytes = sample.objects.get(key)!;
      const cuts = [0, 1, 15, 16, 17, 47, 63, bytes.length - leafBytes, bytes.length - 1];
      for (const length of new Set(cuts.filter((cut) => cut >= 0 && cut < bytes.length))) {
        await assertRefused(`cut to ${length}`, key, bytes.subarray(0, length));
      }
      for (const more of [1, 32, leafBytes]) {
        await assertRefused(`${more} more`, key, Buffer.concat([bytes, Buffer.alloc(more, 7)]));
        await assertRefused(`${more} zeros more`, key, Buffer.concat([bytes, Buffer.alloc(more)]));
      }
      await assertRefused('removal', key, undefined);
    }
  });

  test(`hashed ${kind}: another object in its place is refused`, async () => {
    for (const key of keysOf(kind)) {
      const others = [...sample.objects, ...stranger.objects].filter(([other]) => other !== key);
      for (const [other, bytes] of others) await assertRefused(`${other} in the place`, key, bytes);
    }
  });
}

test('leaves that change places within a span are refused', async () => {
  for (const key of keysOf('span')) {
    const bytes = sample.objects.get(key)!;
    const swapped = Uint8Array.from(bytes);
    const last = bytes.length - leafBytes;
    const first = bytes.length - 2 * leafBytes;
    if (first < 200) continue;
    swapped.copyWithin(first, last, last + leafBytes);
    swapped.set(bytes.subarray(first, first + leafBytes), last);
    await assertRefused('two leaves exchanged', key, swapped);
  }
});

test('an object that changes after it was opened and checked is refused, also a leaf that was read before', async () => {
  for (const change of ['leaf', 'cut'] as const) {
    const objects = new Map(sample.objects);
    const [key] = keysOf('span').filter(
      (candidate) => objects.get(candidate)!.length > spanBytes / 512 + 3 * leafBytes,
    );
    const bytes = Uint8Array.from(objects.get(key!)!);
    const store = await storeWith(objects);
    let isChanged = false;
    const open: Store['open'] = async (name) => {
      const reader = await store.open(name);
      if (name !== key) return reader;
      const read = (offset: number, length: number, target: { bytes: Uint8Array }, at: number): boolean => {
        if (isChanged && change === 'cut') throw new CaissonError('invalid', 'format-invalid', 'short');
        target.bytes.set(bytes.subarray(offset, offset + length), at);
        if (isChanged) target.bytes[at + 5]! ^= 1;
        return true;
      };
      const { size } = reader;
      return { size, tryRead: read, read: async (...range) => void read(...range), close: async () => undefined };
    };
    const volume = await openHashed(
      Object.assign(Object.create(store) as Store, { open, get: store.get.bind(store) }),
      sample.root,
    );
    const index = change === 'leaf' ? 0 : leafBytes;
    await readImage(volume, index, leafBytes);
    await readImage(volume, leafBytes - index, leafBytes); // the leaf read last is kept
    isChanged = true;
    await assert.rejects(
      async () => readImage(volume, index, leafBytes),
      (error) => error instanceof CaissonError && error.kind === 'integrity',
    );
  }
});

test('a cache on the way that holds something else is asked to forget, and the store decides', async () => {
  const store = await storeWith(sample.objects);
  let isStale = true;
  let forgotten = 0;
  const open: Store['open'] = async (name) => {
    const reader = await store.open(name);
    return {
      size: reader.size,
      tryRead: () => false,
      read: async (offset, length, target, at) => {
        await reader.read(offset, length, target, at);
        if (isStale) target.bytes[at + length - 1]! ^= 1;
      },
      forget: () => {
        forgotten++;
        isStale = false;
        return true;
      },
      close: () => reader.close(),
    };
  };
  const seen = Object.assign(Object.create(store) as Store, { open, get: store.get.bind(store) });
  const volume = await openHashed(seen, sample.root);
  assert.equal(Buffer.compare(await readImage(volume, 0, 100), sample.image.subarray(0, 100)), 0);
  isStale = true;
  assert.equal(
    Buffer.compare(await readImage(volume, leafBytes, 100), sample.image.subarray(leafBytes, leafBytes + 100)),
    0,
  );
  assert.ok(forgotten >= 2);
});
