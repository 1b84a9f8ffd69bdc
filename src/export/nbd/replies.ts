/**
 * The replies of one connection on their way out: appended to one buffer, sent in one write per batch.
 *
 * Invariants: what was committed leaves in the order of the commits; bytes that were reserved but
 * not committed never leave (that is how a reply header is taken back when the read fails); a buffer
 * is not touched again while the socket or a device still uses it.
 */
import { assert } from '../../lib/assert.ts';
import { nbdReplyBytes, nbdSocketWriteBytesMax, nbdWholeRequestBytesMax } from '../../lib/limits.ts';
import type { Region } from '../../lib/region.ts';
import { smallReplyBytesMax, type ReplyBuffer, type ReplyPool } from './reply-pool.ts';

/** What replies need of a socket. */
export interface ReplySink {
  /** `done` is called once, when the bytes may be overwritten. */
  write(bytes: Buffer, done: () => void): void;
  /** Bytes that were written and not yet taken by the system. */
  readonly unsentBytes: number;
}

/** A reply whose place is reserved and whose payload comes later. */
export interface ReplySlot {
  readonly buffer: ReplyBuffer;
  readonly start: number;
  readonly end: number;
}

export class Replies {
  readonly #sink: ReplySink;
  readonly #pool: ReplyPool;
  readonly #onSent: () => void;
  #current: ReplyBuffer | undefined;
  #hasBase = false;
  /** Buffers with unfinished writes, in the order of the writes, one entry per write. */
  #sending: ReplyBuffer[] = [];
  #sendsBegun = 0;
  #sendsDone = 0;
  #callbackCount = 0;
  /** Bytes promised to slots that are not complete. */
  #promisedBytes = 0;
  /** Bytes handed to the socket since the start. */
  #sentBytes = 0;
  #closed = false;
  readonly #finishSend = (): void => {
    // A send that the system took at once was counted as done before its callback came.
    this.#callbackCount += 1;
    this.#sendsDone = Math.max(this.#sendsDone, this.#callbackCount);
    this.#reap();
    this.#onSent();
  };

  constructor(sink: ReplySink, pool: ReplyPool, onSent: () => void) {
    this.#sink = sink;
    this.#pool = pool;
    this.#onSent = onSent;
  }

  /** Reply bytes that the client has not taken, or that a device still owes. */
  get outstandingBytes(): number {
    return this.#sink.unsentBytes + this.#promisedBytes;
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** The region that `reserve` speaks of; it may change with each `reserve`. */
  get region(): Region {
    return this.#current!.region;
  }

  /** Makes room for `bytes` and returns where they start in `region`, or -1 when the pool has none now (never for a small one). */
  reserve(bytes: number): number {
    const current = this.#current;
    if (current !== undefined && current.region.length - current.length >= bytes) return current.length;
    return this.#reserveElsewhere(bytes);
  }

  /** The bytes up to `end` of `region` are replies and may leave. */
  commit(end: number): void {
    this.#current!.length = end;
  }

  /** What was reserved from `start` to `end` is still being filled: everything else goes on without it. */
  detach(start: number, end: number): ReplySlot {
    const buffer = this.#current!;
    this.#sendCommitted(buffer);
    this.#current = undefined;
    // The owner's hold becomes the slot's.
    this.#promisedBytes += end - start;
    return { buffer, start, end };
  }

  /** A place of its own for a reply of `bytes` that will probably come later; undefined as for `reserve`. */
  reserveSlot(bytes: number): ReplySlot | undefined {
    const buffer = this.#pool.take(bytes);
    if (buffer === undefined) return undefined;
    this.#promisedBytes += bytes;
    return { buffer, start: 0, end: bytes };
  }

  /** The slot is filled: its bytes may leave. */
  complete(slot: ReplySlot): void {
    const { buffer, start, end } = slot;
    const length = end - start;
    this.#promisedBytes -= length;
    if (this.#closed) {
      this.#drop(buffer);
      return;
    }
    // Small replies join the batch: a copy is cheaper than a write of their own.
    const at = length <= nbdWholeRequestBytesMax ? this.reserve(length) : -1;
    if (at >= 0) {
      this.region.bytes.set(buffer.region.bytes.subarray(start, end), at);
      this.commit(at + length);
    } else {
      this.flush();
      this.#send(buffer, start, end);
    }
    this.#drop(buffer);
  }

  /** The slot will not be filled; the caller answers in another way. */
  abandon(slot: ReplySlot): void {
    this.#promisedBytes -= slot.end - slot.start;
    this.#drop(slot.buffer);
  }

  /** Hands everything committed to the socket. */
  flush(): void {
    const current = this.#current;
    if (current === undefined || current.length === current.sent) return;
    this.#sendCommitted(current);
    if (this.#sink.unsentBytes === 0) {
      this.#sendsDone = this.#sendsBegun;
      this.#reap();
    }
    if (current.holds === 1 && current.region.length <= nbdReplyBytes * 2) {
      current.length = 0;
      current.sent = 0;
      return;
    }
    // Still being sent, or larger than a batch needs: the next replies get another buffer.
    this.#retire(current);
  }

  /** Nothing leaves any more. Buffers that a device still fills stay held until their slots settle. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#current !== undefined) this.#retire(this.#current);
    this.#sendsDone = this.#sendsBegun;
    this.#reap();
  }

  #reserveElsewhere(bytes: number): number {
    const current = this.#current;
    if (current !== undefined) {
      this.flush();
      if (this.#current !== undefined && this.#current.region.length - this.#current.length >= bytes)
        return this.#current.length;
      if (this.#current !== undefined) this.#retire(this.#current);
    }
    const next = this.#take(bytes);
    if (next === undefined) return -1;
    if (next.base) this.#hasBase = true;
    this.#current = next;
    return 0;
  }

  #take(bytes: number): ReplyBuffer | undefined {
    if (bytes <= nbdReplyBytes && !this.#hasBase) return this.#pool.takeBase();
    const buffer = this.#pool.take(Math.max(bytes, nbdReplyBytes));
    return buffer === undefined && bytes <= smallReplyBytesMax ? this.#pool.takeSmall(bytes) : buffer;
  }

  #retire(buffer: ReplyBuffer): void {
    assert(this.#current === buffer, 'only the current reply buffer is retired');
    this.#current = undefined;
    this.#drop(buffer);
  }

  #drop(buffer: ReplyBuffer): void {
    if (buffer.holds === 1 && buffer.base) this.#hasBase = false;
    this.#pool.release(buffer);
  }

  #sendCommitted(buffer: ReplyBuffer): void {
    const start = buffer.sent;
    buffer.sent = buffer.length;
    if (buffer.length > start) this.#send(buffer, start, buffer.length);
  }

  #send(buffer: ReplyBuffer, start: number, end: number): void {
    if (this.#closed) return;
    this.#sentBytes += end - start;
    for (let at = start; at < end; at += nbdSocketWriteBytesMax) {
      buffer.holds += 1;
      this.#sending.push(buffer);
      this.#sendsBegun += 1;
      this.#sink.write(buffer.view.subarray(at, Math.min(at + nbdSocketWriteBytesMax, end)), this.#finishSend);
    }
  }

  /** Gives back the buffers of the sends that are done: the first of `#sending`, as sends end in order. */
  #reap(): void {
    const pending = this.#sendsBegun - this.#sendsDone;
    while (this.#sending.length > pending) this.#drop(this.#sending.shift()!);
  }
}
