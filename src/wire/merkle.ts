/**
 * The Merkle tree of the release log. Spec: spec/release-log.md, "Tree". Pure: hashes in, hashes out.
 *
 * Invariants:
 * - A complete subtree never changes; it is named by level and index and stored once.
 * - `Frontier` holds the roots of the largest complete subtrees from left to right: one for each 1 in the
 *   binary form of its size, so at most 53 hashes stand for a log of any length.
 * - Sizes reach beyond 2^32: halving is a division, never a shift.
 */
import { assert } from '../lib/assert.ts';
import { equalBytes, sha256Of } from '../crypto/digest.ts';

export const treeHashBytes = 32;
/** A tree of 2^53 leaves has proofs of fewer; the verifier stops here whatever it is given. */
export const proofHashesMax = 64;

/** A complete subtree: 2^level leaves from index * 2^level on. */
export interface NodeId {
  readonly level: number;
  readonly index: number;
}

export interface TreeNode extends NodeId {
  readonly hash: Uint8Array;
}

export const emptyRoot = sha256Of(new Uint8Array(0));

export function hashLeaf(leaf: Uint8Array): Uint8Array {
  const input = new Uint8Array(1 + leaf.length);
  input.set(leaf, 1);
  return sha256Of(input);
}

export function hashNode(left: Uint8Array, right: Uint8Array): Uint8Array {
  const input = new Uint8Array(1 + 2 * treeHashBytes);
  input[0] = 1;
  input.set(left, 1);
  input.set(right, 1 + treeHashBytes);
  return sha256Of(input);
}

export class Frontier {
  #size: number;
  readonly #hashes: Uint8Array[];

  constructor(size = 0, hashes: readonly Uint8Array[] = []) {
    assert(hashes.length === onesOf(size), `a tree of ${size} leaves has ${onesOf(size)} largest subtrees`);
    this.#size = size;
    this.#hashes = [...hashes];
  }

  get size(): number {
    return this.#size;
  }

  /** From the largest to the smallest subtree. */
  get hashes(): readonly Uint8Array[] {
    return this.#hashes;
  }

  /** Adds one leaf and gives the subtrees that it completed, the leaf itself first. */
  append(leafHash: Uint8Array): TreeNode[] {
    const completed: TreeNode[] = [{ level: 0, index: this.#size, hash: leafHash }];
    let hash = leafHash;
    let index = this.#size;
    for (let level = 1; index % 2 === 1; level++) {
      const left = this.#hashes.pop();
      assert(left !== undefined, 'a right child has a left one');
      hash = hashNode(left, hash);
      index = (index - 1) / 2;
      completed.push({ level, index, hash });
    }
    this.#hashes.push(hash);
    this.#size++;
    return completed;
  }

  root(): Uint8Array {
    return foldSubtrees(this.#hashes);
  }

  copy(): Frontier {
    return new Frontier(this.#size, this.#hashes);
  }
}

/** The complete subtrees whose roots are the frontier of a tree with `size` leaves. */
export function frontierNodes(size: number): NodeId[] {
  return subtreesOf(0, size);
}

/** What a proof is made of: each step is the root over some complete subtrees. */
export type ProofPlan = readonly (readonly NodeId[])[];

/** RFC 9162, section 2.1.3.1, from the leaf up. */
export function planInclusion(index: number, size: number): ProofPlan {
  assert(index >= 0 && index < size, `leaf ${index} of a tree of ${size}`);
  const steps: NodeId[][] = [];
  let begin = 0;
  let end = size;
  while (end - begin > 1) {
    const middle = begin + splitOf(end - begin);
    const isLeft = index < middle;
    steps.push(isLeft ? subtreesOf(middle, end) : subtreesOf(begin, middle));
    if (isLeft) end = middle;
    else begin = middle;
  }
  return steps.toReversed();
}

/** RFC 9162, section 2.1.4.1. Empty from size 0 and between equal sizes. */
export function planConsistency(first: number, second: number): ProofPlan {
  assert(first >= 0 && first <= second, `from a tree of ${first} to one of ${second}`);
  if (first === 0 || first === second) return [];
  const steps: NodeId[][] = [];
  let begin = 0;
  let end = second;
  // As long as the earlier tree ends inside this range, the earlier root is not this range's root.
  let isWholeTree = true;
  while (first !== end) {
    const middle = begin + splitOf(end - begin);
    if (first <= middle) {
      steps.push(subtreesOf(middle, end));
      end = middle;
    } else {
      steps.push(subtreesOf(begin, middle));
      begin = middle;
      isWholeTree = false;
    }
  }
  if (!isWholeTree) steps.push(subtreesOf(begin, end));
  return steps.toReversed();
}

/** The hashes of a proof; `hashes` answers in the order of the ids that it is asked for. */
export async function buildProof(
  plan: ProofPlan,
  hashes: (ids: readonly NodeId[]) => Promise<readonly Uint8Array[]>,
): Promise<Uint8Array[]> {
  const found = await hashes(plan.flat());
  const proof: Uint8Array[] = [];
  let at = 0;
  for (const step of plan) {
    proof.push(foldSubtrees(found.slice(at, at + step.length)));
    at += step.length;
  }
  return proof;
}

/** The root of the first `size` leaves from stored subtrees. */
export async function rootOf(
  size: number,
  hashes: (ids: readonly NodeId[]) => Promise<readonly Uint8Array[]>,
): Promise<Uint8Array> {
  return foldSubtrees(await hashes(frontierNodes(size)));
}

/** RFC 9162, section 2.1.3.2. False for whatever is not the proof. */
export function verifyInclusion(
  leafHash: Uint8Array,
  index: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!isCount(index) || !isCount(size) || index >= size || !isProof(proof)) return false;
  let place = index;
  let last = size - 1;
  let hash = leafHash;
  for (const step of proof) {
    if (last === 0) return false;
    if (place % 2 === 1 || place === last) {
      hash = hashNode(step, hash);
      while (place % 2 === 0 && place !== 0) {
        place = half(place);
        last = half(last);
      }
    } else {
      hash = hashNode(hash, step);
    }
    place = half(place);
    last = half(last);
  }
  return last === 0 && equalBytes(hash, root);
}

/** RFC 9162, section 2.1.4.2. */
export function verifyConsistency(
  first: { readonly size: number; readonly root: Uint8Array },
  second: { readonly size: number; readonly root: Uint8Array },
  proof: readonly Uint8Array[],
): boolean {
  if (!isCount(first.size) || !isCount(second.size) || first.size > second.size || !isProof(proof)) return false;
  if (first.size === 0) return proof.length === 0 && equalBytes(first.root, emptyRoot);
  if (first.size === second.size) return proof.length === 0 && equalBytes(first.root, second.root);
  let place = first.size - 1;
  let last = second.size - 1;
  while (place % 2 === 1) {
    place = half(place);
    last = half(last);
  }
  // Where the earlier tree is a complete subtree of the later one, its root is not in the proof.
  const [seed, ...steps] = place === 0 ? [first.root, ...proof] : proof;
  if (seed === undefined) return false;
  let earlier = seed;
  let later = seed;
  for (const step of steps) {
    if (last === 0) return false;
    if (place % 2 === 1 || place === last) {
      earlier = hashNode(step, earlier);
      later = hashNode(step, later);
      while (place % 2 === 0 && place !== 0) {
        place = half(place);
        last = half(last);
      }
    } else {
      later = hashNode(later, step);
    }
    place = half(place);
    last = half(last);
  }
  return last === 0 && equalBytes(earlier, first.root) && equalBytes(later, second.root);
}

/** The complete subtrees from `begin` to `end`, largest first; `begin` is where a subtree of the tree begins. */
function subtreesOf(begin: number, end: number): NodeId[] {
  const nodes: NodeId[] = [];
  let at = begin;
  while (at < end) {
    let level = 0;
    let leaves = 1;
    while (leaves * 2 <= end - at) {
      leaves *= 2;
      level++;
    }
    assert(at % leaves === 0, 'a subtree begins at a multiple of its size');
    nodes.push({ level, index: at / leaves });
    at += leaves;
  }
  return nodes;
}

function foldSubtrees(hashes: readonly Uint8Array[]): Uint8Array {
  let root = hashes.at(-1);
  if (root === undefined) return emptyRoot;
  for (let index = hashes.length - 2; index >= 0; index--) root = hashNode(hashes[index]!, root);
  return root;
}

/** The largest power of two below `size`. */
function splitOf(size: number): number {
  let split = 1;
  while (split * 2 < size) split *= 2;
  return split;
}

export function onesOf(size: number): number {
  let ones = 0;
  for (let rest = size; rest > 0; rest = half(rest)) ones += rest % 2;
  return ones;
}

function half(value: number): number {
  return Math.floor(value / 2);
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function isProof(proof: readonly Uint8Array[]): boolean {
  return proof.length <= proofHashesMax && proof.every(({ length }) => length === treeHashBytes);
}
