/**
 * Changed copies of a release log, changed proofs and changed heads: nothing but what was written verifies, and
 * everything else is refused by name.
 */
import assert from 'node:assert/strict';
import { decodeFileHead, encodeFileHead } from '../../src/broker/heads/file-head-anchor.ts';
import { decodeHeadBody, encodeHeadBody } from '../../src/broker/heads/peer-heads.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { verifyLogFile } from '../../src/wire/log-file.ts';
import { checkProof, encodeConsistencyProof, encodeInclusionProof } from '../../src/wire/log-proof.ts';
import { buildProof, planConsistency, planInclusion } from '../../src/wire/merkle.ts';
import { decodeHead, decodeLeaf, encodeHead, encodeLeaf } from '../../src/wire/release-log.ts';
import type { LogEntry } from '../../src/wire/release-log.ts';
import { inPieces, logKey, MemoryLog } from '../support/log-file.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

const refusals = new Set(['log-tampered', 'format-invalid', 'format-version', 'anchor-tampered']);
const sizeMax = 9;

export async function fuzz(seed: number, iterations: number): Promise<void> {
  const random = seededBytes(seed);
  const log = new MemoryLog(random.below(sizeMax));
  const head = log.head();
  const size = log.leaves.length;
  const files: [string, Uint8Array, (bytes: Uint8Array) => unknown][] = [
    [
      'copy',
      await log.file(),
      async (bytes) => {
        const verified = await verifyLogFile(inPieces(bytes, 1 + random.below(300)));
        assert.deepEqual(verified.head, head);
      },
    ],
    ['head', encodeHead(head), (bytes) => assert.deepEqual(encodeHead(decodeHead(bytes)), bytes)],
    ['file head', encodeFileHead(head), (bytes) => assert.deepEqual(encodeFileHead(decodeFileHead(bytes, 'f')), bytes)],
    ['peer head', encodeHeadBody(logKey.publicKey, head), (bytes) => decodeHeadBody(bytes)],
  ];
  if (size > 0) {
    const index = random.below(size);
    const inclusion = await buildProof(planInclusion(index, size), log.hashes);
    const consistency = await buildProof(planConsistency(index, size), log.hashes);
    const first = new MemoryLog(index).head();
    files.push(
      [
        'inclusion',
        encodeInclusionProof(logKey.publicKey, head, log.leaves[index]!, inclusion),
        (bytes) => checkProof(bytes),
      ],
      ['consistency', encodeConsistencyProof(logKey.publicKey, first, head, consistency), (bytes) => checkProof(bytes)],
      [
        'leaf',
        log.leaves[index]!,
        (bytes) => {
          const { index: place, ...entry } = decodeLeaf(bytes);
          assert.deepEqual(encodeLeaf(entry as LogEntry, place), bytes);
        },
      ],
    );
  }
  // A changed head or leaf may be another valid one, and a head may stand in a copy twice; what is signed stays.
  const canBeOther = new Set(['copy', 'head', 'file head', 'leaf']);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const [name, original, read] = files[random.below(files.length)]!;
    const bytes = mutated(original, random);
    const where = `seed ${seed} iteration ${iteration}: ${name}`;
    const isSame = Buffer.compare(trimmed(bytes), trimmed(original)) === 0;
    try {
      await read(bytes);
      assert.ok(isSame || canBeOther.has(name), `${where} verified although it was changed`);
    } catch (error) {
      assert.ok(error instanceof CaissonError && refusals.has(error.code), `${where}: ${String(error)}`);
    }
  }
}

/** A line feed at the end of a proof is no change. */
function trimmed(bytes: Uint8Array): Uint8Array {
  return bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
}

function mutated(original: Uint8Array, random: SeededBytes): Uint8Array {
  const at = random.below(original.length);
  switch (random.below(7)) {
    case 0:
      return original.subarray(0, at);
    case 1:
      return Uint8Array.from([...original, random.below(256)]);
    case 2:
      return Uint8Array.from([...original.subarray(0, at), random.below(256), ...original.subarray(at)]);
    case 3:
      return Uint8Array.from([...original.subarray(0, at), ...original.subarray(at + 1)]);
    case 4: {
      // A whole line goes, or comes twice.
      const lines = new TextDecoder().decode(original).split('\n');
      const line = random.below(lines.length);
      return new TextEncoder().encode(
        lines.toSpliced(line, random.below(2), ...(random.below(2) ? [lines[line]!] : [])).join('\n'),
      );
    }
    case 5:
      return original.with(at, 0x30 + random.below(10));
    default:
      return original.with(at, original[at]! ^ (1 << random.below(8)));
  }
}
