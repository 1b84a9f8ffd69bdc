/**
 * HashedTree: the digests of an image, checked from the root down and kept in a bounded cache.
 *
 * Invariants: a table is in the cache only after it hashed to the digest that its parent, checked
 * before, or the root record states for its place. What a header says was compared with the shape that
 * the record fixes. A span in use is not evicted and its reader is not closed.
 */
import { assert } from '../lib/assert.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { hashedReadersMax, hashedTableBytesMax } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import { hashedNodeKey, hashedRootKey, hashedSpanKey } from '../store/paths.ts';
import type { ObjectReader, Store } from '../store/store.ts';
import { damaged, namedFor } from './hashed-errors.ts';
import {
  childCount,
  decodeNode,
  decodeRootRecord,
  decodeSpanTable,
  digestBytes,
  fanOut,
  formatRoot,
  isDigestAt,
  isZero,
  leafBytes,
  nodeDigest,
  nodeObjectBytesMax,
  rootOf,
  rootRecordBytes,
  spanDataStart,
  spanLevel,
  tableBytes,
  topLevelOf,
  zeroDigest,
} from './hashed-format.ts';
import type { RootRecord } from './hashed-format.ts';

/** A span whose digests were checked. */
export interface Span {
  readonly index: number;
  readonly key: string;
  readonly digests: Uint8Array;
  /** By leaf: its place among the stored ones, or -1 for zeros. */
  readonly ranks: Int16Array;
  readonly dataStart: number;
  readonly objectBytes: number;
  /** Undefined while the object is not open; `open` opens it again. */
  reader: ObjectReader | undefined;
  /** Reads in flight. */
  pins: number;
  used: boolean;
}

interface Node {
  readonly digests: Uint8Array;
  used: boolean;
}

/** The record of an image, checked against its root. */
export async function readRootRecord(store: Store, root: Uint8Array): Promise<RootRecord> {
  const key = hashedRootKey(root);
  let bytes: Uint8Array;
  try {
    // Room for the record of another version, which is longer at most by a little.
    bytes = await store.get(key, rootRecordBytes * 64);
  } catch (error) {
    if (!isCaissonError(error, 'object-missing')) throw namedFor(error, key);
    throw new CaissonError(
      'invalid',
      'volume-missing',
      `${store.url} holds no image with the root ${formatRoot(root)}`,
      {
        remedy: 'Check the store and the root; make the image there with "caisson volume create --protection hashed".',
        cause: error,
      },
    );
  }
  if (!isDigestAt(rootOf(bytes), 0, root)) {
    throw damaged('digest-mismatch', key, `${key} is not the record of the root ${formatRoot(root)}`);
  }
  return decodeRootRecord(bytes);
}

export interface HashedTreeOptions {
  readonly tableBytesMax?: number;
  readonly readersMax?: number;
}

export class HashedTree {
  readonly record: RootRecord;
  readonly topLevel: number;
  /** Tables fetched and checked so far. */
  tablesLoaded = 0;
  readonly #store: Store;
  readonly #tablesMax: number;
  readonly #readersMax: number;
  /** Level 2 and above, by `nodeKey`; in order of arrival, for eviction. */
  readonly #nodes = new Map<number, Node>();
  readonly #spans = new Map<number, Span>();
  readonly #open = new Set<Span>();
  readonly #loading = new Map<number, Promise<void>>();

  constructor(store: Store, record: RootRecord, options: HashedTreeOptions = {}) {
    this.#store = store;
    this.record = record;
    this.topLevel = topLevelOf(record.imageBytes);
    this.#tablesMax = Math.max(1, Math.floor((options.tableBytesMax ?? hashedTableBytesMax) / tableBytes));
    this.#readersMax = Math.max(1, options.readersMax ?? hashedReadersMax);
  }

  get cachedTables(): number {
    return this.#nodes.size + this.#spans.size;
  }

  /** The span if it is known, null for one of zeros, undefined when `prepare` must fetch what tells. */
  span(index: number): Span | null | undefined {
    const span = this.#spans.get(index);
    if (span !== undefined) {
      span.used = true;
      return span;
    }
    const digest = this.#digest(spanLevel, index);
    return digest !== undefined && isZero(digest) ? null : undefined;
  }

  /** Fetches and checks one more table on the way to span `index`; `span` says whether another is needed. */
  async prepare(index: number): Promise<void> {
    for (let level = this.topLevel; level > spanLevel; level--) {
      const nodeIndex = Math.floor(index / fanOut ** (level - spanLevel));
      if (this.#nodes.has(nodeKey(level, nodeIndex))) continue;
      const digest = this.#digest(level, nodeIndex);
      // Evicted meanwhile: the caller asks again.
      if (digest === undefined || isZero(digest)) return;
      return this.#once(level, nodeIndex, () => this.#loadNode(level, nodeIndex, digest));
    }
    const digest = this.#digest(spanLevel, index);
    if (digest === undefined || isZero(digest) || this.#spans.has(index)) return;
    await this.#once(spanLevel, index, () => this.#loadSpan(index, digest));
  }

  /** Opens the object of a span again. */
  async open(span: Span): Promise<void> {
    if (span.reader !== undefined) return;
    await this.#once(0, span.index, async () => {
      const reader = await this.#openObject(span.key);
      if (reader.size !== span.objectBytes) {
        await reader.close();
        throw wrongSize(span.key, reader.size, span.objectBytes);
      }
      span.reader = reader;
      this.#keepReader(span);
    });
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#loading.values());
    const closes = [...this.#open].map(async (span) => span.reader?.close());
    for (const span of this.#open) span.reader = undefined;
    this.#open.clear();
    this.#spans.clear();
    this.#nodes.clear();
    await Promise.allSettled(closes);
  }

  /** What the checked parent, or the record, states; undefined when the parent is not in the cache. */
  #digest(level: number, index: number): Uint8Array | undefined {
    if (level === this.topLevel) return this.record.top;
    const parentIndex = Math.floor(index / fanOut);
    const parent = this.#nodes.get(nodeKey(level + 1, parentIndex));
    if (parent !== undefined) {
      parent.used = true;
      const at = (index % fanOut) * digestBytes;
      return parent.digests.subarray(at, at + digestBytes);
    }
    const above = this.#digest(level + 1, parentIndex);
    return above !== undefined && isZero(above) ? zeroDigest : undefined;
  }

  async #loadNode(level: number, index: number, digest: Uint8Array): Promise<void> {
    const digests = await readNode(this.#store, digest, level, childCount(this.record.imageBytes, level, index));
    this.tablesLoaded++;
    this.#nodes.set(nodeKey(level, index), { digests, used: true });
    this.#evict();
  }

  async #loadSpan(index: number, digest: Uint8Array): Promise<void> {
    const key = hashedSpanKey(digest);
    const leafCount = childCount(this.record.imageBytes, spanLevel, index);
    const reader = await this.#openObject(key);
    try {
      const span = await readSpan(reader, key, index, leafCount, digest);
      this.tablesLoaded++;
      this.#spans.set(index, span);
      this.#keepReader(span);
    } catch (error) {
      await reader.close();
      throw error;
    }
    this.#evict();
  }

  async #openObject(key: string): Promise<ObjectReader> {
    try {
      return await this.#store.open(key);
    } catch (error) {
      throw namedFor(error, key);
    }
  }

  /** Who wants what another is fetching already waits for that. */
  #once(level: number, index: number, load: () => Promise<void>): Promise<void> {
    const key = nodeKey(level, index);
    let loading = this.#loading.get(key);
    if (loading === undefined) {
      loading = load().finally(() => this.#loading.delete(key));
      this.#loading.set(key, loading);
    }
    return loading;
  }

  /** Second chance: what was used since it was last looked at stays one round longer. */
  #evict(): void {
    const { size } = this.#spans;
    for (let steps = 2 * size; this.cachedTables > this.#tablesMax && this.#spans.size > 1 && steps > 0; steps--) {
      const [index, span] = this.#spans.entries().next().value!;
      this.#spans.delete(index);
      if (span.used || span.pins > 0) {
        span.used = false;
        this.#spans.set(index, span);
      } else this.#closeReader(span);
    }
    for (
      let steps = 2 * this.#nodes.size;
      this.cachedTables > this.#tablesMax && this.#nodes.size > this.topLevel && steps > 0;
      steps--
    ) {
      const [key, node] = this.#nodes.entries().next().value!;
      this.#nodes.delete(key);
      if (!node.used) continue;
      node.used = false;
      this.#nodes.set(key, node);
    }
  }

  #keepReader(span: Span): void {
    this.#open.add(span);
    for (const other of this.#open) {
      if (this.#open.size <= this.#readersMax) break;
      if (other !== span && other.pins === 0) this.#closeReader(other);
    }
  }

  #closeReader(span: Span): void {
    this.#open.delete(span);
    // A close that fails loses nothing: the object was only read.
    span.reader?.close().catch(() => undefined);
    span.reader = undefined;
  }
}

/** The digests in a node of level 2 or above, checked. */
export async function readNode(store: Store, digest: Uint8Array, level: number, children: number): Promise<Uint8Array> {
  const key = hashedNodeKey(digest);
  try {
    const digests = decodeNode(await store.get(key, nodeObjectBytesMax), level, children);
    if (isDigestAt(nodeDigest(level, digests), 0, digest)) return digests;
  } catch (error) {
    throw namedFor(error, key);
  }
  throw damaged('digest-mismatch', key, `${key} is not the node that the tree names`);
}

async function readSpan(
  reader: ObjectReader,
  key: string,
  index: number,
  leafCount: number,
  digest: Uint8Array,
): Promise<Span> {
  const dataStart = spanDataStart(leafCount);
  const region = new Region(dataStart);
  const load = async (): Promise<Omit<Span, 'reader' | 'pins' | 'used'>> => {
    if (!reader.tryRead(0, dataStart, region, 0)) await reader.read(0, dataStart, region, 0);
    const { digests, ranks, storedCount } = decodeSpanTable(region.bytes, leafCount);
    if (!isDigestAt(nodeDigest(spanLevel, digests), 0, digest)) {
      throw damaged('digest-mismatch', key, `the digests in ${key} are not those that the tree names`);
    }
    const objectBytes = dataStart + storedCount * leafBytes;
    if (reader.size !== objectBytes) throw wrongSize(key, reader.size, objectBytes);
    return { index, key, digests, ranks, dataStart, objectBytes };
  };
  try {
    const table = await load().catch((error: unknown) => {
      // A cache on the way may hold something else than the store does.
      if (reader.forget?.(0, dataStart) !== true) throw error;
      return load();
    });
    return { ...table, reader, pins: 0, used: true };
  } catch (error) {
    throw namedFor(error, key);
  }
}

function wrongSize(key: string, found: number, expected: number): CaissonError {
  return damaged('format-invalid', key, `${key} has ${found} bytes, its digests say ${expected}`);
}

/** One number for level and index: an image has less than 2^34 leaves. */
function nodeKey(level: number, index: number): number {
  assert(index < 2 ** 40, `index ${index}`);
  return level * 2 ** 40 + index;
}
