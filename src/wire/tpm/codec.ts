/**
 * TpmReader and TpmWriter: the encoding of TPM 2.0 structures (TPM 2.0 Library, Part 2, "Canonicalization"):
 * big-endian fields one after another, no padding, byte strings behind a 16-bit length ("TPM2B").
 * A reader checks every length before it reads and wants all bytes used.
 */
import { assert } from '../../lib/assert.ts';
import type { CaissonError } from '../../lib/errors.ts';
import { evidenceInvalid } from '../evidence.ts';

const u64Max = 2n ** 64n - 1n;

/** Makes the error of a reader: evidence is `evidence-invalid`, the answer of a TPM may be something else. */
export type RefuseBytes = (message: string) => CaissonError;

export class TpmReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;
  readonly #refuse: RefuseBytes;
  #at = 0;

  /** `what` names the structure in errors. */
  constructor(bytes: Uint8Array, what: string, refuse: RefuseBytes = (message) => evidenceInvalid(message, {})) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
    this.#refuse = refuse;
  }

  get position(): number {
    return this.#at;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2));
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8));
  }

  /** TPMI_YES_NO: one byte, 0 or 1. */
  flag(): boolean {
    const value = this.u8();
    if (value > 1) throw this.invalid(`a flag is ${value}`);
    return value === 1;
  }

  /** A view of the input. */
  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  /** TPM2B: a view of what the 16-bit length in front of it covers. */
  sized(bytesMax: number): Uint8Array {
    const length = this.u16();
    if (length > bytesMax) throw this.invalid(`a field of ${length} bytes exceeds ${bytesMax}`);
    return this.bytes(length);
  }

  /** What is left, as a view. */
  rest(): Uint8Array {
    return this.bytes(this.remaining);
  }

  /** A view of the input from `start` up to here. */
  since(start: number): Uint8Array {
    return this.#bytes.subarray(start, this.#at);
  }

  end(): void {
    if (this.remaining !== 0) throw this.invalid(`${this.remaining} bytes follow the end`);
  }

  invalid(message: string): CaissonError {
    return this.#refuse(`${this.#what}: ${message}`);
  }

  #take(count: number): number {
    if (count > this.remaining) throw this.invalid('it is cut off');
    const at = this.#at;
    this.#at += count;
    return at;
  }
}

export class TpmWriter {
  readonly #parts: Uint8Array[] = [];

  u8(value: number): this {
    assert(Number.isInteger(value) && value >= 0 && value <= 0xff, `u8 ${value}`);
    return this.bytes(Uint8Array.of(value));
  }

  u16(value: number): this {
    assert(Number.isInteger(value) && value >= 0 && value <= 0xffff, `u16 ${value}`);
    return this.bytes(Uint8Array.of(value >>> 8, value & 0xff));
  }

  u32(value: number): this {
    assert(Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff, `u32 ${value}`);
    return this.u16(Math.floor(value / 0x1_0000)).u16(value % 0x1_0000);
  }

  u64(value: bigint): this {
    assert(value >= 0n && value <= u64Max, `u64 ${value}`);
    return this.u32(Number(value >> 32n)).u32(Number(value & 0xffff_ffffn));
  }

  flag(value: boolean): this {
    return this.u8(value ? 1 : 0);
  }

  bytes(bytes: Uint8Array): this {
    this.#parts.push(bytes);
    return this;
  }

  /** TPM2B: the length in 16 bits, then the bytes. */
  sized(bytes: Uint8Array): this {
    return this.u16(bytes.length).bytes(bytes);
  }

  finish(): Uint8Array {
    const whole = new Uint8Array(this.#parts.reduce((length, part) => length + part.length, 0));
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }
}

/** The value of `length` bytes, big-endian: zeros in front, or zeros in front taken away. Undefined where it does not fit. */
export function leftPadded(value: Uint8Array, length: number): Uint8Array | undefined {
  const excess = Math.max(value.length - length, 0);
  if (value.subarray(0, excess).some((byte) => byte !== 0)) return undefined;
  const padded = new Uint8Array(length);
  padded.set(value.subarray(excess), length - (value.length - excess));
  return padded;
}
