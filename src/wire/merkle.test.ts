import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { toHex } from '../lib/hex.ts';
import {
  buildProof,
  emptyRoot,
  Frontier,
  frontierNodes,
  hashLeaf,
  hashNode,
  planConsistency,
  planInclusion,
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from './merkle.ts';
import type { NodeId } from './merkle.ts';

const sizeMax = 66;
const leaves = Array.from({ length: sizeMax }, (_, index) => hashLeaf(Uint8Array.of(index, index * 7)));

/** The definition, word for word, by nothing but node:crypto. */
function naiveRoot(hashes: readonly Uint8Array[]): Uint8Array {
  if (hashes.length === 0) return createHash('sha256').digest();
  if (hashes.length === 1) return hashes[0]!;
  let split = 1;
  while (split * 2 < hashes.length) split *= 2;
  return createHash('sha256')
    .update(Uint8Array.of(1))
    .update(naiveRoot(hashes.slice(0, split)))
    .update(naiveRoot(hashes.slice(split)))
    .digest();
}

function naiveInclusion(index: number, hashes: readonly Uint8Array[]): Uint8Array[] {
  if (hashes.length === 1) return [];
  let split = 1;
  while (split * 2 < hashes.length) split *= 2;
  const left = hashes.slice(0, split);
  const right = hashes.slice(split);
  return index < split
    ? [...naiveInclusion(index, left), naiveRoot(right)]
    : [...naiveInclusion(index - split, right), naiveRoot(left)];
}

function naiveConsistency(first: number, hashes: readonly Uint8Array[], isWhole = true): Uint8Array[] {
  if (first === hashes.length) return isWhole ? [] : [naiveRoot(hashes)];
  let split = 1;
  while (split * 2 < hashes.length) split *= 2;
  const left = hashes.slice(0, split);
  const right = hashes.slice(split);
  return first <= split
    ? [...naiveConsistency(first, left, isWhole), naiveRoot(right)]
    : [...naiveConsistency(first - split, right, false), naiveRoot(left)];
}

const texts = (hashes: readonly Uint8Array[]): string[] => hashes.map(toHex);
const stored = new Map<string, Uint8Array>();
const full = new Frontier();
for (const leaf of leaves) {
  for (const { level, index, hash } of full.append(leaf)) stored.set(`${level} ${index}`, hash);
}

function nodes(ids: readonly NodeId[]): Promise<Uint8Array[]> {
  return Promise.resolve(
    ids.map(({ level, index }) => {
      const hash = stored.get(`${level} ${index}`);
      assert.ok(hash, `node ${level} ${index} is stored`);
      return hash;
    }),
  );
}

test('the constants are those of RFC 6962', () => {
  assert.equal(toHex(emptyRoot), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  assert.equal(toHex(hashLeaf(new Uint8Array(0))), '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d');
  assert.deepEqual(hashNode(leaves[0]!, leaves[1]!), new Uint8Array(naiveRoot(leaves.slice(0, 2))));
});

test('the frontier and stored subtrees have the root of the definition at every size', async () => {
  const frontier = new Frontier();
  for (let size = 0; size <= sizeMax; size++) {
    const wanted = toHex(naiveRoot(leaves.slice(0, size)));
    assert.equal(toHex(frontier.root()), wanted, `size ${size}`);
    assert.equal(toHex(await rootOf(size, nodes)), wanted, `size ${size}`);
    const again = new Frontier(size, await nodes(frontierNodes(size)));
    assert.equal(toHex(again.root()), wanted, `size ${size}`);
    if (size < sizeMax) frontier.append(leaves[size]!);
  }
});

test('a copied frontier grows by itself', () => {
  const copy = full.copy();
  copy.append(leaves[0]!);
  assert.equal(full.size, sizeMax);
  assert.equal(copy.size, sizeMax + 1);
});

test('a frontier of another size than its hashes is refused', () => {
  assert.throws(() => new Frontier(3, [leaves[0]!]), { code: 'assertion-failed' });
});

test('inclusion proofs are those of the definition and verify, at every place of every size', async () => {
  for (let size = 1; size <= sizeMax; size++) {
    const root = naiveRoot(leaves.slice(0, size));
    for (let index = 0; index < size; index++) {
      const proof = await buildProof(planInclusion(index, size), nodes);
      assert.deepEqual(texts(proof), texts(naiveInclusion(index, leaves.slice(0, size))), `${index} of ${size}`);
      assert.ok(verifyInclusion(leaves[index]!, index, size, proof, root), `${index} of ${size}`);
    }
  }
});

test('consistency proofs are those of the definition and verify, between any two sizes', async () => {
  for (let second = 1; second <= sizeMax; second++) {
    const later = { size: second, root: naiveRoot(leaves.slice(0, second)) };
    for (let first = 1; first <= second; first++) {
      const proof = await buildProof(planConsistency(first, second), nodes);
      const earlier = { size: first, root: naiveRoot(leaves.slice(0, first)) };
      assert.deepEqual(texts(proof), texts(naiveConsistency(first, leaves.slice(0, second))), `${first} ${second}`);
      assert.ok(verifyConsistency(earlier, later, proof), `${first} ${second}`);
    }
  }
});

test('an empty log is consistent with any later one, and a wrong empty root is not', () => {
  const later = { size: 5, root: naiveRoot(leaves.slice(0, 5)) };
  assert.ok(verifyConsistency({ size: 0, root: emptyRoot }, later, []));
  assert.ok(!verifyConsistency({ size: 0, root: leaves[0]! }, later, []));
  assert.ok(!verifyConsistency({ size: 0, root: emptyRoot }, later, [leaves[0]!]));
});

test('no change of an inclusion proof verifies', async () => {
  for (const size of [1, 2, 3, 7, 8, 13, 64, 66]) {
    const root = naiveRoot(leaves.slice(0, size));
    for (let index = 0; index < size; index++) {
      const proof = await buildProof(planInclusion(index, size), nodes);
      const leaf = leaves[index]!;
      const where = `${index} of ${size}`;
      assert.ok(!verifyInclusion(leaves[(index + 1) % sizeMax]!, index, size, proof, root), `other leaf, ${where}`);
      assert.ok(!verifyInclusion(leaf, index, size, [...proof, root], root), `longer, ${where}`);
      if (proof.length > 0) assert.ok(!verifyInclusion(leaf, index, size, proof.slice(1), root), `shorter, ${where}`);
      for (let step = 0; step < proof.length; step++) {
        assert.ok(!verifyInclusion(leaf, index, size, proof.with(step, flipped(proof[step]!)), root), `step, ${where}`);
      }
      for (let other = 0; other < size; other++)
        if (other !== index) assert.ok(!verifyInclusion(leaf, other, size, proof, root), `as ${other}, ${where}`);
      assert.ok(!verifyInclusion(leaf, index, size, proof, flipped(root)), `other root, ${where}`);
    }
  }
});

test('no change of a consistency proof verifies', async () => {
  for (const [first, second] of [
    [1, 2],
    [3, 7],
    [4, 7],
    [6, 8],
    [8, 13],
    [33, 66],
    [64, 65],
  ] as const) {
    const earlier = { size: first, root: naiveRoot(leaves.slice(0, first)) };
    const later = { size: second, root: naiveRoot(leaves.slice(0, second)) };
    const proof = await buildProof(planConsistency(first, second), nodes);
    const where = `${first} to ${second}`;
    assert.ok(!verifyConsistency({ ...earlier, root: flipped(earlier.root) }, later, proof), `earlier, ${where}`);
    assert.ok(!verifyConsistency(earlier, { ...later, root: flipped(later.root) }, proof), `later, ${where}`);
    assert.ok(!verifyConsistency(earlier, later, [...proof, later.root]), `longer, ${where}`);
    assert.ok(!verifyConsistency(earlier, later, proof.slice(1)), `shorter, ${where}`);
    assert.ok(!verifyConsistency(earlier, later, []), `none, ${where}`);
    for (let step = 0; step < proof.length; step++)
      assert.ok(!verifyConsistency(earlier, later, proof.with(step, flipped(proof[step]!))), `step ${step}, ${where}`);
  }
});

test('numbers that are no sizes, and hashes that are none, are refused', () => {
  const [leaf] = leaves;
  for (const wrong of [-1, 0.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY]) {
    assert.ok(!verifyInclusion(leaf!, wrong, 1, [], leaf!));
    assert.ok(!verifyInclusion(leaf!, 0, wrong, [], leaf!));
    assert.ok(!verifyConsistency({ size: wrong, root: leaf! }, { size: 1, root: leaf! }, []));
    assert.ok(!verifyConsistency({ size: 1, root: leaf! }, { size: wrong, root: leaf! }, []));
  }
  assert.ok(!verifyInclusion(leaf!, 1, 1, [], leaf!));
  assert.ok(!verifyInclusion(leaf!, 0, 2, [leaf!.subarray(1)], naiveRoot(leaves.slice(0, 2))));
  assert.ok(!verifyConsistency({ size: 3, root: leaf! }, { size: 2, root: leaf! }, []));
});

test('sizes beyond 32 bits have plans of the right length', () => {
  const size = 2 ** 52 + 2 ** 33 + 1;
  assert.equal(planInclusion(size - 1, size).length, 2);
  assert.equal(planInclusion(0, size).length, 53);
  assert.deepEqual(frontierNodes(size), [
    { level: 52, index: 0 },
    { level: 33, index: 2 ** 19 },
    { level: 0, index: 2 ** 52 + 2 ** 33 },
  ]);
});

function flipped(hash: Uint8Array): Uint8Array {
  return hash.with(7, hash[7]! ^ 0x10);
}
