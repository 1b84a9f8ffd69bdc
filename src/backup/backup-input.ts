/**
 * A backup stream as it arrives: whole pieces of known length, with a running digest.
 *
 * Invariant: nothing is handed out that did not arrive; a stream that stops is `backup-ended-early`, whatever
 * was about to come.
 */
import { startDigest } from '../crypto/digest.ts';
import { CaissonError } from '../lib/errors.ts';
import { contentPieceBytes } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import type { ContentSource } from './content.ts';

export class BackupInput {
  /** Bytes handed out. */
  position = 0;
  readonly #source: ContentSource;
  readonly #signal: AbortSignal | undefined;
  readonly #digest = startDigest();
  /** One piece is being taken while the next is read. */
  readonly #regions = [new Region(contentPieceBytes), new Region(contentPieceBytes)] as const;
  #offset = 0;
  #turn = 0;
  #ahead: Promise<number> | undefined;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(source: ContentSource, signal: AbortSignal | undefined) {
    this.#source = source;
    this.#signal = signal;
  }

  get size(): number | undefined {
    return this.#source.size;
  }

  /** The next `length` bytes, in memory of their own; with `isHashed` they enter the running digest. */
  async take(length: number, isHashed = true): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      if (this.#rest.length === 0 && !(await this.#more())) throw endedEarly(this.position + done);
      const part = this.#rest.subarray(0, Math.min(this.#rest.length, length - done));
      bytes.set(part, done);
      this.#rest = this.#rest.subarray(part.length);
      done += part.length;
    }
    if (isHashed) this.#digest.update(bytes);
    this.position += length;
    return bytes;
  }

  async isAtEnd(): Promise<boolean> {
    return this.#rest.length === 0 && !(await this.#more());
  }

  finishDigest(): Uint8Array {
    return this.#digest.finish();
  }

  /** To be called before the source is closed. */
  async settle(): Promise<void> {
    await this.#ahead?.catch(() => undefined);
  }

  async #more(): Promise<boolean> {
    this.#signal?.throwIfAborted();
    const region = this.#regions[this.#turn % 2]!;
    const count = await (this.#ahead ?? this.#readAhead(region));
    this.#rest = region.bytes.subarray(0, count);
    this.#turn++;
    this.#ahead = count === region.length ? this.#readAhead(this.#regions[this.#turn % 2]!) : Promise.resolve(0);
    return count > 0;
  }

  #readAhead(region: Region): Promise<number> {
    const read = this.#source.read(this.#offset, region.length, region);
    this.#offset += region.length;
    read.catch(() => undefined); // met in its turn
    return read;
  }
}

function endedEarly(bytes: number): CaissonError {
  return new CaissonError('io', 'backup-ended-early', `the backup ends after ${bytes} bytes, before it is whole`, {
    remedy:
      'Nothing in the store has changed for anybody. Bring the whole backup, and repeat the command: what arrived is skipped.',
    details: { bytes },
  });
}
