/**
 * A WRITE whose payload arrives in pieces: to the device, or nowhere when it was refused.
 *
 * Invariants: the payload is consumed to its last byte whatever happens to it; the request is answered once,
 * after that; a payload that never becomes whole is aborted, not finished.
 */
import type { Region } from '../../lib/region.ts';
import type { BlockDevice, BlockWrite } from '../block-device.ts';
import type { Answers } from './answers.ts';
import { Errno, errnoOf } from './nbd-errors.ts';
import { Command, cookieBytes } from './request-format.ts';

export class IncomingWrite {
  readonly #device: BlockDevice;
  readonly #answers: Answers;
  #bytesLeft = 0;
  #write: BlockWrite | undefined;
  #fua = false;
  #slot = 0;
  #errno: number = Errno.NONE;
  #error: unknown;

  constructor(device: BlockDevice, answers: Answers) {
    this.#device = device;
    this.#answers = answers;
  }

  /** Payload that is still to come; 0 when there is no such WRITE. */
  get bytesLeft(): number {
    return this.#bytesLeft;
  }

  /** Whether the payload goes to the device. */
  get accepted(): boolean {
    return this.#write !== undefined;
  }

  /** `errno` other than NONE: the request was refused already. The cookie is in `cookie` from `cookieAt` on. */
  begin(cookie: Uint8Array, cookieAt: number, offset: number, length: number, fua: boolean, errno: number): void {
    this.#slot = this.#answers.keep(cookie, cookieAt);
    this.#bytesLeft = length;
    this.#fua = fua;
    this.#errno = errno;
    this.#error = undefined;
    if (errno !== Errno.NONE) return;
    try {
      this.#write = this.#device.beginWrite(offset, length);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Takes what it can of `available` bytes at `at`; returns how many. */
  take(source: Region, at: number, available: number): number {
    const length = Math.min(this.#bytesLeft, available);
    try {
      this.#write?.push(source, at, length);
    } catch (error) {
      this.#fail(error);
    }
    this.#bytesLeft -= length;
    if (this.#bytesLeft === 0) this.#finish();
    return length;
  }

  abort(): void {
    if (this.#bytesLeft === 0) return;
    this.#bytesLeft = 0;
    this.#write?.abort();
    this.#write = undefined;
    this.#answers.free(this.#slot);
  }

  #finish(): void {
    const write = this.#write;
    this.#write = undefined;
    if (write !== undefined) {
      try {
        const completion = write.finish(this.#fua);
        if (completion !== undefined) {
          this.#answers.settleLater(completion, this.#slot, Command.WRITE);
          return;
        }
      } catch (error) {
        this.#errno = errnoOf(error, Command.WRITE);
        this.#error = error;
      }
    }
    this.#answers.now(this.#answers.cookies, this.#slot * cookieBytes, Command.WRITE, this.#errno, this.#error);
    this.#answers.free(this.#slot);
    this.#error = undefined;
  }

  /** The device refused: the rest of the payload goes nowhere, then the error is answered. */
  #fail(error: unknown): void {
    const write = this.#write;
    this.#write = undefined;
    this.#errno = errnoOf(error, Command.WRITE);
    this.#error = error;
    write?.abort();
  }
}
