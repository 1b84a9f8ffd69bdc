/**
 * The conversation with the kernel: receives requests while the bounds allow it, sends each reply
 * once, and counts what still waits for the device. It knows no operation; fuse-server.ts does.
 *
 * Invariants:
 * - A request is received only when a READ could be served: a reply buffer is free, fewer than
 *   `fuseRequestsInFlightMax` requests wait, and the device does not hold writers back. Otherwise the
 *   kernel keeps its requests; nothing is queued here.
 * - Every buffer of a READ comes back to the pool whether the READ succeeds or fails.
 * - `ended` settles only when no request waits for the device any more.
 */
import { assert } from '../../lib/assert.ts';
import { Region } from '../../lib/region.ts';
import {
  fuseBatchRequestsMax,
  fuseReadsInFlightMax,
  fuseRequestsInFlightMax,
  fuseTransferBytesMax,
} from '../../lib/limits.ts';
import { channelEnded } from './fuse-channel.ts';
import type { FuseChannel, FuseLog } from './fuse-channel.ts';
import { errnoOf } from './fuse-errors.ts';
import { encodeErrorReply, parseHeader, replyHeaderBytes } from './fuse-format.ts';
import type { RequestHeader } from './fuse-format.ts';
import { isCaissonError, messageOf } from '../../lib/errors.ts';

const smallReplyBytes = 4096;
/** The kernel wants room for a whole WRITE and never less than two pages beside it. */
export const fuseRequestBytesMax = fuseTransferBytesMax + 8192;

export interface FuseHandler {
  /** Serves one request; throws a CaissonError to refuse it. `message` is valid until it returns. */
  handle(header: RequestHeader, message: Uint8Array): void;
  /** Asked after each request; see BlockDevice.pressure. */
  pressure(): Promise<void> | undefined;
}

export class FuseSession {
  /** The request being handled. */
  readonly request = new Region(fuseRequestBytesMax);
  /** For replies without file content; encoded and sent in one go, so one is enough. */
  readonly reply = new Region(smallReplyBytes);
  readonly ended: Promise<void>;
  readonly #channel: FuseChannel;
  readonly #log: FuseLog;
  readonly #handler: FuseHandler;
  readonly #freeReadRegions: Region[] = [];
  #readRegionCount = 0;
  #inFlightCount = 0;
  #pressed = false;
  #pumping = false;
  #over = false;
  #failure: unknown;
  #settle: { resolve: () => void; reject: (reason: unknown) => void } | undefined;

  constructor(channel: FuseChannel, handler: FuseHandler, log: FuseLog) {
    this.#channel = channel;
    this.#handler = handler;
    this.#log = log;
    this.ended = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
  }

  start(): void {
    this.#channel.onReady(() => this.#pump());
    this.#pump();
  }

  /** Ends the conversation because of a defect on either side; what waits for the device still finishes. */
  fail(error: unknown): void {
    this.#failure ??= error;
    this.#end();
  }

  /** A buffer for the reply to a READ. The pump made sure that there is one. */
  takeReadRegion(): Region {
    const region = this.#freeReadRegions.pop();
    if (region !== undefined) return region;
    assert(this.#readRegionCount < fuseReadsInFlightMax, 'a READ was received only when a buffer was free');
    this.#readRegionCount += 1;
    return new Region(replyHeaderBytes + fuseTransferBytesMax);
  }

  giveBackReadRegion(region: Region): void {
    this.#freeReadRegions.push(region);
  }

  /** Sends a reply that was encoded into `region`. */
  send(region: Region, length: number): void {
    if (!this.#over) this.#channel.send(region, length);
  }

  refuse(header: RequestHeader, error: unknown): void {
    const errno = errnoOf(error);
    const details = { opcode: header.opcode, errno, ...(isCaissonError(error) ? { code: error.code } : {}) };
    const expected = isCaissonError(error) && (error.kind === 'invalid' || error.kind === 'denied');
    this.#log(expected ? 'debug' : 'error', `FUSE request failed: ${messageOf(error)}`, details);
    this.sendErrno(header, errno);
  }

  sendErrno(header: RequestHeader, errno: number): void {
    this.send(this.reply, encodeErrorReply(this.reply.bytes, header, errno));
  }

  /** Runs `then` when `completion` is fulfilled, else refuses; `release` runs in both cases. */
  later(header: RequestHeader, completion: Promise<unknown>, then: () => void, release?: () => void): void {
    this.#inFlightCount += 1;
    completion
      .then(then)
      .catch((error: unknown) => this.refuse(header, error))
      .finally(() => {
        release?.();
        this.#inFlightCount -= 1;
        if (this.#over) this.#settleWhenQuiet();
        else this.#pump();
      });
  }

  #pump(): void {
    if (this.#pumping || this.#over) return;
    this.#pumping = true;
    for (let count = 0; this.#mayReceive(); count++) {
      if (count === fuseBatchRequestsMax) {
        this.#channel.soon(() => this.#pump());
        break;
      }
      if (!this.#receiveOne()) break;
    }
    this.#pumping = false;
  }

  #mayReceive(): boolean {
    const readRegionFree = this.#freeReadRegions.length > 0 || this.#readRegionCount < fuseReadsInFlightMax;
    return !this.#over && !this.#pressed && readRegionFree && this.#inFlightCount < fuseRequestsInFlightMax;
  }

  /** True when there was a request. */
  #receiveOne(): boolean {
    const length = this.#channel.receive(this.request);
    if (length === 0) return false;
    if (length === channelEnded) {
      this.#end();
      return false;
    }
    const message = this.request.bytes.subarray(0, length);
    let header: RequestHeader;
    try {
      header = parseHeader(message);
    } catch (error) {
      this.fail(error); // spec/fuse.md: such a message has no sender to answer
      return false;
    }
    try {
      this.#handler.handle(header, message);
    } catch (error) {
      this.refuse(header, error);
    }
    this.#heedPressure();
    return true;
  }

  #heedPressure(): void {
    const pressure = this.#handler.pressure();
    if (pressure === undefined) return;
    this.#pressed = true;
    void pressure.then(() => {
      this.#pressed = false;
      this.#pump();
    });
  }

  #end(): void {
    this.#over = true;
    this.#settleWhenQuiet();
  }

  #settleWhenQuiet(): void {
    if (this.#inFlightCount > 0 || this.#settle === undefined) return;
    const settle = this.#settle;
    this.#settle = undefined;
    if (this.#failure === undefined) settle.resolve();
    else settle.reject(this.#failure);
  }
}
