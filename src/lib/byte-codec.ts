/**
 * ByteWriter and ByteReader: little-endian fields one after another, for small metadata whose speed
 * does not matter. A reader checks every length before it reads and wants all bytes used.
 */
import { CaissonError } from './errors.ts';
import { assert } from './assert.ts';

export class ByteWriter {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  u8(value: number): this {
    const at = this.#grow(1);
    this.#view.setUint8(at, value);
    return this;
  }

  u16(value: number): this {
    const at = this.#grow(2);
    this.#view.setUint16(at, value, true);
    return this;
  }

  u32(value: number): this {
    assert(value >= 0 && value <= 0xffff_ffff, `u32 ${value}`);
    const at = this.#grow(4);
    this.#view.setUint32(at, value, true);
    return this;
  }

  /** A whole number up to 2^53. */
  u64(value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, `u64 ${value}`);
    const at = this.#grow(8);
    this.#view.setBigUint64(at, BigInt(value), true);
    return this;
  }

  zeros(count: number): this {
    this.#grow(count);
    return this;
  }

  bytes(bytes: Uint8Array, length = bytes.length): this {
    assert(bytes.length === length, `field of ${length} bytes, given ${bytes.length}`);
    const at = this.#grow(length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** Length as u32, then the bytes. */
  block(bytes: Uint8Array): this {
    return this.u32(bytes.length).bytes(bytes);
  }

  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Makes room and gives its place. Call it in a statement of its own: it may replace both arrays. */
  #grow(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const bytes = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      bytes.set(this.#bytes);
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer);
    }
    return at;
  }
}

export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;
  #at = 0;

  /** `what` names the object in errors. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }

  get position(): number {
    return this.#at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): number {
    const value = this.#view.getBigUint64(this.#take(8), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.invalid('a number exceeds 2^53');
    return Number(value);
  }

  zeros(count: number): void {
    const at = this.#take(count);
    for (let index = at; index < at + count; index++)
      if (this.#bytes[index] !== 0) throw this.invalid('a reserved byte is set');
  }

  /** A view of the input. */
  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  block(bytesMax: number): Uint8Array {
    const length = this.u32();
    if (length > bytesMax) throw this.invalid(`a field of ${length} bytes exceeds ${bytesMax}`);
    return this.bytes(length);
  }

  /** A count that the remaining bytes can hold at `itemBytes` each. */
  count(itemBytes: number): number {
    const count = this.u32();
    if (count * itemBytes > this.#bytes.length - this.#at) throw this.invalid(`a list of ${count} items is cut off`);
    return count;
  }

  expect(ascii: string): void {
    const at = this.#take(ascii.length);
    for (let index = 0; index < ascii.length; index++) {
      if (this.#bytes[at + index] !== ascii.charCodeAt(index)) throw this.invalid('the magic is wrong');
    }
  }

  version(known: number): void {
    const version = this.u16();
    if (version !== known) {
      throw new CaissonError(
        'invalid',
        'format-version',
        `${this.#what} has format version ${version}, this program reads ${known}`,
        {
          remedy: 'Open it with the version of Caisson that wrote it.',
          details: { version },
        },
      );
    }
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw this.invalid(`${this.#bytes.length - this.#at} bytes follow the end`);
  }

  invalid(message: string): CaissonError {
    return new CaissonError('integrity', 'format-invalid', `${this.#what}: ${message}`);
  }

  #take(count: number): number {
    if (this.#at + count > this.#bytes.length) throw this.invalid('it is cut off');
    const at = this.#at;
    this.#at += count;
    return at;
  }
}
