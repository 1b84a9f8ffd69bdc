/**
 * A pipe as content: read once, front to back, whoever asks for pieces in whatever rhythm.
 *
 * Invariant: pieces are filled in the order in which they are asked for; what the stream holds back is
 * bounded by its own buffer, since nothing is taken from it before somebody asks.
 */
import type { Readable } from 'node:stream';
import type { ContentSource, Stretch } from '../../backup/content.ts';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import type { Region } from '../../lib/region.ts';

export class StreamContent implements ContentSource {
  readonly size: number | undefined;
  readonly #chunks: AsyncIterator<Uint8Array>;
  /** The program that feeds the pipe, if it is one: its failure explains an early end. */
  readonly #ended: Promise<void> | undefined;
  #rest: Uint8Array = new Uint8Array(0);
  #last: Promise<unknown> = Promise.resolve();

  constructor(stream: Readable, size: number | undefined, signal: AbortSignal | undefined, ended?: Promise<void>) {
    this.size = size;
    this.#ended = ended;
    // Iterating listens for errors from the first read on only. One that comes before, or after the last, would be
    // nobody's and end the process; the next read gets it all the same.
    stream.on('error', () => undefined);
    this.#chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
    const destroy = (): void => void stream.destroy(signal?.reason as Error);
    if (signal?.aborted === true) destroy();
    else signal?.addEventListener('abort', destroy, { once: true });
  }

  async nextData(offset: number): Promise<Stretch> {
    return { offset, length: (this.size ?? Number.MAX_SAFE_INTEGER) - offset };
  }

  read(_offset: number, length: number, target: Region): Promise<number> {
    const read = this.#last.then(() => this.#fill(target.bytes.subarray(0, length)));
    this.#last = read.catch(() => undefined);
    return read;
  }

  async #fill(target: Uint8Array): Promise<number> {
    let done = 0;
    while (done < target.length) {
      if (this.#rest.length === 0 && !(await this.#more())) break;
      const count = Math.min(this.#rest.length, target.length - done);
      target.set(this.#rest.subarray(0, count), done);
      this.#rest = this.#rest.subarray(count);
      done += count;
    }
    if (done < target.length) await this.#ended;
    return done;
  }

  async #more(): Promise<boolean> {
    try {
      const { value, done } = await this.#chunks.next();
      if (done === true) return false;
      this.#rest = value;
      return true;
    } catch (error) {
      if (error instanceof CaissonError) throw error;
      throw new CaissonError('io', 'store-io', `the pipe cannot be read: ${messageOf(error)}`, { cause: error });
    }
  }
}
