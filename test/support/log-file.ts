/** A release log in memory: what tests of its file and of its proofs begin with. */
import { signingKeyFromSeed } from '../../src/crypto/signature.ts';
import { writeLogFile } from '../../src/wire/log-file.ts';
import { Frontier, hashLeaf } from '../../src/wire/merkle.ts';
import type { NodeId } from '../../src/wire/merkle.ts';
import { encodeLeaf, signHead } from '../../src/wire/release-log.ts';
import type { LogEntry, SignedHead } from '../../src/wire/release-log.ts';

export const logKey = signingKeyFromSeed(new Uint8Array(32).fill(0x51));
export const otherLogKey = signingKeyFromSeed(new Uint8Array(32).fill(0x52));

export function entryAt(place: number): LogEntry {
  const kinds = ['release', 'refusal', 'anchor-advance'] as const;
  return {
    kind: kinds[place % 3]!,
    at: 1_790_000_000_000 + place,
    tenant: 'main',
    facts: { key: `key-${place}`, number: place, rules: ['pcr', 'debug'], granted: place % 3 === 0 },
  };
}

export class MemoryLog {
  readonly leaves: Uint8Array[] = [];
  readonly #nodes = new Map<string, Uint8Array>();
  readonly #frontier = new Frontier();

  constructor(size: number) {
    for (let place = 0; place < size; place++) this.append(entryAt(place));
  }

  append(entry: LogEntry): void {
    const leaf = encodeLeaf(entry, this.leaves.length);
    this.leaves.push(leaf);
    for (const { level, index, hash } of this.#frontier.append(hashLeaf(leaf)))
      this.#nodes.set(`${level} ${index}`, hash);
  }

  head(time = 1_790_000_100_000, key = logKey): SignedHead {
    return signHead(key, this.leaves.length, this.#frontier.root(), time);
  }

  readonly hashes = (ids: readonly NodeId[]): Promise<Uint8Array[]> =>
    Promise.resolve(ids.map(({ level, index }) => this.#nodes.get(`${level} ${index}`)!));

  async file(head = this.head()): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    const leaves = (from: number, count: number): Promise<{ bytes: Uint8Array }[]> =>
      Promise.resolve(this.leaves.slice(from, from + count).map((bytes) => ({ bytes })));
    for await (const piece of writeLogFile({ publicKey: logKey.publicKey, head, leaves })) pieces.push(piece);
    return new Uint8Array(Buffer.concat(pieces));
  }
}

/** In pieces of one size, so that lines are cut anywhere. */
export async function* inPieces(file: Uint8Array, bytes = file.length + 1): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < file.length; at += bytes) yield Promise.resolve(file.subarray(at, at + bytes));
}
