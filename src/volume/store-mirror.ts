/**
 * StoreMirror: creates objects of one store in another, several at one time, and checks each by its digest while it
 * passes by, so that a damaged source is noticed before anything rests on the copy.
 *
 * Invariants:
 * - An object that is in the target already counts as copied only when it has the right bytes; other bytes under its
 *   key end the work.
 * - What the volume gave up meanwhile may be missing; anything else that is missing is an error.
 * - What is under way is bounded in count and bytes, and `copy` returns only when nothing is under way any more.
 */
import { equalBytes, sha256, startDigest } from '../crypto/digest.ts';
import type { Clock } from '../lib/clock.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { moveBytesInFlightMax, moveObjectsInFlightMax, movePieceBytes, orphanKeysMax } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import { manifestBytesMax } from '../manifest/manifest-format.ts';
import { createExact } from '../manifest/manifest.ts';
import type { ObjectReader, Store } from '../store/store.ts';

export interface MirroredObject {
  readonly key: string;
  /** Undefined for a manifest, whose name says its digest and not its size. */
  readonly bytes: number | undefined;
  /** SHA-256, or its beginning as a manifest's name holds it. */
  readonly digest: Uint8Array;
  /** Whether the volume still names it. */
  readonly isNeeded: () => boolean;
}

export interface StoreMirrorOptions {
  readonly source: Store;
  readonly target: Store;
  readonly clock: Clock;
  readonly onCopied: (bytes: number) => void;
}

export class StoreMirror {
  copiedCount = 0;
  copiedBytes = 0;
  /** Found in the target with the right bytes: an earlier attempt had copied them. */
  presentCount = 0;
  readonly #options: StoreMirrorOptions;
  /** Keys in the target, true once their bytes were checked. */
  readonly #keys = new Map<string, boolean>();

  constructor(options: StoreMirrorOptions) {
    this.#options = options;
  }

  /** Notes what is in the target already. */
  async look(prefix: string): Promise<void> {
    for await (const { key } of this.#options.target.list(prefix)) {
      if (this.#keys.size >= orphanKeysMax) return;
      this.#keys.set(key, false);
    }
  }

  has(key: string): boolean {
    return this.#keys.get(key) === true;
  }

  /** Keys in the target of which this mirror knows. */
  keys(): Iterable<string> {
    return this.#keys.keys();
  }

  /** The first failure ends it; `signal` keeps the next object from being begun. */
  async copy(objects: readonly MirroredObject[], signal: AbortSignal): Promise<void> {
    const underWay = new Set<Promise<void>>();
    let bytesUnderWay = 0;
    let failure: { readonly error: unknown } | undefined;
    for (const object of objects) {
      if (this.has(object.key)) continue;
      const bytes = object.bytes ?? 0;
      while (
        underWay.size >= moveObjectsInFlightMax ||
        (underWay.size > 0 && bytesUnderWay + bytes > moveBytesInFlightMax)
      )
        await Promise.race(underWay);
      if (failure !== undefined || signal.aborted) break;
      bytesUnderWay += bytes;
      const copying = this.#copyOne(object)
        .catch((error: unknown) => {
          failure ??= { error };
        })
        .finally(() => {
          bytesUnderWay -= bytes;
          underWay.delete(copying);
        });
      underWay.add(copying);
    }
    while (underWay.size > 0) await Promise.race(underWay);
    if (failure !== undefined) throw failure.error;
    signal.throwIfAborted();
  }

  async #copyOne(object: MirroredObject): Promise<void> {
    const { target, onCopied } = this.#options;
    const { key } = object;
    if (this.#keys.has(key)) {
      await this.#checkPresent(object);
      this.presentCount++;
    } else {
      const bytes = await this.#read(object);
      if (bytes === undefined) return;
      await createExact(target, key, bytes);
      this.copiedCount++;
      this.copiedBytes += bytes.length;
    }
    this.#keys.set(key, true);
    onCopied(object.bytes ?? 0);
  }

  /** Undefined when the volume has given the object up meanwhile. */
  async #read(object: MirroredObject): Promise<Uint8Array | undefined> {
    const { source } = this.#options;
    try {
      const found = await this.#readFrom(source, object);
      if (found.isRight) return found.bytes;
    } catch (error) {
      if (!isCaissonError(error, 'object-missing')) throw error;
      if (!object.isNeeded()) return undefined;
      throw damaged(source, object.key, 'it is missing', error);
    }
    throw damaged(source, object.key, 'its digest is another');
  }

  async #checkPresent(object: MirroredObject): Promise<void> {
    const { target } = this.#options;
    const { isRight } = await this.#readFrom(target, object);
    if (isRight) return;
    throw new CaissonError(
      'integrity',
      'digest-mismatch',
      `${target.url} holds ${object.key} with other bytes than the volume's writer signed`,
      {
        remedy: 'The target was changed from outside. Remove that object there, or move to another store.',
        details: { object: object.key },
      },
    );
  }

  async #readFrom(
    store: Store,
    { key, bytes, digest }: MirroredObject,
  ): Promise<{ readonly bytes: Uint8Array; readonly isRight: boolean }> {
    if (bytes === undefined) {
      const content = await store.get(key, manifestBytesMax);
      return { bytes: content, isRight: equalBytes(sha256(content).subarray(0, digest.length), digest) };
    }
    const reader = await store.open(key);
    try {
      if (reader.size !== bytes) return { bytes: new Uint8Array(0), isRight: false };
      const content = await this.#readWhole(reader, bytes);
      if (equalBytes(content.digest, digest)) return { bytes: content.bytes, isRight: true };
      // A cache on the way may have gone bad: once more without it.
      if (reader.forget?.(0, bytes) !== true) return { bytes: content.bytes, isRight: false };
      const again = await this.#readWhole(reader, bytes);
      return { bytes: again.bytes, isRight: equalBytes(again.digest, digest) };
    } finally {
      await reader.close();
    }
  }

  async #readWhole(
    reader: ObjectReader,
    bytes: number,
  ): Promise<{ readonly bytes: Uint8Array; readonly digest: Uint8Array }> {
    const region = new Region(Math.max(bytes, 1));
    const digest = startDigest();
    for (let at = 0; at < bytes; at += movePieceBytes) {
      const count = Math.min(movePieceBytes, bytes - at);
      await reader.read(at, count, region, at);
      digest.update(region.bytes.subarray(at, at + count));
      await this.#options.clock.turn();
    }
    return { bytes: region.bytes.subarray(0, bytes), digest: digest.finish() };
  }
}

function damaged(source: Store, key: string, what: string, cause?: unknown): CaissonError {
  return new CaissonError(
    'integrity',
    'digest-mismatch',
    `${key} in ${source.url} is not what the volume's writer signed: ${what}`,
    {
      remedy: 'Run "caisson volume verify" and restore that object first; a damaged volume is not moved.',
      details: { object: key },
      cause,
    },
  );
}
