/**
 * Replies without data, now or when the device is done, and the count of what is in flight.
 *
 * The cookie of a request that waits is kept in a slot. Invariants: each slot is answered once and
 * then free; late answers of one turn of the event loop leave in one write; after `close` slots
 * settle silently.
 */
import { assert } from '../../lib/assert.ts';
import { nbdInFlightCountMax } from '../../lib/limits.ts';
import type { Completion } from '../block-device.ts';
import type { NbdMetrics } from './metrics.ts';
import { Errno, errnoOf } from './nbd-errors.ts';
import type { Replies } from './replies.ts';
import * as format from './request-format.ts';

export interface AnswersOptions {
  readonly replies: Replies;
  readonly structuredReplies: boolean;
  readonly metrics: NbdMetrics;
  readonly logFailure: (command: number, errno: number, error: unknown) => void;
  /** Late answers were handed to the socket. */
  readonly answeredLate: () => void;
}

/** An error chunk is the longest reply without data. */
const answerBytesMax = format.chunkHeaderBytes + 6;

export class Answers {
  /** By slot; read it only while the slot is kept. */
  readonly cookies = new Uint8Array(nbdInFlightCountMax * format.cookieBytes);
  readonly #options: AnswersOptions;
  readonly #replies: Replies;
  /** A stack: from `#slotsUsed` on, the free slots. */
  readonly #slots = Uint16Array.from({ length: nbdInFlightCountMax }, (_, index) => index);
  #slotsUsed = 0;
  #inFlight = 0;
  #flushScheduled = false;
  #closed = false;
  readonly #flush = (): void => {
    this.#flushScheduled = false;
    if (this.#closed) return;
    this.#replies.flush();
    this.#options.answeredLate();
  };

  constructor(options: AnswersOptions) {
    this.#options = options;
    this.#replies = options.replies;
  }

  /** Requests that wait: for the device, or for the rest of a payload. */
  get inFlight(): number {
    return this.#inFlight;
  }

  close(): void {
    this.#closed = true;
  }

  /** The one place where a reply without data is made. */
  now(cookie: Uint8Array, cookieAt: number, command: number, errno: number, error?: unknown): void {
    const at = this.#replies.reserve(answerBytesMax);
    const bytes = this.#replies.region.bytes;
    if (errno === Errno.NONE || !this.#options.structuredReplies) {
      this.#replies.commit(format.writeSimpleReply(bytes, at, errno, cookie, cookieAt));
    } else {
      const after = format.writeChunkHeader(bytes, at, format.ChunkType.ERROR, 6, cookie, cookieAt);
      format.writeUint32(bytes, after, errno);
      format.writeUint16(bytes, after + 4, 0);
      this.#replies.commit(after + 6);
    }
    if (errno === Errno.NONE) return;
    this.#options.metrics.countError(command);
    this.#options.logFailure(command, errno, error);
  }

  fail(cookie: Uint8Array, cookieAt: number, command: number, error: unknown): void {
    this.now(cookie, cookieAt, command, errnoOf(error, command), error);
  }

  /** Answers now, or when the device is done. */
  settle(completion: Completion, cookie: Uint8Array, cookieAt: number, command: number): void {
    if (completion === undefined) this.now(cookie, cookieAt, command, Errno.NONE);
    else this.settleLater(completion, this.keep(cookie, cookieAt), command);
  }

  settleLater(completion: Promise<void>, slot: number, command: number): void {
    completion.then(
      () => this.later(slot, command, Errno.NONE),
      (error: unknown) => this.failLater(slot, command, error),
    );
  }

  later(slot: number, command: number, errno: number, error?: unknown): void {
    if (!this.#closed) this.now(this.cookies, slot * format.cookieBytes, command, errno, error);
    this.free(slot);
    this.flushLater();
  }

  failLater(slot: number, command: number, error: unknown): void {
    this.later(slot, command, errnoOf(error, command), error);
  }

  /** Copies the cookie into a slot; the request counts as in flight until the slot is free. */
  keep(cookie: Uint8Array, cookieAt: number): number {
    assert(this.#slotsUsed < nbdInFlightCountMax, 'requests in flight are bounded');
    const slot = this.#slots[this.#slotsUsed]!;
    this.#slotsUsed += 1;
    this.#inFlight += 1;
    format.copyCookie(cookie, cookieAt, this.cookies, slot * format.cookieBytes);
    return slot;
  }

  free(slot: number): void {
    this.#inFlight -= 1;
    this.#slotsUsed -= 1;
    this.#slots[this.#slotsUsed] = slot;
  }

  /** A request whose cookie is kept elsewhere (in the head of its reply) is in flight. */
  begin(): void {
    this.#inFlight += 1;
  }

  end(): void {
    this.#inFlight -= 1;
  }

  /** Late answers of one turn of the event loop leave together. */
  flushLater(): void {
    if (this.#flushScheduled || this.#closed) return;
    this.#flushScheduled = true;
    setImmediate(this.#flush);
  }
}
