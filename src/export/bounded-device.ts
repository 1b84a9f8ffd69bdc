/**
 * BoundedDevice: a part of another device, with some of its rights: what whoever holds a capability sees of a volume.
 *
 * Invariants:
 * - No call reaches a byte outside the part, whatever the caller asks for: every range is checked against the part
 *   before it is moved to its place.
 * - A right that was not granted is refused with `capability-refused` before the device hears of the call.
 * - After `end` every call is refused; those that are under way finish.
 */
import { assert } from '../lib/assert.ts';
import { CaissonError } from '../lib/errors.ts';
import type { Region } from '../lib/region.ts';
import type { BlockDevice, BlockWrite, Completion, Extent } from './block-device.ts';

/** A part begins at a whole block, so that two parts never share one. */
export const partAlignmentBytes = 4096;

export interface DevicePart {
  /** Bytes; a multiple of 4096. */
  readonly base: number;
  /** Bytes, a multiple of 4096; undefined: to the end of the device, also when that moves. */
  readonly length: number | undefined;
  readonly mayRead: boolean;
  readonly mayWrite: boolean;
  readonly mayTrim: boolean;
  /** Only of a part that goes to the end. */
  readonly mayResize: boolean;
}

export class BoundedDevice implements BlockDevice {
  readonly readOnly: boolean;
  readonly #inner: BlockDevice;
  readonly #part: DevicePart;
  #endedBy: CaissonError | undefined;

  constructor(inner: BlockDevice, part: DevicePart) {
    const { base, length } = part;
    assert(Number.isSafeInteger(base) && base >= 0 && base % partAlignmentBytes === 0, `a part begins at ${base}`);
    assert(
      length === undefined || (Number.isSafeInteger(length) && length > 0 && length % partAlignmentBytes === 0),
      `a part has ${length} bytes`,
    );
    assert(!part.mayResize || length === undefined, 'a part that ends within the device cannot change its size');
    this.#inner = inner;
    this.#part = part;
    this.readOnly = inner.readOnly || !part.mayWrite;
  }

  /** What of the part is there: a device may be smaller than what was granted of it. */
  get size(): number {
    const { base, length = Infinity } = this.#part;
    return Math.max(0, Math.min(length, this.#inner.size - base));
  }

  get blockSize(): number {
    return this.#inner.blockSize;
  }

  /** The capability has expired or was revoked. */
  end(reason: CaissonError): void {
    this.#endedBy ??= reason;
  }

  read(offset: number, length: number, target: Region, targetOffset: number): Completion {
    this.#check(this.#part.mayRead, 'read', offset, length);
    return this.#inner.read(this.#part.base + offset, length, target, targetOffset);
  }

  write(offset: number, length: number, source: Region, sourceOffset: number, fua: boolean): Completion {
    this.#check(this.#part.mayWrite, 'write', offset, length);
    return this.#inner.write(this.#part.base + offset, length, source, sourceOffset, fua);
  }

  beginWrite(offset: number, length: number): BlockWrite {
    this.#check(this.#part.mayWrite, 'write', offset, length);
    return this.#inner.beginWrite(this.#part.base + offset, length);
  }

  /** Zeroes are content, which takes the right to write; giving space back with them is never more than that. */
  zero(offset: number, length: number, mayPunch: boolean, fua: boolean): Completion {
    this.#check(this.#part.mayWrite, 'write', offset, length);
    return this.#inner.zero(this.#part.base + offset, length, mayPunch, fua);
  }

  trim(offset: number, length: number, fua: boolean): Completion {
    this.#check(this.#part.mayTrim, 'trim', offset, length);
    return this.#inner.trim(this.#part.base + offset, length, fua);
  }

  async flush(): Promise<void> {
    this.#checkOpen();
    await this.#inner.flush();
  }

  /** Where data lies and where not is told to whoever may read it. */
  extents(offset: number, length: number, countMax: number): Extent[] | Promise<Extent[]> {
    this.#check(this.#part.mayRead, 'read', offset, length);
    return this.#inner.extents(this.#part.base + offset, length, countMax);
  }

  async resize(size: number): Promise<void> {
    this.#checkOpen();
    if (!this.#part.mayResize) throw refused('resize');
    if (!(size > 0)) throw new CaissonError('invalid', 'size-invalid', `${size} bytes are no size`);
    await this.#inner.resize(this.#part.base + size);
  }

  pressure(): Promise<void> | undefined {
    return this.#inner.pressure();
  }

  onResize(listener: (size: number) => void): () => void {
    let size = this.size;
    return this.#inner.onResize(() => {
      if (this.size === size) return;
      size = this.size;
      listener(size);
    });
  }

  #checkOpen(): void {
    if (this.#endedBy !== undefined) throw this.#endedBy;
  }

  #check(isGranted: boolean, right: string, offset: number, length: number): void {
    this.#checkOpen();
    if (!isGranted) throw refused(right);
    // Written so that no sum can leave the numbers that are exact, nor a NaN pass.
    if (offset >= 0 && length >= 0 && length <= this.size && offset <= this.size - length) return;
    throw new CaissonError('invalid', 'range-outside', `${length} bytes at ${offset} are not within ${this.size}`, {
      details: { offset, length, size: this.size },
    });
  }
}

function refused(right: string): CaissonError {
  return new CaissonError('denied', 'capability-refused', `the capability does not grant the right to ${right}`, {
    remedy: 'Ask whoever gave the capability for one with that right.',
    details: { right },
  });
}
