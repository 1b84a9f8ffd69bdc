/**
 * Hashed images: changed parts decode to one form or are refused by name; a changed store gives the bytes
 * of the image or an integrity error, and never anything else.
 */
import assert from 'node:assert/strict';
import {
  decodeNode,
  decodeRootRecord,
  decodeSpanTable,
  encodeNode,
  encodeRootRecord,
  encodeSpanHeader,
  leafBytes,
} from '../../src/hashed/hashed-format.ts';
import { openHashed } from '../../src/hashed/hashed-volume.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { MemoryStore } from '../sim/memory-store.ts';
import { buildImage, imageSource, noise, readImage } from '../support/hashed-image.ts';
import { createHashed } from '../../src/hashed/hashed-builder.ts';
import { parseRoot } from '../../src/hashed/hashed-format.ts';
import { seededBytes, type SeededBytes } from './seeded.ts';
import { assertSame, fuzzVectors, mutated, type FuzzedVector } from './vector-mutation.ts';

const objectBytesMax = 2 ** 26;

export async function fuzz(seed: number, iterations: number): Promise<void> {
  fuzzVectors('hashed', ['format-invalid', 'format-version'], seed, iterations, decode);
  const random = seededBytes(seed);
  for (let count = Math.ceil(iterations / 100); count > 0; count--) await fuzzStore(random, seed);
}

function decode({ part, bytes }: FuzzedVector): void {
  if (part === 'root') return assertSame(encodeRootRecord(decodeRootRecord(bytes)), bytes);
  if (part === 'node') return assertSame(encodeNode(2, decodeNode(bytes, 2, 3)), bytes);
  const { digests, ranks, storedCount } = decodeSpanTable(bytes, 3);
  assert.equal(ranks.filter((rank) => rank >= 0).length, storedCount);
  assertSame(Buffer.concat([encodeSpanHeader(3, storedCount), digests]), bytes);
}

/** Two images share a store; some objects are changed, swapped or dropped, then everything is read. */
async function fuzzStore(random: SeededBytes, seed: number): Promise<void> {
  const store = new MemoryStore();
  const image = new Uint8Array((1 + random.below(6)) * leafBytes - random.below(5000));
  image.set(noise(random.below(2 ** 30), random.below(image.length)), 0);
  const { root } = await buildImage(store, image);
  const other = imageSource(2 ** 23 + leafBytes, [[2 ** 23 - 5, noise(1, 10)]]);
  const otherRoot = parseRoot((await createHashed(store, { source: other, random })).root);
  const keys: string[] = [];
  for await (const { key } of store.list('hashed/')) keys.push(key);
  for (let count = 1 + random.below(3); count > 0; count--) {
    const key = keys[random.below(keys.length)]!;
    const from = keys[random.below(keys.length)]!;
    const bytes = await store.get(random.below(4) === 0 ? from : key, objectBytesMax).catch(() => undefined);
    await store.remove(key);
    if (bytes !== undefined && random.below(8) > 0) await store.create(key, mutated(bytes, random));
  }
  await readAll(store, root, image, seed);
  const expected = new Uint8Array(2 ** 23 + leafBytes);
  expected.set(noise(1, 10), 2 ** 23 - 5);
  await readAll(store, otherRoot, expected, seed);
}

async function readAll(store: MemoryStore, root: Uint8Array, image: Uint8Array, seed: number): Promise<void> {
  try {
    const volume = await openHashed(store, root);
    const bytes = await readImage(volume, 0, volume.size);
    assert.equal(Buffer.compare(bytes.subarray(0, image.length), image), 0, `seed ${seed}: a wrong byte was read`);
  } catch (error) {
    const isNamed = error instanceof CaissonError && (error.kind === 'integrity' || error.code === 'volume-missing');
    assert.ok(isNamed, `seed ${seed}: ${String(error)}`);
  }
}
