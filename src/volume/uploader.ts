/**
 * Uploader: sends finished segments to a store beyond this machine as they come, several at a time, so that
 * a FLUSH at level `remote` and the next manifest find most of them there already.
 *
 * Invariants: a segment is sent once its bytes are in its spool file, synced or not; one that was sent is an
 * object whether or not a manifest ever names it (recovery finds it by its chain); the first failure stays with its
 * segment, and whoever waits for that segment hears of it.
 */
import { uploadsInFlightMax } from '../lib/limits.ts';
import type { Spool, SpoolEntry } from '../spool/spool.ts';

export class Uploader {
  readonly #spool: Spool;
  /** Not yet sent, oldest first. */
  readonly #uploads = new Set<Promise<void>>();
  readonly #waiting: (() => void)[] = [];
  #inFlight = 0;
  #pendingBytes = 0;

  constructor(spool: Spool) {
    this.#spool = spool;
  }

  /** Of segments that are on their way or wait for it. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Takes a finished segment of `bytes`, which `send` makes an object; resolves once it is one. */
  add(entry: SpoolEntry, bytes: number, send: () => Promise<void>): Promise<void> {
    const done = this.#upload(entry, send);
    this.#uploads.add(done);
    this.#pendingBytes += bytes;
    done.then(
      () => {
        this.#uploads.delete(done);
        this.#pendingBytes -= bytes;
      },
      () => (this.#pendingBytes -= bytes), // kept among the uploads: whoever waits for all must hear of it
    );
    return done;
  }

  /** Resolves when every segment taken before the call is an object. */
  async all(): Promise<void> {
    await Promise.all(this.#uploads);
  }

  /** Resolves when the oldest upload has ended, well or not; undefined when there is none. */
  next(): Promise<void> | undefined {
    for (const done of this.#uploads) return done.catch(() => undefined);
    return undefined;
  }

  async #upload(entry: SpoolEntry, send: () => Promise<void>): Promise<void> {
    while (this.#inFlight >= uploadsInFlightMax) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#inFlight++;
    try {
      await this.#spool.written(entry);
      await send();
    } finally {
      this.#inFlight--;
      this.#waiting.shift()?.();
    }
  }
}
