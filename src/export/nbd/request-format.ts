/**
 * The transmission phase as bytes: requests in, reply headers out (Spec: spec/nbd.md, "Transmission". Vectors: test/vectors/nbd/).
 *
 * Pure: no sockets, no state. All functions read and write at an offset of a caller's array and
 * allocate nothing, because they run once per request. 64-bit values become numbers: exact up to
 * 2^53, beyond that rounded, which is enough to see that they are past the end of any volume. The
 * cookie (the protocol's "handle") is never a number: it is copied as bytes.
 */

export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

export const Command = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
  RESIZE: 8,
} as const;

/** The names metrics and logs use, by command number; the last stands for all unknown ones. */
export const commandNames = [
  'read',
  'write',
  'disconnect',
  'flush',
  'trim',
  'cache',
  'write-zeroes',
  'block-status',
  'resize',
  'unknown',
] as const;

export const CommandFlag = {
  FUA: 1 << 0,
  NO_HOLE: 1 << 1,
  DF: 1 << 2,
  REQ_ONE: 1 << 3,
  FAST_ZERO: 1 << 4,
} as const;

export const ChunkType = { NONE: 0, OFFSET_DATA: 1, OFFSET_HOLE: 2, BLOCK_STATUS: 5, ERROR: 0x8001 } as const;
export const CHUNK_FLAG_DONE = 1;

/** `base:allocation` (proto.md, "base:allocation metadata context"). */
export const StateFlag = { HOLE: 1, ZERO: 2 } as const;

export const requestHeaderBytes = 28;
export const cookieBytes = 8;
export const simpleReplyBytes = 16;
export const chunkHeaderBytes = 20;
/** A chunk header and the offset before the data of OFFSET_DATA. */
export const dataChunkHeaderBytes = chunkHeaderBytes + 8;

/** Where the fields of a request lie, from its first byte. */
export const requestFlagsOffset = 4;
export const requestCommandOffset = 6;
export const requestCookieOffset = 8;
export const requestOffsetOffset = 16;
export const requestLengthOffset = 24;

export function readUint16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

export function readUint64(bytes: Uint8Array, at: number): number {
  return readUint32(bytes, at) * 0x1_0000_0000 + readUint32(bytes, at + 4);
}

export function writeUint16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** `value` is a whole number up to 2^53. */
export function writeUint64(bytes: Uint8Array, at: number, value: number): void {
  writeUint32(bytes, at, Math.floor(value / 0x1_0000_0000));
  writeUint32(bytes, at + 4, value >>> 0);
}

export function copyCookie(from: Uint8Array, fromOffset: number, to: Uint8Array, toOffset: number): void {
  for (let index = 0; index < cookieBytes; index++) to[toOffset + index] = from[fromOffset + index]!;
}

/** `cookie` holds the request's cookie from `cookieOffset` on. Returns the offset after the header. */
export function writeSimpleReply(
  bytes: Uint8Array,
  at: number,
  errorNumber: number,
  cookie: Uint8Array,
  cookieOffset: number,
): number {
  writeUint32(bytes, at, SIMPLE_REPLY_MAGIC);
  writeUint32(bytes, at + 4, errorNumber);
  copyCookie(cookie, cookieOffset, bytes, at + 8);
  return at + simpleReplyBytes;
}

/** A chunk that is the only one of its reply. Returns the offset after the header. */
export function writeChunkHeader(
  bytes: Uint8Array,
  at: number,
  type: number,
  payloadLength: number,
  cookie: Uint8Array,
  cookieOffset: number,
): number {
  writeUint32(bytes, at, STRUCTURED_REPLY_MAGIC);
  writeUint16(bytes, at + 4, CHUNK_FLAG_DONE);
  writeUint16(bytes, at + 6, type);
  copyCookie(cookie, cookieOffset, bytes, at + 8);
  writeUint32(bytes, at + 16, payloadLength);
  return at + chunkHeaderBytes;
}

/** The length of a BLOCK_STATUS reply for one context with `count` descriptors. */
export function blockStatusBytes(count: number): number {
  return chunkHeaderBytes + 4 + 8 * count;
}

export interface StatusExtent {
  readonly length: number;
  readonly hole: boolean;
  readonly zero: boolean;
}

/**
 * The one chunk that answers BLOCK_STATUS for one context. No descriptor reaches past `length`, and
 * neighbours that are alike become one. Returns the offset after it.
 */
export function writeBlockStatus(
  bytes: Uint8Array,
  at: number,
  contextId: number,
  length: number,
  extents: readonly StatusExtent[],
  cookie: Uint8Array,
  cookieOffset: number,
): number {
  let next = at + blockStatusBytes(0);
  let left = length;
  let lastFlags = -1;
  let run = 0;
  for (const extent of extents) {
    const taken = Math.min(extent.length, left);
    if (taken <= 0) break;
    left -= taken;
    const flags = (extent.hole ? StateFlag.HOLE : 0) | (extent.zero ? StateFlag.ZERO : 0);
    const same = flags === lastFlags;
    run = same ? run + taken : taken;
    if (same) next -= 8;
    lastFlags = flags;
    writeUint32(bytes, next, run);
    writeUint32(bytes, next + 4, flags);
    next += 8;
  }
  writeChunkHeader(bytes, at, ChunkType.BLOCK_STATUS, next - at - chunkHeaderBytes, cookie, cookieOffset);
  writeUint32(bytes, at + chunkHeaderBytes, contextId);
  return next;
}

/** One request, for tests, fuzzing and anything that is not the hot path. */
export interface Request {
  readonly flags: number;
  readonly command: number;
  readonly cookie: Uint8Array;
  readonly offset: number;
  readonly length: number;
}

/** The request at `at`, or undefined when the magic is not there. The caller has checked the length. */
export function decodeRequest(bytes: Uint8Array, at: number): Request | undefined {
  if (readUint32(bytes, at) !== REQUEST_MAGIC) return undefined;
  return {
    flags: readUint16(bytes, at + requestFlagsOffset),
    command: readUint16(bytes, at + requestCommandOffset),
    cookie: bytes.subarray(at + requestCookieOffset, at + requestCookieOffset + cookieBytes),
    offset: readUint64(bytes, at + requestOffsetOffset),
    length: readUint32(bytes, at + requestLengthOffset),
  };
}
