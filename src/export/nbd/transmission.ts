/**
 * The transmission phase of one connection: bytes in, device calls, replies out.
 *
 * The read region is [pad | read buffer]. The socket always fills from `readStart`; the unfinished
 * head of a request moves into the pad just before it, so every request up to the pad's size is seen
 * in one piece and larger payloads are taken piecewise as they arrive. Nothing is copied but that.
 *
 * Invariants: each request is answered exactly once; a refused WRITE still consumes its payload; no
 * byte of a failed read leaves; while `blocked` no request is taken; after `close` nothing is sent
 * and no buffer that the device may still touch is given back early.
 */
import { assert } from '../../lib/assert.ts';
import { CaissonError } from '../../lib/errors.ts';
import {
  nbdExtentCountMax,
  nbdInFlightCountMax,
  nbdPayloadBytesMax,
  nbdReadBytes,
  nbdReplyBytes,
  nbdUnsentBytesMax,
  nbdWholeRequestBytesMax,
} from '../../lib/limits.ts';
import { Region } from '../../lib/region.ts';
import type { BlockDevice, Completion, Extent } from '../block-device.ts';
import { IncomingWrite } from './incoming-write.ts';
import type { NbdMetrics } from './metrics.ts';
import { Errno } from './nbd-errors.ts';
import type { ReplyPool } from './reply-pool.ts';
import { Answers } from './answers.ts';
import { Replies, type ReplySink, type ReplySlot } from './replies.ts';
import { checkRequest, zeroesFast, type Negotiated } from './request-check.ts';
import * as format from './request-format.ts';
import { Command, CommandFlag } from './request-format.ts';
import type { Spinner } from './spin.ts';

/** What the transmission phase needs of its connection. */
export interface TransmissionHost extends ReplySink {
  /** The stream may be read again: `blocked` has become false. */
  resumeReading(): void;
  /** All that was owed is handed to the socket: close it in good order. */
  finish(): void;
  /** The client broke a rule after which the stream means nothing. */
  violate(reason: string): void;
  /** One request was refused or failed. */
  logFailure(command: number, errorNumber: number, error: unknown): void;
  /** Connections that serve the same device, this one included. */
  deviceConnectionCount(): number;
}

export interface TransmissionOptions {
  readonly device: BlockDevice;
  readonly negotiated: Negotiated;
  readonly pool: ReplyPool;
  readonly metrics: NbdMetrics;
  readonly spinner: Spinner;
  readonly host: TransmissionHost;
}

/** The metadata context that base:allocation was given in the handshake. */
export const baseAllocationId = 1;
export const readStart = nbdWholeRequestBytesMax;

/** Batches up to this many requests count as low depth for the spinner. */
const spinBatchMax = 2;

export class Transmission {
  readonly region = new Region(readStart + nbdReadBytes);
  readonly #bytes: Uint8Array;
  readonly #device: BlockDevice;
  readonly #negotiated: Negotiated;
  readonly #pool: ReplyPool;
  readonly #metrics: NbdMetrics;
  readonly #spinner: Spinner;
  readonly #host: TransmissionHost;
  readonly #replies: Replies;
  readonly #answers: Answers;
  readonly #payload: IncomingWrite;

  /** What was received and not consumed: [at, end) of the region. */
  #at = readStart;
  #end = readStart;
  #receivedBytes = 0;

  #blocked = false;
  #pressed = false;
  #waitsForBuffers = false;
  /** The last read came later: the next gets a place of its own at once. */
  #readsComeLater = false;
  #warming = false;
  #ending = false;
  #draining = false;
  #closed = false;

  constructor(options: TransmissionOptions) {
    this.#device = options.device;
    this.#negotiated = options.negotiated;
    this.#pool = options.pool;
    this.#metrics = options.metrics;
    this.#spinner = options.spinner;
    this.#host = options.host;
    this.#bytes = this.region.bytes;
    this.#replies = new Replies(options.host, options.pool, () => this.#onSent());
    this.#answers = new Answers({
      replies: this.#replies,
      structuredReplies: options.negotiated.structuredReplies,
      metrics: options.metrics,
      logFailure: (command, errno, error) => this.#host.logFailure(command, errno, error),
      answeredLate: () => {
        this.#unblock();
        this.#finishIfIdle();
      },
    });
    this.#payload = new IncomingWrite(options.device, this.#answers);
  }

  /** Requests are not taken now; the bytes that were received wait. */
  get blocked(): boolean {
    return this.#blocked;
  }

  /** A number that grows with every byte that moves. */
  get progress(): number {
    return this.#receivedBytes + this.#replies.sentBytes - this.#host.unsentBytes;
  }

  /** The client owes us something: the rest of a request, or taking its replies. */
  get waitsForClient(): boolean {
    if (this.#host.unsentBytes > 0) return true;
    return !this.#blocked && !this.#ending && (this.#end > this.#at || this.#payload.bytesLeft > 0);
  }

  /** `length` bytes arrived at `readStart` of the region. False: read no more until `resumeReading`. */
  arrived(length: number): boolean {
    assert(!this.#blocked, 'nothing is read while requests are not taken');
    if (this.#ending || this.#closed) return true;
    this.#receivedBytes += length;
    this.#end = readStart + length;
    this.#work();
    return !this.#blocked;
  }

  /** The client sends no more: answer what is in flight, then close. */
  ended(): void {
    this.#ending = true;
    this.#payload.abort();
    this.#finishIfIdle();
  }

  /** The server stops: new requests are refused, those in flight are answered, then the end. */
  drain(): void {
    this.#draining = true;
    this.#finishIfIdle();
  }

  /** The connection is gone. Device calls that run on settle into nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#payload.abort();
    this.#answers.close();
    this.#replies.close();
  }

  // Taking requests

  #work(): void {
    const requests = this.#parse();
    if (this.#closed) return;
    this.#replies.flush();
    if (requests > 0 && requests <= spinBatchMax && this.#answers.inFlight === 0) this.#spinner.arm();
    if (!this.#blocked) this.#carry();
    this.#askPressure();
    if (this.#ending || this.#draining) this.#finishIfIdle();
  }

  /** Consumes what it can of [at, end); returns how many requests it took. */
  #parse(): number {
    const bytes = this.#bytes;
    let requests = 0;
    while (!this.#ending && !this.#closed) {
      if (this.#payload.bytesLeft > 0) {
        if (this.#at === this.#end) break;
        const accepted = this.#payload.accepted;
        const taken = this.#payload.take(this.region, this.#at, this.#end - this.#at);
        this.#at += taken;
        if (accepted) this.#metrics.bytesWritten += taken;
        continue;
      }
      if (this.#end - this.#at < format.requestHeaderBytes || this.#mustWait()) break;
      const at = this.#at;
      if (format.readUint32(bytes, at) !== format.REQUEST_MAGIC) {
        this.#violate('a request starts with the wrong magic number');
        break;
      }
      const command = format.readUint16(bytes, at + format.requestCommandOffset);
      if (this.#pressed && changesDevice(command)) {
        this.#metrics.waits.pressure += 1;
        this.#blocked = true;
        break;
      }
      const flags = format.readUint16(bytes, at + format.requestFlagsOffset);
      const offset = format.readUint64(bytes, at + format.requestOffsetOffset);
      const length = format.readUint32(bytes, at + format.requestLengthOffset);
      const taken =
        command === Command.READ
          ? this.#takeRead(at, flags, offset, length)
          : command === Command.WRITE
            ? this.#takeWrite(at, flags, offset, length)
            : this.#takeOther(at, command, flags, offset, length);
      if (!taken) break;
      requests += 1;
    }
    return requests;
  }

  /** Whether the next request has to wait for something that is bounded. */
  #mustWait(): boolean {
    if (this.#answers.inFlight >= nbdInFlightCountMax) {
      if (!this.#blocked) this.#metrics.waits.inFlight += 1;
      this.#blocked = true;
    } else if (this.#replies.outstandingBytes > nbdUnsentBytesMax) {
      if (!this.#blocked) this.#metrics.waits.unsent += 1;
      this.#blocked = true;
    }
    return this.#blocked;
  }

  /** Moves the unfinished head of a request before the place where the next bytes arrive. */
  #carry(): void {
    const left = this.#end - this.#at;
    if (left === 0) {
      this.#at = readStart;
      this.#end = readStart;
      return;
    }
    if (this.#end === readStart) return;
    this.#bytes.copyWithin(readStart - left, this.#at, this.#end);
    this.#at = readStart - left;
    this.#end = readStart;
  }

  /** Only what changes the device waits for relief: a store that takes nothing must not keep readers waiting. */
  #askPressure(): void {
    const relief = this.#pressed ? undefined : this.#device.pressure();
    if (relief === undefined) return;
    this.#pressed = true;
    void relief.then(() => {
      this.#pressed = false;
      this.#unblock();
    });
  }

  /** Goes on when nothing that blocked is left. */
  #unblock(): void {
    if (!this.#blocked || this.#waitsForBuffers || this.#closed) return;
    if (this.#answers.inFlight >= nbdInFlightCountMax || this.#replies.outstandingBytes > nbdUnsentBytesMax / 2) return;
    this.#blocked = false;
    this.#work();
    if (!this.#blocked && !this.#closed) this.#host.resumeReading();
  }

  #onSent(): void {
    if (this.#blocked) this.#unblock();
    if (this.#ending || this.#draining) this.#finishIfIdle();
  }

  #waitForBuffers(): false {
    if (!this.#waitsForBuffers) {
      this.#metrics.waits.buffers += 1;
      this.#waitsForBuffers = true;
      this.#blocked = true;
      this.#pool.whenFree(() => {
        this.#waitsForBuffers = false;
        this.#unblock();
      });
    }
    return false;
  }

  // READ

  #takeRead(at: number, flags: number, offset: number, length: number): boolean {
    const errno = this.#check(Command.READ, flags, offset, length);
    if (errno !== Errno.NONE) return this.#refuse(at, Command.READ, errno);
    const structured = this.#negotiated.structuredReplies;
    const total = length + (structured ? format.dataChunkHeaderBytes : format.simpleReplyBytes);
    const slot = this.#readsComeLater ? this.#replies.reserveSlot(total) : undefined;
    if (this.#readsComeLater && slot === undefined) return this.#waitForBuffers();
    const start = slot === undefined ? this.#replies.reserve(total) : slot.start;
    if (start < 0) return this.#waitForBuffers();
    const target = slot === undefined ? this.#replies.region : slot.buffer.region;
    this.#at = at + format.requestHeaderBytes;
    this.#metrics.countRequest(Command.READ);
    const payloadAt = this.#writeReadHeader(target.bytes, start, at + format.requestCookieOffset, offset, length);
    let completion: Completion;
    try {
      completion = length === 0 ? undefined : this.#device.read(offset, length, target, payloadAt);
    } catch (error) {
      if (slot !== undefined) this.#replies.abandon(slot);
      this.#answers.fail(this.#bytes, at + format.requestCookieOffset, Command.READ, error);
      return true;
    }
    if (completion !== undefined) {
      this.#readsComeLater = true;
      this.#finishReadLater(completion, slot ?? this.#replies.detach(start, payloadAt + length), length);
      return true;
    }
    this.#metrics.bytesRead += length;
    if (slot === undefined) this.#replies.commit(payloadAt + length);
    else {
      this.#readsComeLater = false;
      this.#replies.complete(slot);
    }
    return true;
  }

  /** Returns where the payload goes. An empty structured read is a chunk without content. */
  #writeReadHeader(target: Uint8Array, start: number, cookieAt: number, offset: number, length: number): number {
    if (!this.#negotiated.structuredReplies) {
      return format.writeSimpleReply(target, start, Errno.NONE, this.#bytes, cookieAt);
    }
    if (length === 0) return format.writeChunkHeader(target, start, format.ChunkType.NONE, 0, this.#bytes, cookieAt);
    const after = format.writeChunkHeader(
      target,
      start,
      format.ChunkType.OFFSET_DATA,
      length + 8,
      this.#bytes,
      cookieAt,
    );
    format.writeUint64(target, after, offset);
    return after + 8;
  }

  #finishReadLater(completion: Promise<void>, slot: ReplySlot, length: number): void {
    this.#answers.begin();
    completion.then(
      () => {
        this.#answers.end();
        this.#metrics.bytesRead += length;
        this.#replies.complete(slot);
        this.#answers.flushLater();
      },
      (error: unknown) => {
        this.#answers.end();
        // Both kinds of header keep the cookie at the same place.
        if (!this.#closed) this.#answers.fail(slot.buffer.region.bytes, slot.start + 8, Command.READ, error);
        this.#replies.abandon(slot);
        this.#answers.flushLater();
      },
    );
  }

  // WRITE

  #takeWrite(at: number, flags: number, offset: number, length: number): boolean {
    if (length > nbdPayloadBytesMax) {
      this.#violate(`a WRITE of ${length} bytes is larger than the ${nbdPayloadBytesMax} that may be sent`);
      return false;
    }
    const total = format.requestHeaderBytes + length;
    const available = this.#end - at;
    if (available < total && total <= nbdWholeRequestBytesMax) return false;
    const errno = this.#check(Command.WRITE, flags, offset, length);
    const fua = (flags & CommandFlag.FUA) !== 0;
    const cookieAt = at + format.requestCookieOffset;
    this.#metrics.countRequest(Command.WRITE);
    if (available < total) {
      // The payload is longer than what is here: it goes to the device piece by piece.
      this.#at = at + format.requestHeaderBytes;
      this.#payload.begin(this.#bytes, cookieAt, offset, length, fua, errno);
      return true;
    }
    this.#at = at + total;
    if (errno !== Errno.NONE) {
      this.#answers.now(this.#bytes, cookieAt, Command.WRITE, errno);
      return true;
    }
    this.#metrics.bytesWritten += length;
    try {
      const payloadAt = at + format.requestHeaderBytes;
      const completion = length === 0 ? undefined : this.#device.write(offset, length, this.region, payloadAt, fua);
      this.#answers.settle(completion, this.#bytes, cookieAt, Command.WRITE);
    } catch (error) {
      this.#answers.fail(this.#bytes, cookieAt, Command.WRITE, error);
    }
    return true;
  }

  // Everything else

  #takeOther(at: number, command: number, flags: number, offset: number, length: number): boolean {
    if (command === Command.DISC) {
      this.#metrics.countRequest(command);
      this.#at = this.#end;
      this.#ending = true;
      return false;
    }
    const errno = this.#check(command, flags, offset, length);
    if (errno !== Errno.NONE) return this.#refuse(at, command, errno);
    this.#at = at + format.requestHeaderBytes;
    this.#metrics.countRequest(command);
    const cookieAt = at + format.requestCookieOffset;
    try {
      this.#act(cookieAt, command, flags, offset, length);
    } catch (error) {
      this.#answers.fail(this.#bytes, cookieAt, command, error);
    }
    return true;
  }

  /** The request is checked: hands it to the device. */
  #act(cookieAt: number, command: number, flags: number, offset: number, length: number): void {
    const fua = (flags & CommandFlag.FUA) !== 0;
    switch (command) {
      case Command.FLUSH:
        this.#answers.settle(this.#spinner.during(this.#device.flush()), this.#bytes, cookieAt, command);
        return;
      case Command.TRIM:
        this.#answers.settle(
          length === 0 ? undefined : this.#device.trim(offset, length, fua),
          this.#bytes,
          cookieAt,
          command,
        );
        return;
      case Command.WRITE_ZEROES:
        if ((flags & CommandFlag.FAST_ZERO) !== 0 && !zeroesFast(flags, offset, length, this.#device.blockSize)) {
          this.#answers.now(this.#bytes, cookieAt, command, Errno.ENOTSUP);
          return;
        }
        this.#answers.settle(
          length === 0 ? undefined : this.#device.zero(offset, length, (flags & CommandFlag.NO_HOLE) === 0, fua),
          this.#bytes,
          cookieAt,
          command,
        );
        return;
      case Command.CACHE:
        this.#answers.settle(this.#warm(offset, length), this.#bytes, cookieAt, command);
        return;
      case Command.RESIZE:
        if (offset < this.#device.size && this.#host.deviceConnectionCount() > 1) {
          this.#answers.now(this.#bytes, cookieAt, command, Errno.EPERM);
          return;
        }
        this.#answers.settle(this.#device.resize(offset), this.#bytes, cookieAt, command);
        return;
      default:
        this.#status(cookieAt, flags, offset, length);
    }
  }

  #status(cookieAt: number, flags: number, offset: number, length: number): void {
    const countMax = (flags & CommandFlag.REQ_ONE) !== 0 ? 1 : nbdExtentCountMax;
    const extents = this.#device.extents(offset, length, countMax);
    if (Array.isArray(extents)) {
      this.#answerStatus(this.#bytes, cookieAt, length, extents);
      return;
    }
    const slot = this.#answers.keep(this.#bytes, cookieAt);
    extents.then(
      (found) => {
        if (!this.#closed) this.#answerStatus(this.#answers.cookies, slot * format.cookieBytes, length, found);
        this.#answers.free(slot);
        this.#answers.flushLater();
      },
      (error: unknown) => this.#answers.failLater(slot, Command.BLOCK_STATUS, error),
    );
  }

  #answerStatus(cookie: Uint8Array, cookieAt: number, length: number, extents: readonly Extent[]): void {
    if (extents.length === 0) {
      const error = new CaissonError(
        'bug',
        'assertion-failed',
        'the device described no extent of a range that it has',
      );
      this.#answers.now(cookie, cookieAt, Command.BLOCK_STATUS, Errno.EIO, error);
      return;
    }
    let at = this.#replies.reserve(format.blockStatusBytes(extents.length));
    // A shorter answer is as good: the client asks again for the rest.
    const few = at < 0;
    if (few) at = this.#replies.reserve(format.blockStatusBytes(extentCountWhenShort));
    const described = few ? extents.slice(0, extentCountWhenShort) : extents;
    const bytes = this.#replies.region.bytes;
    this.#replies.commit(format.writeBlockStatus(bytes, at, baseAllocationId, length, described, cookie, cookieAt));
  }

  /** CACHE reads the range and drops it, so that a device with a cache has it. One at a time. */
  #warm(offset: number, length: number): Completion {
    if (this.#warming || length === 0) return undefined;
    const scratch = this.#pool.take(nbdReplyBytes);
    if (scratch === undefined) return undefined;
    this.#warming = true;
    const read = async (): Promise<void> => {
      for (let done = 0; done < length && !this.#closed; done += nbdReplyBytes) {
        await this.#device.read(offset + done, Math.min(nbdReplyBytes, length - done), scratch.region, 0);
      }
    };
    return read().finally(() => {
      this.#warming = false;
      this.#pool.release(scratch);
    });
  }

  // The end

  #check(command: number, flags: number, offset: number, length: number): number {
    if (this.#draining) return Errno.ESHUTDOWN;
    return checkRequest(this.#negotiated, this.#device.size, command, flags, offset, length);
  }

  /** A request without payload that is not even tried. */
  #refuse(at: number, command: number, errno: number): boolean {
    this.#at = at + format.requestHeaderBytes;
    this.#metrics.countRequest(command);
    this.#answers.now(this.#bytes, at + format.requestCookieOffset, command, errno);
    return true;
  }

  /** The answers to what came before still leave. */
  #violate(reason: string): void {
    this.#replies.flush();
    this.#host.violate(reason);
  }

  #finishIfIdle(): void {
    if (this.#closed || !(this.#ending || this.#draining)) return;
    if (this.#answers.inFlight > 0 || this.#payload.bytesLeft > 0) return;
    this.#replies.flush();
    this.#host.finish();
  }
}

/** Descriptors of a status answer that must not wait for a buffer. */
const extentCountWhenShort = 256;

function changesDevice(command: number): boolean {
  return command === Command.WRITE || command === Command.WRITE_ZEROES || command === Command.TRIM;
}
