/**
 * Makes an image from any source of bytes: one pass, bounded memory, objects before what names them.
 *
 * Invariants: the root depends on the bytes of the source alone. An object that exists is not written
 * again, so that a build that was broken off goes on where it was, and images share what they have in
 * common. The record is written last: a root that exists leads to objects that exist.
 */
import { assert } from '../lib/assert.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { hashedUploadsMax, volumeBytesMax } from '../lib/limits.ts';
import type { Random } from '../lib/random.ts';
import { Region } from '../lib/region.ts';
import { hashedNodeKey, hashedRootKey, hashedSpanKey } from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import {
  digestBytes,
  domainBytes,
  encodeNode,
  encodeRootRecord,
  encodeSpanHeader,
  fanOut,
  formatRoot,
  headerBytes,
  isZero,
  leafBytes,
  leafDigestOf,
  nodeCount,
  nodeDigest,
  rootOf,
  spanBytes,
  spanDataStart,
  spanLevel,
  topLevelOf,
  zeroDigest,
} from './hashed-format.ts';
import { announceBuild } from './hashed-markers.ts';

/** What an image is made of. */
export interface ImageSource {
  /** Bytes, at least 1. */
  readonly size: number;
  /** The first stretch at or behind `offset` that may hold data; undefined when only zeros follow. */
  nextData(offset: number): { readonly offset: number; readonly length: number } | undefined;
  /** Fills the range or fails; never a short read. */
  read(offset: number, length: number, target: Region, targetOffset: number): Promise<void>;
  /** Fails when the source is not what it was when it was opened. */
  checkUnchanged(): Promise<void>;
}

export interface BuildOptions {
  readonly source: ImageSource;
  readonly random: Random;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number, unit: string) => void) | undefined;
}

export interface BuildReport {
  readonly root: string;
  readonly imageBytes: number;
  /** Content that is not zeros, in whole leaves. */
  readonly dataBytes: number;
  readonly objectsWritten: number;
  readonly bytesWritten: number;
  /** Objects that the store had already. */
  readonly objectsShared: number;
}

export async function createHashed(store: Store, options: BuildOptions): Promise<BuildReport> {
  const { source, random } = options;
  checkSize(source.size);
  const announcement = await announceBuild(store, random);
  try {
    return await new Builder(store, options).build();
  } finally {
    await announcement.withdraw();
  }
}

class Builder {
  readonly #store: Store;
  readonly #options: BuildOptions;
  readonly #size: number;
  readonly #topLevel: number;
  /** Digests of finished children, by the level of the node that will list them. */
  readonly #pending: Uint8Array[][] = [];
  /** The leaves of one span as they come, with room for a domain before the first. */
  readonly #input = new Region(domainBytes + spanBytes);
  readonly #outputs: Uint8Array[] = [];
  readonly #uploads = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;
  #dataLeaves = 0;
  #objectsWritten = 0;
  #bytesWritten = 0;
  #objectsShared = 0;

  constructor(store: Store, options: BuildOptions) {
    this.#store = store;
    this.#options = options;
    this.#size = options.source.size;
    this.#topLevel = topLevelOf(this.#size);
  }

  async build(): Promise<BuildReport> {
    const { source, onProgress, signal } = this.#options;
    let dataAt = 0;
    try {
      for (let offset = 0; offset < this.#size; offset += spanBytes) {
        const length = Math.min(spanBytes, this.#size - offset);
        signal?.throwIfAborted();
        if (dataAt <= offset) dataAt = source.nextData(offset)?.offset ?? this.#size;
        const isHole = dataAt >= offset + length;
        if (!isHole) await source.read(offset, length, this.#input, domainBytes);
        await this.#append(spanLevel + 1, isHole ? zeroDigest : await this.#span(length));
        this.#throwFailure();
        onProgress?.(offset + length, this.#size, 'bytes');
      }
      const top = await this.#finish();
      await this.#settle();
      await source.checkUnchanged();
      return await this.#writeRecord(top);
    } finally {
      await Promise.allSettled(this.#uploads);
    }
  }

  /** Takes the bytes in the input as a span; returns its digest while its object may still be on its way. */
  async #span(length: number): Promise<Uint8Array> {
    const leafCount = Math.ceil(length / leafBytes);
    const input = this.#input.bytes;
    input.fill(0, domainBytes + length, domainBytes + leafCount * leafBytes);
    if (isZero(input.subarray(domainBytes, domainBytes + length))) return zeroDigest;
    const output = await this.#takeOutput();
    const dataStart = spanDataStart(leafCount);
    const digests = output.subarray(headerBytes, dataStart);
    let stored = 0;
    for (let leaf = 0; leaf < leafCount; leaf++) {
      const start = leaf * leafBytes;
      const bytes = input.subarray(domainBytes + start, domainBytes + start + leafBytes);
      if (isZero(bytes)) {
        digests.set(zeroDigest, leaf * digestBytes);
        continue;
      }
      output.set(bytes, dataStart + stored * leafBytes);
      stored++;
      // The domain overwrites the end of the leaf before, which is in the output already.
      digests.set(leafDigestOf(input.subarray(start, start + domainBytes + leafBytes)), leaf * digestBytes);
    }
    output.set(encodeSpanHeader(leafCount, stored));
    this.#dataLeaves += stored;
    const digest = nodeDigest(spanLevel, digests);
    this.#upload(hashedSpanKey(digest), output, dataStart + stored * leafBytes);
    return digest;
  }

  /** A child of the next node of `level`; full nodes are written and become children themselves. */
  async #append(level: number, digest: Uint8Array): Promise<void> {
    const list = (this.#pending[level] ??= []);
    list.push(digest);
    if (list.length === fanOut && level <= this.#topLevel) await this.#closeNode(level);
  }

  async #closeNode(level: number): Promise<void> {
    const list = this.#pending[level]!;
    const digests = new Uint8Array(list.length * digestBytes);
    list.forEach((digest, index) => digests.set(digest, index * digestBytes));
    list.length = 0;
    const digest = nodeDigest(level, digests);
    if (digest !== zeroDigest) await this.#write(hashedNodeKey(digest), encodeNode(level, digests));
    await this.#append(level + 1, digest);
  }

  /** Closes what is begun, from below; returns the digest of the top node. */
  async #finish(): Promise<Uint8Array> {
    for (let level = spanLevel + 1; level <= this.#topLevel; level++) {
      if ((this.#pending[level]?.length ?? 0) > 0) await this.#closeNode(level);
    }
    const [top, ...rest] = this.#pending[this.#topLevel + 1] ?? [];
    assert(top !== undefined && rest.length === 0, 'a tree has one top');
    return top;
  }

  async #writeRecord(top: Uint8Array): Promise<BuildReport> {
    assert(this.#dataLeaves <= nodeCount(this.#size, 0), 'no more data leaves than leaves');
    const record = encodeRootRecord({ imageBytes: this.#size, dataLeaves: this.#dataLeaves, top });
    const root = rootOf(record);
    await this.#write(hashedRootKey(root), record);
    return {
      root: formatRoot(root),
      imageBytes: this.#size,
      dataBytes: this.#dataLeaves * leafBytes,
      objectsWritten: this.#objectsWritten,
      bytesWritten: this.#bytesWritten,
      objectsShared: this.#objectsShared,
    };
  }

  /** Waits until fewer than the most spans are on their way. */
  async #takeOutput(): Promise<Uint8Array> {
    while (this.#uploads.size >= hashedUploadsMax) await Promise.race(this.#uploads);
    this.#throwFailure();
    return this.#outputs.pop() ?? new Uint8Array(spanDataStart(fanOut) + spanBytes);
  }

  #upload(key: string, output: Uint8Array, length: number): void {
    const upload = this.#write(key, output.subarray(0, length))
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#uploads.delete(upload);
        this.#outputs.push(output);
      });
    this.#uploads.add(upload);
  }

  async #settle(): Promise<void> {
    await Promise.all(this.#uploads);
    this.#throwFailure();
  }

  async #write(key: string, bytes: Uint8Array): Promise<void> {
    const found = await sizeOf(this.#store, key);
    if (found === bytes.length) {
      this.#objectsShared++;
      return;
    }
    // What has the name and not the length was cut off by somebody: no reader could use it.
    if (found !== undefined) await this.#store.remove(key);
    try {
      await this.#store.create(key, bytes);
    } catch (error) {
      // Another build was quicker, or our own answer got lost: the name says what is in it.
      if (!isCaissonError(error, 'object-exists') || (await sizeOf(this.#store, key)) !== bytes.length) throw error;
      this.#objectsShared++;
      return;
    }
    this.#objectsWritten++;
    this.#bytesWritten += bytes.length;
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

async function sizeOf(store: Store, key: string): Promise<number | undefined> {
  try {
    return (await store.stat(key)).size;
  } catch (error) {
    if (isCaissonError(error, 'object-missing')) return undefined;
    throw error;
  }
}

function checkSize(size: number): void {
  if (size >= 1 && size <= volumeBytesMax) return;
  const message = size < 1 ? 'the source is empty' : `the source has ${size} bytes, more than an image may have`;
  throw new CaissonError('invalid', 'size-invalid', message, {
    remedy: `An image has 1 to ${volumeBytesMax} bytes.`,
    details: { size },
  });
}
