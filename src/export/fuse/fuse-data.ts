/**
 * The content of the file: READ, WRITE, FSYNC, FALLOCATE, LSEEK (spec/fuse.md, "The file").
 *
 * A READ is filled by the device directly behind the reply's header and sent with one write. A WRITE
 * is taken by the device from where the kernel put it. Invariant: what reaches the device lies in the
 * file, and nothing is sent from the buffer of a READ that failed.
 */
import { assert } from '../../lib/assert.ts';
import { CaissonError } from '../../lib/errors.ts';
import { fuseSeekExtentsMax, fuseTransferBytesMax } from '../../lib/limits.ts';
import type { BlockDevice, Completion } from '../block-device.ts';
import { Errno } from './fuse-errors.ts';
import {
  AllocateMode,
  encodeReply,
  encodeSeekReply,
  encodeWriteReply,
  parseAllocate,
  parseRead,
  parseSeek,
  parseWrite,
  replyHeaderBytes,
  Whence,
  writePayloadOffset,
} from './fuse-format.ts';
import type { AllocateRequest, RequestHeader } from './fuse-format.ts';
import { checkFile } from './fuse-namespace.ts';
import type { FuseSession } from './fuse-session.ts';

export class FuseData {
  readonly #device: BlockDevice;
  readonly #session: FuseSession;

  constructor(device: BlockDevice, session: FuseSession) {
    this.#device = device;
    this.#session = session;
  }

  read(header: RequestHeader, message: Uint8Array): void {
    checkFile(header);
    const { offset, size } = parseRead(message);
    if (size > fuseTransferBytesMax) throw tooLarge(size);
    const session = this.#session;
    const length = Math.max(Math.min(size, this.#device.size - offset), 0);
    const region = session.takeReadRegion();
    const send = (): void => session.send(region, encodeReply(region.bytes, header, length));
    let completion: Completion;
    try {
      completion = length === 0 ? undefined : this.#device.read(offset, length, region, replyHeaderBytes);
    } catch (error) {
      session.giveBackReadRegion(region);
      throw error;
    }
    if (completion !== undefined)
      return session.later(header, completion, send, () => session.giveBackReadRegion(region));
    send();
    session.giveBackReadRegion(region);
  }

  write(header: RequestHeader, message: Uint8Array): void {
    checkFile(header);
    const { offset, size } = parseWrite(message);
    if (size > fuseTransferBytesMax) throw tooLarge(size);
    if (this.#device.readOnly) return this.#session.sendErrno(header, Errno.EROFS);
    const length = Math.max(Math.min(size, this.#device.size - offset), 0);
    if (length === 0 && size > 0) return this.#session.sendErrno(header, Errno.ENOSPC);
    const completion =
      length === 0 ? undefined : this.#device.write(offset, length, this.#session.request, writePayloadOffset, false);
    this.#finish(header, completion, (reply) => encodeWriteReply(reply, header, length));
  }

  flush(header: RequestHeader): void {
    checkFile(header);
    const completion = this.#device.readOnly ? undefined : this.#device.flush();
    this.#finish(header, completion, (reply) => encodeReply(reply, header, 0));
  }

  allocate(header: RequestHeader, message: Uint8Array): void {
    checkFile(header);
    const request = parseAllocate(message);
    if (this.#device.readOnly) return this.#session.sendErrno(header, Errno.EROFS);
    if (request.length === 0 || request.length > this.#device.size - request.offset)
      return this.#session.sendErrno(header, Errno.EINVAL);
    const completion = this.#allocateInside(request);
    this.#finish(header, completion, (reply) => encodeReply(reply, header, 0));
  }

  seek(header: RequestHeader, message: Uint8Array): void {
    checkFile(header);
    const { offset, whence } = parseSeek(message);
    if (whence !== Whence.data && whence !== Whence.hole) return this.#session.sendErrno(header, Errno.EINVAL);
    if (offset >= this.#device.size) return this.#session.sendErrno(header, Errno.ENXIO);
    const { reply } = this.#session;
    const found = { offset: -1 };
    const search = this.#search(offset, whence === Whence.hole).then((result) => {
      found.offset = result;
    });
    this.#session.later(header, search, () => {
      if (found.offset < 0) return this.#session.sendErrno(header, Errno.ENXIO);
      this.#session.send(reply, encodeSeekReply(reply.bytes, header, found.offset));
    });
  }

  /** Sends what `encode` makes, now or when the device is done. */
  #finish(header: RequestHeader, completion: Completion, encode: (reply: Uint8Array) => number): void {
    const { reply } = this.#session;
    const send = (): void => this.#session.send(reply, encode(reply.bytes));
    if (completion === undefined) send();
    else this.#session.later(header, completion, send);
  }

  #allocateInside({ offset, length, mode }: AllocateRequest): Completion {
    if (mode === (AllocateMode.punchHole | AllocateMode.keepSize)) return this.#punch(offset, length);
    if ((mode & ~AllocateMode.keepSize) === AllocateMode.zeroRange)
      return this.#device.zero(offset, length, false, false);
    throw new CaissonError('invalid', 'unsupported', `fallocate mode ${mode} is not supported`, {
      remedy: 'Space of a volume is taken when it is written; it cannot be reserved.',
      details: { mode },
    });
  }

  /** A hole reads as zeroes everywhere, also where it covers only a part of a block, which trim leaves alone. */
  #punch(offset: number, length: number): Completion {
    const { blockSize } = this.#device;
    const end = offset + length;
    const first = Math.ceil(offset / blockSize) * blockSize;
    const last = Math.floor(end / blockSize) * blockSize;
    if (first >= last) return this.#device.zero(offset, length, true, false);
    if (first === offset && last === end) return this.#device.trim(offset, length, false);
    return this.#punchWithEdges(offset, first, last, end);
  }

  async #punchWithEdges(offset: number, first: number, last: number, end: number): Promise<void> {
    if (first > offset) await this.#device.zero(offset, first - offset, true, false);
    await this.#device.trim(first, last - first, false);
    if (end > last) await this.#device.zero(last, end - last, true, false);
  }

  /** Where the next hole (or data) begins at or behind `offset`; -1 when there is no more data. */
  async #search(offset: number, wantHole: boolean): Promise<number> {
    const { size } = this.#device;
    let position = offset;
    while (position < size) {
      const extents = await this.#device.extents(position, size - position, fuseSeekExtentsMax);
      const before = position;
      for (const extent of extents) {
        if ((extent.hole && extent.zero) === wantHole) return position;
        position += extent.length;
      }
      assert(position > before, 'extents cover at least a part of the range');
    }
    return wantHole ? size : -1;
  }
}

function tooLarge(size: number): CaissonError {
  return new CaissonError(
    'invalid',
    'protocol-violation',
    `a FUSE transfer of ${size} bytes is beyond the ${fuseTransferBytesMax} negotiated`,
    {
      details: { size },
    },
  );
}
