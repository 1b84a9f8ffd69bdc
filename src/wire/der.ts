/**
 * DER, the one encoding of ASN.1 that certificates and revocation lists use (spec/der.md). Reads only.
 *
 * Strict: definite lengths in their shortest form, low tag numbers, nothing after the end, at most
 * `derBytesMax` bytes and `derDepthMax` levels. Values are views of the bytes that were given; a level is
 * parsed when it is asked for, so that what nobody looks at costs nothing.
 *
 * Every refusal is `format-invalid`; callers say in their own words whose bytes these were.
 */
import { CaissonError } from '../lib/errors.ts';
import { derBytesMax, derDepthMax } from '../lib/limits.ts';

/** Identifier octets (X.690, 8.1.2) of the universal types that occur. */
export const derTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  objectIdentifier: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  teletexString: 0x14,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** The identifier octet of context tag `[number]`: constructed where it wraps or holds fields, else primitive. */
export function contextTag(number: number, form: 'constructed' | 'primitive'): number {
  return 0x80 | (form === 'constructed' ? 0x20 : 0) | number;
}

/** The one value that `bytes` are. */
export function parseDer(bytes: Uint8Array): DerValue {
  if (bytes.length > derBytesMax) throw invalid(`more than ${derBytesMax} bytes`);
  const fields = new DerFields(bytes, 0);
  const value = fields.next();
  fields.end();
  return value;
}

/** One value: its identifier octet, all its bytes (what signatures cover), and its contents. */
export class DerValue {
  readonly tag: number;
  readonly bytes: Uint8Array;
  readonly content: Uint8Array;
  readonly #depth: number;

  constructor(tag: number, bytes: Uint8Array, content: Uint8Array, depth: number) {
    this.tag = tag;
    this.bytes = bytes;
    this.content = content;
    this.#depth = depth;
  }

  /** The same contents under another tag: for implicit tagging, after the caller has looked at `tag`. */
  as(tag: number): DerValue {
    return new DerValue(tag, this.bytes, this.content, this.#depth);
  }

  sequence(): DerFields {
    return this.#fields(derTag.sequence);
  }

  /** The elements of a set. Their order is not checked: nothing here depends on it. */
  set(): DerFields {
    return this.#fields(derTag.set);
  }

  /** The one value inside the explicit tag `[number]`. */
  explicit(number: number): DerValue {
    const fields = this.#fields(contextTag(number, 'constructed'));
    const value = fields.next();
    fields.end();
    return value;
  }

  boolean(): boolean {
    const [byte] = this.#primitive(derTag.boolean);
    if (this.content.length !== 1 || (byte !== 0 && byte !== 0xff)) throw invalid('a boolean is neither 00 nor ff');
    return byte === 0xff;
  }

  /** Two's complement, most significant first, in the shortest form: as it is encoded. */
  integerBytes(): Uint8Array {
    const [first, second] = this.#primitive(derTag.integer);
    if (first === undefined) throw invalid('an integer is empty');
    const isPadded =
      second !== undefined && ((first === 0 && (second & 0x80) === 0) || (first === 0xff && (second & 0x80) !== 0));
    if (isPadded) throw invalid('an integer is longer than it needs to be');
    return this.content;
  }

  /** Of an integer from 0 on: its magnitude without the leading zero that its sign needs. */
  unsignedBytes(): Uint8Array {
    const bytes = this.integerBytes();
    if ((bytes[0]! & 0x80) !== 0) throw invalid('an integer is negative');
    return bytes.length > 1 && bytes[0] === 0 ? bytes.subarray(1) : bytes;
  }

  /** A whole number from 0 up to 2^48: every number that anything here counts with. */
  number(): number {
    const bytes = this.unsignedBytes();
    if (bytes.length > 6) throw invalid('an integer is too large');
    return bytes.reduce((number, byte) => number * 256 + byte, 0);
  }

  /** Such as `1.2.840.10045.4.3.2`. */
  oid(): string {
    const content = this.#primitive(derTag.objectIdentifier);
    const arcs: number[] = [];
    let arc = 0;
    let isInside = false;
    for (const byte of content) {
      if (!isInside && byte === 0x80) throw invalid('an object identifier has a padded arc');
      if (arc > Number.MAX_SAFE_INTEGER / 256) throw invalid('an object identifier has too large an arc');
      arc = arc * 128 + (byte & 0x7f);
      isInside = (byte & 0x80) !== 0;
      if (isInside) continue;
      arcs.push(arc);
      arc = 0;
    }
    const [first] = arcs;
    if (first === undefined || isInside) throw invalid('an object identifier ends early');
    const root = Math.min(Math.floor(first / 40), 2);
    return [root, first - root * 40, ...arcs.toSpliced(0, 1)].join('.');
  }

  /** Of a bit string of whole bytes: a signature, a key. */
  bitStringBytes(): Uint8Array {
    const [unused] = this.#primitive(derTag.bitString);
    if (unused !== 0) throw invalid('a bit string is not of whole bytes');
    return this.content.subarray(1);
  }

  /** Of a named bit list such as key usage: whether bit `n` is set, counted from the most significant. */
  bits(): (bit: number) => boolean {
    const [unused = 8] = this.#primitive(derTag.bitString);
    const bytes = this.content.subarray(1);
    const last = bytes[bytes.length - 1];
    const isRight = last === undefined ? unused === 0 : unused <= 7 && (last & ((1 << unused) - 1)) === 0;
    if (!isRight) throw invalid('a list of bits has bits after its end');
    return (bit) => ((bytes[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0;
  }

  octetString(): Uint8Array {
    return this.#primitive(derTag.octetString);
  }

  /** A character string of any of the types that names use. Bytes that are not text are refused. */
  text(): string {
    const { tag, content } = this;
    if (tag === derTag.utf8String) return decodeUtf8(content);
    if (tag === derTag.teletexString) return Buffer.from(content).toString('latin1');
    if (tag !== derTag.printableString && tag !== derTag.ia5String) throw invalid('a value is no text of a known kind');
    if (content.some((byte) => byte > 0x7f)) throw invalid('a text holds bytes that are no characters of it');
    return decodeUtf8(content);
  }

  /** Milliseconds since 1970, of UTCTime or GeneralizedTime in the forms of RFC 5280, 4.1.2.5. */
  time(): number {
    const isShort = this.tag === derTag.utcTime;
    if (!isShort && this.tag !== derTag.generalizedTime) throw invalid('a value is no time');
    const text = Buffer.from(this.content).toString('latin1');
    const form = isShort
      ? /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/
      : /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/;
    const match = form.exec(text);
    if (match === null) throw invalid('a time is not in the form that certificates use');
    const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.map(Number).toSpliced(0, 1);
    const fullYear = isShort ? year + (year < 50 ? 2000 : 1900) : year;
    const time = Date.UTC(2000, month - 1, day, hour, minute, second);
    const date = new Date(time);
    date.setUTCFullYear(fullYear, month - 1, day);
    const isReal =
      date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
    if (!isReal) throw invalid('a time names a moment that does not exist');
    return date.getTime();
  }

  null(): void {
    if (this.#primitive(derTag.null).length > 0) throw invalid('a null holds something');
  }

  #primitive(tag: number): Uint8Array {
    if (this.tag !== tag) throw invalid(`there is tag ${this.tag} where tag ${tag} should be`);
    return this.content;
  }

  #fields(tag: number): DerFields {
    return new DerFields(this.#primitive(tag), this.#depth + 1);
  }
}

/** Values one after another: takes them in order, and `end` refuses what is left over. */
export class DerFields {
  readonly #bytes: Uint8Array;
  readonly #depth: number;
  #offset = 0;

  constructor(bytes: Uint8Array, depth: number) {
    if (depth > derDepthMax) throw invalid(`more than ${derDepthMax} levels`);
    this.#bytes = bytes;
    this.#depth = depth;
  }

  get isAtEnd(): boolean {
    return this.#offset === this.#bytes.length;
  }

  next(): DerValue {
    const start = this.#offset;
    const tag = this.#byte();
    if ((tag & 0x1f) === 0x1f) throw invalid('a tag number is too high');
    const length = this.#length();
    const end = this.#offset + length;
    if (end > this.#bytes.length) throw invalid('a value ends early');
    const value = new DerValue(
      tag,
      this.#bytes.subarray(start, end),
      this.#bytes.subarray(this.#offset, end),
      this.#depth,
    );
    this.#offset = end;
    return value;
  }

  /** The next value where it has this tag; else nothing is taken. */
  optional(tag: number): DerValue | undefined {
    return this.#bytes[this.#offset] === tag ? this.next() : undefined;
  }

  end(): void {
    if (!this.isAtEnd) throw invalid('there are bytes after the last field');
  }

  /** All that is left, one after another. */
  *rest(): Generator<DerValue, void, undefined> {
    while (!this.isAtEnd) yield this.next();
  }

  #length(): number {
    const first = this.#byte();
    if (first < 0x80) return first;
    const count = first & 0x7f;
    if (count === 0 || count > 4) throw invalid('a length is not definite, or too large');
    let length = 0;
    for (let index = 0; index < count; index++) length = length * 256 + this.#byte();
    if (length < 0x80 || length < 256 ** (count - 1)) throw invalid('a length is longer than it needs to be');
    return length;
  }

  #byte(): number {
    const byte = this.#bytes[this.#offset];
    if (byte === undefined) throw invalid('a value ends early');
    this.#offset += 1;
    return byte;
  }
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw invalid('a text is not UTF-8', error);
  }
}

function invalid(message: string, cause?: unknown): CaissonError {
  return new CaissonError('invalid', 'format-invalid', `not DER: ${message}`, cause === undefined ? {} : { cause });
}
