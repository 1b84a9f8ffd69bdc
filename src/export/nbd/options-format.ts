/**
 * The handshake phase as bytes: options in, option replies out (Spec: spec/nbd.md, "Handshake". Vectors: test/vectors/nbd/).
 *
 * Pure: no sockets, no state. Decoders return undefined for anything that is not exactly the
 * option's grammar: a length that reaches past the option, bytes left over, a string that is not
 * UTF-8 or holds a NUL.
 */
import { readUint16, readUint32, writeUint16, writeUint32, writeUint64 } from './request-format.ts';

/** "NBDMAGIC" then "IHAVEOPT", and the flags FIXED_NEWSTYLE and NO_ZEROES. */
export const GREETING = Uint8Array.of(
  0x4e,
  0x42,
  0x44,
  0x4d,
  0x41,
  0x47,
  0x49,
  0x43,
  0x49,
  0x48,
  0x41,
  0x56,
  0x45,
  0x4f,
  0x50,
  0x54,
  0x00,
  0x03,
);
export const ClientFlag = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;
export const clientFlagsBytes = 4;
export const optionHeaderBytes = 16;
/** The zeroes at the end of an EXPORT_NAME reply, unless both sides agreed to leave them out. */
export const exportNamePaddingBytes = 124;

const OPTION_MAGIC_HIGH = 0x49484156; // "IHAV"
const OPTION_MAGIC_LOW = 0x454f5054; // "EOPT"
const REPLY_MAGIC_HIGH = 0x0003e889;
const REPLY_MAGIC_LOW = 0x045565a9;

export const Option = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
} as const;

export const Reply = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x80000001,
  ERR_POLICY: 0x80000002,
  ERR_INVALID: 0x80000003,
  ERR_TLS_REQD: 0x80000005,
  ERR_UNKNOWN: 0x80000006,
  ERR_SHUTDOWN: 0x80000007,
  ERR_TOO_BIG: 0x80000009,
} as const;

export const Info = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;

export const TransmissionFlag = {
  HAS_FLAGS: 1 << 0,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_FUA: 1 << 3,
  SEND_TRIM: 1 << 5,
  SEND_WRITE_ZEROES: 1 << 6,
  SEND_DF: 1 << 7,
  CAN_MULTI_CONN: 1 << 8,
  SEND_RESIZE: 1 << 9,
  SEND_CACHE: 1 << 10,
  SEND_FAST_ZERO: 1 << 11,
} as const;

export interface OptionHeader {
  readonly option: number;
  readonly length: number;
}

/** The option header at `at`, or undefined when the magic is wrong. The caller has 16 bytes. */
export function decodeOptionHeader(bytes: Uint8Array, at: number): OptionHeader | undefined {
  if (readUint32(bytes, at) !== OPTION_MAGIC_HIGH || readUint32(bytes, at + 4) !== OPTION_MAGIC_LOW) return undefined;
  return { option: readUint32(bytes, at + 8), length: readUint32(bytes, at + 12) };
}

/** An export name, or undefined when it breaks the rules for strings. `data` is the whole string. */
export function decodeString(data: Uint8Array, stringBytesMax: number): string | undefined {
  if (data.length > stringBytesMax || data.includes(0)) return undefined;
  try {
    return strictUtf8.decode(data);
  } catch {
    return undefined;
  }
}

export interface InfoRequest {
  readonly name: string;
  readonly infos: readonly number[];
}

/** The data of INFO and GO: name, then the kinds of information asked for, each at most once. */
export function decodeInfoRequest(data: Uint8Array, stringBytesMax: number): InfoRequest | undefined {
  const cursor = new Cursor(data);
  const name = cursor.string(stringBytesMax);
  const count = cursor.uint16();
  if (name === undefined || count === undefined || cursor.remaining !== count * 2) return undefined;
  const infos: number[] = [];
  for (let index = 0; index < count; index++) infos.push(cursor.uint16()!);
  return new Set(infos).size === infos.length ? { name, infos } : undefined;
}

export interface MetaContextRequest {
  readonly name: string;
  readonly queries: readonly string[];
}

/** The data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export function decodeMetaContextRequest(data: Uint8Array, stringBytesMax: number): MetaContextRequest | undefined {
  const cursor = new Cursor(data);
  const name = cursor.string(stringBytesMax);
  const count = cursor.uint32();
  // Each query takes four bytes at least: a count that cannot fit is refused before anything is built.
  if (name === undefined || count === undefined || count * 4 > cursor.remaining) return undefined;
  const queries: string[] = [];
  for (let index = 0; index < count; index++) {
    const query = cursor.string(stringBytesMax);
    if (query === undefined) return undefined;
    queries.push(query);
  }
  return cursor.remaining === 0 ? { name, queries } : undefined;
}

export function encodeReply(option: number, type: number, data: Uint8Array = nothing): Uint8Array {
  const bytes = new Uint8Array(20 + data.length);
  writeUint32(bytes, 0, REPLY_MAGIC_HIGH);
  writeUint32(bytes, 4, REPLY_MAGIC_LOW);
  writeUint32(bytes, 8, option);
  writeUint32(bytes, 12, type);
  writeUint32(bytes, 16, data.length);
  bytes.set(data, 20);
  return bytes;
}

/** An error reply; its text is for the person in front of the client. */
export function encodeErrorReply(option: number, type: number, message: string): Uint8Array {
  return encodeReply(option, type, utf8.encode(message));
}

/** The data of a SERVER reply: one line of the list of exports. */
export function encodeServer(name: string, description: string): Uint8Array {
  const nameBytes = utf8.encode(name);
  const bytes = new Uint8Array(4 + nameBytes.length + utf8.encode(description).length);
  writeUint32(bytes, 0, nameBytes.length);
  bytes.set(nameBytes, 4);
  bytes.set(utf8.encode(description), 4 + nameBytes.length);
  return bytes;
}

export function encodeInfoExport(size: number, flags: number): Uint8Array {
  const bytes = new Uint8Array(12);
  writeUint16(bytes, 0, Info.EXPORT);
  writeUint64(bytes, 2, size);
  writeUint16(bytes, 10, flags);
  return bytes;
}

/** The data of INFO_NAME and INFO_DESCRIPTION. */
export function encodeInfoText(info: number, text: string): Uint8Array {
  const textBytes = utf8.encode(text);
  const bytes = new Uint8Array(2 + textBytes.length);
  writeUint16(bytes, 0, info);
  bytes.set(textBytes, 2);
  return bytes;
}

export function encodeInfoBlockSize(minimum: number, preferred: number, payloadMax: number): Uint8Array {
  const bytes = new Uint8Array(14);
  writeUint16(bytes, 0, Info.BLOCK_SIZE);
  writeUint32(bytes, 2, minimum);
  writeUint32(bytes, 6, preferred);
  writeUint32(bytes, 10, payloadMax);
  return bytes;
}

export function encodeMetaContext(id: number, name: string): Uint8Array {
  const nameBytes = utf8.encode(name);
  const bytes = new Uint8Array(4 + nameBytes.length);
  writeUint32(bytes, 0, id);
  bytes.set(nameBytes, 4);
  return bytes;
}

/** The answer to EXPORT_NAME, which has no reply header. */
export function encodeExportName(size: number, flags: number, padded: boolean): Uint8Array {
  const bytes = new Uint8Array(10 + (padded ? exportNamePaddingBytes : 0));
  writeUint64(bytes, 0, size);
  writeUint16(bytes, 8, flags);
  return bytes;
}

const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const nothing = new Uint8Array(0);

/** Reads fields in order; each read is undefined when the field does not fit. */
class Cursor {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  uint16(): number | undefined {
    if (this.remaining < 2) return undefined;
    this.#at += 2;
    return readUint16(this.#bytes, this.#at - 2);
  }

  uint32(): number | undefined {
    if (this.remaining < 4) return undefined;
    this.#at += 4;
    return readUint32(this.#bytes, this.#at - 4);
  }

  string(stringBytesMax: number): string | undefined {
    const length = this.uint32();
    if (length === undefined || length > this.remaining) return undefined;
    this.#at += length;
    return decodeString(this.#bytes.subarray(this.#at - length, this.#at), stringBytesMax);
  }
}
