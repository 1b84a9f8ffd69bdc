/**
 * The reply buffers of a server: taken, filled, sent, given back.
 *
 * Invariants: a buffer is back in the pool only when nobody holds it (neither a socket that still
 * sends it nor a device that still reads into it); what is handed out beyond the first buffer of
 * each connection never exceeds `budgetBytesMax`; what lies idle never exceeds `idleBytesMax`.
 */
import { assert } from '../../lib/assert.ts';
import { nbdIdlePoolBytesMax, nbdPayloadBytesMax, nbdReplyBytes, nbdServerReplyBytesMax } from '../../lib/limits.ts';
import { Region } from '../../lib/region.ts';

/** Room for reply headers beside a payload that is a power of two. */
const headroomBytes = 4096;
const smallestPayloadBytes = 4096;

/** Replies up to this size never wait for the budget. */
export const smallReplyBytesMax = 4096;

export class ReplyBuffer {
  readonly region: Region;
  /** The region as the socket takes it, so that no view is converted per write. */
  readonly view: Buffer;
  /** True for the one buffer that a connection gets without asking the budget. */
  readonly base: boolean;
  /** Bytes filled, and of those the bytes handed to the socket. */
  length = 0;
  sent = 0;
  /** Who still needs the bytes: the owner, each unfinished send, each unfinished read. */
  holds = 0;

  constructor(region: Region, base: boolean) {
    this.region = region;
    this.view = Buffer.from(region.bytes.buffer, 0, region.length);
    this.base = base;
  }
}

export class ReplyPool {
  readonly #budgetBytesMax: number;
  readonly #idleBytesMax: number;
  readonly #idle = new Map<number, Region[]>();
  #idleBytes = 0;
  #usedBytes = 0;
  #waiting: (() => void)[] = [];

  constructor(budgetBytesMax = nbdServerReplyBytesMax, idleBytesMax = nbdIdlePoolBytesMax) {
    assert(budgetBytesMax >= nbdPayloadBytesMax + headroomBytes, 'the reply budget holds at least one largest reply');
    this.#budgetBytesMax = budgetBytesMax;
    this.#idleBytesMax = idleBytesMax;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  get idleBytes(): number {
    return this.#idleBytes;
  }

  /** A buffer of at least `bytes`, held once; undefined when the budget is spent. */
  take(bytes: number): ReplyBuffer | undefined {
    const size = classBytes(bytes);
    if (this.#usedBytes + size > this.#budgetBytesMax) return undefined;
    this.#usedBytes += size;
    return this.#hand(size, false);
  }

  /** A small buffer even when the budget is spent: an answer without data must always be able to leave. */
  takeSmall(bytes: number): ReplyBuffer {
    const size = classBytes(bytes);
    this.#usedBytes += size;
    return this.#hand(size, false);
  }

  /** The first buffer of a connection: always granted, bounded by the count of connections. */
  takeBase(): ReplyBuffer {
    return this.#hand(classBytes(nbdReplyBytes), true);
  }

  release(buffer: ReplyBuffer): void {
    assert(buffer.holds > 0, 'a reply buffer is released once per hold');
    buffer.holds -= 1;
    if (buffer.holds > 0) return;
    const size = buffer.region.length;
    if (!buffer.base) this.#usedBytes -= size;
    if (this.#idleBytes + size <= this.#idleBytesMax) {
      this.#idleBytes += size;
      const list = this.#idle.get(size);
      if (list === undefined) this.#idle.set(size, [buffer.region]);
      else list.push(buffer.region);
    }
    if (this.#waiting.length > 0 && !buffer.base) this.#wake();
  }

  /** Calls back once when something was given back; the caller then tries again. */
  whenFree(callback: () => void): void {
    this.#waiting.push(callback);
  }

  #hand(size: number, base: boolean): ReplyBuffer {
    const idle = this.#idle.get(size)?.pop();
    if (idle !== undefined) this.#idleBytes -= size;
    const buffer = new ReplyBuffer(idle ?? new Region(size), base);
    buffer.holds = 1;
    return buffer;
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const callback of waiting) callback();
  }
}

/** Whole size classes keep the idle lists short: a power of two of payload, and room for headers. */
function classBytes(bytes: number): number {
  let payload = smallestPayloadBytes;
  while (payload + headroomBytes < bytes) payload *= 2;
  return payload + headroomBytes;
}
