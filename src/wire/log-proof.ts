/**
 * Proofs about the release log that travel by themselves. Spec: spec/release-log.md, "Proof files".
 * Pure: bytes in, a checked proof or `log-tampered` out.
 */
import { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { logProofBytesMax } from '../lib/limits.ts';
import { equalBytes } from '../crypto/digest.ts';
import { publicKeyBytes } from '../crypto/signature.ts';
import { hashLeaf, proofHashesMax, treeHashBytes, verifyConsistency, verifyInclusion } from './merkle.ts';
import {
  decodeCanonical,
  decodeLeaf,
  encodeCanonical,
  headToJson,
  invalid,
  isHeadSignedBy,
  members,
  readBytes,
  readEntry,
  readHead,
} from './release-log.ts';
import type { LoggedEntry, SignedHead } from './release-log.ts';

export interface InclusionProof {
  readonly kind: 'inclusion';
  readonly publicKey: Uint8Array;
  readonly head: SignedHead;
  readonly entry: LoggedEntry;
}

export interface ConsistencyProof {
  readonly kind: 'consistency';
  readonly publicKey: Uint8Array;
  readonly first: SignedHead;
  readonly second: SignedHead;
}

const inclusionFormat = 'caisson-log-inclusion-1';
const consistencyFormat = 'caisson-log-consistency-1';

export function encodeInclusionProof(
  publicKey: Uint8Array,
  head: SignedHead,
  leaf: Uint8Array,
  proof: readonly Uint8Array[],
): Uint8Array {
  return encodeCanonical({
    format: inclusionFormat,
    head: headToJson(head),
    key: toHex(publicKey),
    leaf: decodeLeaf(leaf),
    proof: proof.map(toHex),
  });
}

export function encodeConsistencyProof(
  publicKey: Uint8Array,
  first: SignedHead,
  second: SignedHead,
  proof: readonly Uint8Array[],
): Uint8Array {
  return encodeCanonical({
    first: headToJson(first),
    format: consistencyFormat,
    key: toHex(publicKey),
    proof: proof.map(toHex),
    second: headToJson(second),
  });
}

/** Checks everything that the file claims; `wantedKey` is the key that the log must have. */
export function checkProof(bytes: Uint8Array, wantedKey?: Uint8Array): InclusionProof | ConsistencyProof {
  if (bytes.length > logProofBytesMax) throw invalid(`a proof has at most ${logProofBytesMax} bytes`);
  const value = decodeCanonical(trimLineFeed(bytes));
  const { format } = typeof value === 'object' && value !== null ? (value as { format?: unknown }) : {};
  const proof =
    format === inclusionFormat
      ? readInclusion(value)
      : format === consistencyFormat
        ? readConsistency(value)
        : undefined;
  if (proof === undefined) throw invalid('it is not a proof');
  if (wantedKey !== undefined && !equalBytes(wantedKey, proof.publicKey))
    throw untrue('it is of the log of another key');
  return proof;
}

function readInclusion(value: unknown): InclusionProof {
  const read = members(value, ['format', 'head', 'key', 'leaf', 'proof'], 'the proof');
  const publicKey = readBytes(read.key, publicKeyBytes, 'the key');
  const head = readHead(read.head);
  const entry = readEntry(read.leaf);
  const hashes = readHashes(read.proof);
  if (!isHeadSignedBy(publicKey, head)) throw untrue('the signature of the head does not hold');
  const leafHash = hashLeaf(encodeCanonical(read.leaf));
  if (!verifyInclusion(leafHash, entry.index, head.size, hashes, head.root))
    throw untrue(`the head does not contain this entry at place ${entry.index}`);
  return { kind: 'inclusion', publicKey, head, entry };
}

function readConsistency(value: unknown): ConsistencyProof {
  const read = members(value, ['first', 'format', 'key', 'proof', 'second'], 'the proof');
  const publicKey = readBytes(read.key, publicKeyBytes, 'the key');
  const first = readHead(read.first);
  const second = readHead(read.second);
  const hashes = readHashes(read.proof);
  if (!isHeadSignedBy(publicKey, first) || !isHeadSignedBy(publicKey, second))
    throw untrue('the signature of a head does not hold');
  if (!verifyConsistency(first, second, hashes)) throw untrue('the later head does not continue the earlier one');
  return { kind: 'consistency', publicKey, first, second };
}

function readHashes(value: unknown): Uint8Array[] {
  if (!Array.isArray(value) || value.length > proofHashesMax)
    throw invalid('the hashes of a proof are not a list of them');
  return value.map((hash) => readBytes(hash, treeHashBytes, 'a hash'));
}

function untrue(reason: string): CaissonError {
  return new CaissonError('integrity', 'log-tampered', `the proof does not hold: ${reason}`, {
    remedy: 'Keep this proof and what you compared it with: together they show what was claimed.',
  });
}

/** Editors end a file with a line feed. */
function trimLineFeed(bytes: Uint8Array): Uint8Array {
  return bytes.at(-1) === 0x0a ? bytes.subarray(0, bytes.length - 1) : bytes;
}
