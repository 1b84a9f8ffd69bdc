/**
 * Verifying an image: every object it needs is read and every leaf hashed, and what only a faulty
 * writer makes is refused too. Needs the root alone; changes nothing; goes on after a finding.
 */
import { CaissonError, messageOf } from '../lib/errors.ts';
import { hashedFindingsMax } from '../lib/limits.ts';
import { hashedRootKey, hashedSpanKey } from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import { damaged, namedFor } from './hashed-errors.ts';
import {
  childCount,
  decodeSpanTable,
  digestBytes,
  domainBytes,
  fanOut,
  formatRoot,
  headerBytes,
  isDigestAt,
  isZero,
  leafBytes,
  leafDigestOf,
  nodeDigest,
  spanBytes,
  spanDataStart,
  spanLevel,
  spanObjectBytesMax,
  topLevelOf,
} from './hashed-format.ts';
import type { RootRecord } from './hashed-format.ts';
import { readNode, readRootRecord } from './hashed-tree.ts';

export interface HashedFinding {
  readonly code: string;
  readonly object: string;
  readonly message: string;
}

export interface HashedVerifyReport {
  readonly root: string;
  readonly imageBytes: number;
  readonly objectsChecked: number;
  readonly objectBytes: number;
  readonly leavesChecked: number;
  /** Empty means sound; at most `hashedFindingsMax` are listed. */
  readonly findings: readonly HashedFinding[];
}

export interface HashedVerifyOptions {
  readonly onProgress?: ((done: number, total: number, unit: string) => void) | undefined;
}

/** Throws when the store holds no such image, and when the store itself fails; what is damaged is a finding. */
export async function verifyHashed(
  store: Store,
  root: Uint8Array,
  options: HashedVerifyOptions = {},
): Promise<HashedVerifyReport> {
  const verification = new Verification(store, root, options);
  return verification.run();
}

class Verification {
  readonly #store: Store;
  readonly #root: Uint8Array;
  readonly #options: HashedVerifyOptions;
  readonly #findings: HashedFinding[] = [];
  readonly #work = new Uint8Array(domainBytes + leafBytes);
  #objectsChecked = 0;
  #objectBytes = 0;
  #leavesChecked = 0;
  #dataLeaves = 0;

  constructor(store: Store, root: Uint8Array, options: HashedVerifyOptions) {
    this.#store = store;
    this.#root = root;
    this.#options = options;
  }

  async run(): Promise<HashedVerifyReport> {
    const key = hashedRootKey(this.#root);
    const record = await this.#attempt(key, () => readRootRecord(this.#store, this.#root));
    if (record !== undefined) {
      this.#count((await this.#store.stat(key)).size);
      await this.#descend(record, topLevelOf(record.imageBytes), 0, record.top);
      if (this.#findings.length === 0 && this.#dataLeaves !== record.dataLeaves) {
        const message = `the record says ${record.dataLeaves} leaves with data, there are ${this.#dataLeaves}`;
        this.#add(damaged('format-invalid', key, message), key);
      }
    }
    return {
      root: formatRoot(this.#root),
      imageBytes: record?.imageBytes ?? 0,
      objectsChecked: this.#objectsChecked,
      objectBytes: this.#objectBytes,
      leavesChecked: this.#leavesChecked,
      findings: this.#findings,
    };
  }

  async #descend(record: RootRecord, level: number, index: number, digest: Uint8Array): Promise<void> {
    if (isZero(digest)) return;
    const children = childCount(record.imageBytes, level, index);
    if (level === spanLevel) {
      await this.#checkSpan(record, index, children, digest);
      const done = Math.min(record.imageBytes, (index + 1) * spanBytes);
      this.#options.onProgress?.(done, record.imageBytes, 'bytes');
      return;
    }
    const digests = await this.#attempt(`level ${level}`, () => readNode(this.#store, digest, level, children));
    if (digests === undefined) return;
    this.#count(headerBytes + digests.length);
    for (let child = 0; child < children; child++) {
      const at = child * digestBytes;
      await this.#descend(record, level - 1, index * fanOut + child, digests.subarray(at, at + digestBytes));
    }
  }

  async #checkSpan(record: RootRecord, index: number, leafCount: number, digest: Uint8Array): Promise<void> {
    const key = hashedSpanKey(digest);
    await this.#attempt(key, async () => {
      const bytes = await this.#store.get(key, spanObjectBytesMax);
      const dataStart = spanDataStart(leafCount);
      if (bytes.length < dataStart) throw damaged('format-invalid', key, `${key} has only ${bytes.length} bytes`);
      const { digests, ranks, storedCount } = decodeSpanTable(bytes.subarray(0, dataStart), leafCount);
      if (!isDigestAt(nodeDigest(spanLevel, digests), 0, digest)) {
        throw damaged('digest-mismatch', key, `the digests in ${key} are not those that the tree names`);
      }
      if (bytes.length !== dataStart + storedCount * leafBytes) {
        throw damaged('format-invalid', key, `${key} has ${bytes.length} bytes, its digests say otherwise`);
      }
      this.#count(bytes.length);
      this.#dataLeaves += storedCount;
      for (let leaf = 0; leaf < leafCount; leaf++) {
        const rank = ranks[leaf]!;
        if (rank < 0) continue;
        const start = dataStart + rank * leafBytes;
        this.#checkLeaf(
          record,
          index * spanBytes + leaf * leafBytes,
          digests,
          leaf,
          bytes.subarray(start, start + leafBytes),
          key,
        );
      }
    });
  }

  #checkLeaf(
    record: RootRecord,
    offset: number,
    digests: Uint8Array,
    leaf: number,
    bytes: Uint8Array,
    key: string,
  ): void {
    this.#leavesChecked++;
    this.#work.set(bytes, domainBytes);
    if (!isDigestAt(digests, leaf * digestBytes, leafDigestOf(this.#work))) {
      this.#add(
        damaged('digest-mismatch', key, `the 16 KiB at ${offset} of the image are not what the root names`),
        key,
      );
      return;
    }
    const end = record.imageBytes - offset;
    if (isZero(bytes) || (end < leafBytes && !isZero(bytes.subarray(end)))) {
      this.#add(
        damaged('format-invalid', key, `the 16 KiB at ${offset} of the image are stored as no writer should`),
        key,
      );
    }
  }

  #count(bytes: number): void {
    this.#objectsChecked++;
    this.#objectBytes += bytes;
  }

  /** Runs a step; what is damaged becomes a finding, a store that fails is thrown. */
  async #attempt<Value>(object: string, step: () => Promise<Value>): Promise<Value | undefined> {
    try {
      return await step();
    } catch (error) {
      const named = namedFor(error, object);
      if (!(named instanceof CaissonError) || named.kind !== 'integrity') throw named;
      this.#add(named, object);
      return undefined;
    }
  }

  #add(error: CaissonError, object: string): void {
    const named = error.details['object'];
    if (this.#findings.length >= hashedFindingsMax) return;
    this.#findings.push({
      code: error.code,
      object: typeof named === 'string' ? named : object,
      message: messageOf(error),
    });
  }
}
