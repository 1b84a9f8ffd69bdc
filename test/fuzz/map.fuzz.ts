/** Changed map pages: every reference that gets through names an object of the right kind, all else is refused by name. */
import assert from 'node:assert/strict';
import {
  checkLeaf,
  checkUsage,
  decodeDirectoryPage,
  decodeRoot,
  encodeRoot,
  leafBytes,
  locationSlot,
  Reference,
  usageBytes,
  Where,
} from '../../src/block-map/map-format.ts';
import { assertSame, fuzzVectors, type FuzzedVector } from './vector-mutation.ts';

const isSegment = (index: number): boolean => index === 0 || index === 1;
const isMapObject = (index: number): boolean => index === 2 || index === 3;

export function fuzz(seed: number, iterations: number): void {
  fuzzVectors('map', ['format-invalid'], seed, iterations, decode);
}

function decode({ part, bytes }: FuzzedVector): void {
  if (part === 'leaf') return decodeLeaf(bytes);
  if (part === 'usage') return decodeUsage(bytes);
  if (part === 'directory') {
    return decodeDirectoryPage(bytes, isMapObject, (_, object) => {
      assert.ok(isMapObject(object) || object === Reference.hole || object === Reference.zero);
    });
  }
  const root = decodeRoot(bytes, isMapObject);
  assertSame(encodeRoot(root.blockCount, root.references), bytes);
}

/** A leaf is given to the check with its length right: the loader reads exactly one. */
function decodeLeaf(bytes: Uint8Array): void {
  const page = new Uint8Array(leafBytes);
  page.set(bytes.subarray(0, leafBytes));
  const words = new Uint32Array(page.buffer);
  checkLeaf(words, isSegment);
  for (let at = 0; at < words.length; at += 2) {
    const where = words[at]!;
    assert.ok(where === Where.hole || where === Where.zero || isSegment(where - 1));
    assert.ok(locationSlot(words[at + 1]!) < 2 ** 24);
  }
}

/** The same with the counters of a usage page. */
function decodeUsage(bytes: Uint8Array): void {
  const page = new Uint8Array(usageBytes);
  page.set(bytes.subarray(0, usageBytes));
  const counts = new Uint32Array(page.buffer);
  checkUsage(counts, 0, isSegment);
  for (const [index, count] of counts.entries()) assert.ok(count === 0 || isSegment(index));
}
