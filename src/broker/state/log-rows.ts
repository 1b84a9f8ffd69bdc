/** The frontier of the log as a value of a database, and questions about the log that both databases check alike. */
import { CaissonError } from '../../lib/errors.ts';
import { brokerLogLeavesMax } from '../../lib/limits.ts';
import { Frontier, onesOf, treeHashBytes } from '../../wire/merkle.ts';
import type { NodeId } from '../../wire/merkle.ts';
import { asBytes, asNumber, damagedRow } from './tables.ts';
import type { Value } from './tables.ts';

export function encodeFrontier(frontier: Frontier): Uint8Array {
  const encoded = new Uint8Array(frontier.hashes.length * treeHashBytes);
  for (const [index, hash] of frontier.hashes.entries()) encoded.set(hash, index * treeHashBytes);
  return encoded;
}

export function decodeFrontier(sizeValue: Value | undefined, bytesValue: Value | undefined): Frontier {
  const size = asNumber(sizeValue);
  const bytes = asBytes(bytesValue);
  const count = onesOf(size);
  if (bytes.length !== count * treeHashBytes)
    throw damagedRow(`${bytes.length} bytes as the frontier of ${size} leaves`);
  const hashes = Array.from({ length: count }, (_, index) =>
    bytes.subarray(index * treeHashBytes, (index + 1) * treeHashBytes),
  );
  return new Frontier(size, hashes);
}

/** How many leaves to give at most. */
export function checkLeafRange(from: number, count: number): number {
  if (!Number.isSafeInteger(from) || from < 0 || !Number.isSafeInteger(count) || count < 0)
    throw new CaissonError('invalid', 'argument-invalid', 'leaves are asked for by place and count');
  return Math.min(count, brokerLogLeavesMax);
}

export function checkNodeCount(ids: readonly NodeId[]): void {
  if (ids.length <= brokerLogLeavesMax) return;
  throw new CaissonError(
    'invalid',
    'limit-exceeded',
    `at most ${brokerLogLeavesMax} subtrees can be asked for at once`,
  );
}

export function nodeMissing({ level, index }: NodeId): CaissonError {
  return new CaissonError('invalid', 'range-outside', `the log has no complete subtree ${index} of level ${level}`, {
    remedy: 'Ask for proofs within the size of the log.',
    details: { level, index },
  });
}
