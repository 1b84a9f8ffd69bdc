/**
 * Codec of the FUSE kernel protocol, as far as one fixed file needs it. Spec: spec/fuse.md.
 * Vectors: test/vectors/fuse/
 *
 * Pure: a request's bytes in, checked values or a `protocol-violation` out; replies are built into
 * bytes the caller gives. Every parser insists on the exact length of its body, so that no message is
 * half understood. Offsets become safe integers once, here.
 */
import { CaissonError } from '../../lib/errors.ts';

export const requestHeaderBytes = 40;
export const replyHeaderBytes = 16;
/** Where the payload of a WRITE begins in its message. */
export const writePayloadOffset = requestHeaderBytes + 40;
export const nameBytesMax = 255;

export const Opcode = {
  lookup: 1,
  forget: 2,
  getAttributes: 3,
  setAttributes: 4,
  open: 14,
  read: 15,
  write: 16,
  statFileSystem: 17,
  release: 18,
  sync: 20,
  init: 26,
  openFolder: 27,
  readFolder: 28,
  releaseFolder: 29,
  syncFolder: 30,
  access: 34,
  interrupt: 36,
  destroy: 38,
  forgetMany: 42,
  allocate: 43,
  seek: 46,
} as const;

/** Bits of the `valid` field of SETATTR that matter here. */
export const SetAttribute = { mode: 1, user: 2, group: 4, size: 8 } as const;
export const AllocateMode = { keepSize: 1, punchHole: 2, zeroRange: 16 } as const;
export const Whence = { data: 3, hole: 4 } as const;
export const FileType = { folder: 4, regular: 8 } as const;

export interface RequestHeader {
  readonly length: number;
  readonly opcode: number;
  /** The kernel's name for the request, echoed in the reply, never computed with. */
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  readonly node: number;
}

export interface InitRequest {
  readonly major: number;
  readonly minor: number;
  readonly readaheadBytesMax: number;
  readonly flags: number;
}

export interface InitReply {
  readonly major: number;
  readonly minor: number;
  readonly readaheadBytesMax: number;
  readonly flags: number;
  readonly backgroundMax: number;
  readonly writeBytesMax: number;
  readonly pagesMax: number;
}

export interface TransferRequest {
  readonly offset: number;
  readonly size: number; // bytes
}

export interface AllocateRequest {
  readonly offset: number;
  readonly length: number;
  readonly mode: number;
}

export interface Attributes {
  readonly node: number;
  readonly size: number; // bytes
  readonly sectorCount: number; // of 512 bytes, what `blocks` means
  readonly seconds: number; // one time for access, change and status
  readonly mode: number;
  readonly linkCount: number;
  readonly userId: number;
  readonly groupId: number;
  readonly blockSize: number;
}

export interface FolderEntry {
  readonly node: number;
  readonly type: number;
  readonly name: string;
}

export function parseHeader(message: Uint8Array): RequestHeader {
  if (message.length < requestHeaderBytes) throw violation('the header is cut off', message.length);
  const length = u32(message, 0);
  if (length !== message.length) throw violation('the length differs from the bytes read', length);
  const extensions = u16(message, 36);
  if (extensions !== 0) throw violation('extensions were never negotiated', extensions);
  const nodeHigh = u32(message, 20);
  // No node of ours is large: one beyond safe integers is unknown, and -1 is no node.
  const node = nodeHigh > 0x1f_ffff ? -1 : nodeHigh * 2 ** 32 + u32(message, 16);
  return { length, opcode: u32(message, 4), uniqueLow: u32(message, 8), uniqueHigh: u32(message, 12), node };
}

export function parseInit(message: Uint8Array): InitRequest {
  const length = message.length - requestHeaderBytes;
  if (length !== 16 && length !== 64) throw violation('INIT has a wrong length', length);
  const body = requestHeaderBytes;
  return {
    major: u32(message, body),
    minor: u32(message, body + 4),
    readaheadBytesMax: u32(message, body + 8),
    flags: u32(message, body + 12),
  };
}

export function parseLookup(message: Uint8Array): string {
  const end = message.length - 1;
  if (end <= requestHeaderBytes) throw violation('LOOKUP has no name', message.length);
  if (message.indexOf(0, requestHeaderBytes) !== end)
    throw violation('the name does not end in its only NUL', message.length);
  // Bytes that are no UTF-8 become a name that no file has.
  return new TextDecoder().decode(message.subarray(requestHeaderBytes, end));
}

/** READ and READDIR. */
export function parseRead(message: Uint8Array): TransferRequest {
  expectBody(message, 40, 'READ');
  return { offset: offsetAt(message, requestHeaderBytes + 8), size: u32(message, requestHeaderBytes + 16) };
}

/** The payload lies at `writePayloadOffset`. */
export function parseWrite(message: Uint8Array): TransferRequest {
  if (message.length < writePayloadOffset) throw violation('WRITE is cut off', message.length);
  const size = u32(message, requestHeaderBytes + 16);
  if (size !== message.length - writePayloadOffset)
    throw violation('the size of a WRITE differs from its payload', size);
  return { offset: offsetAt(message, requestHeaderBytes + 8), size };
}

export function parseAllocate(message: Uint8Array): AllocateRequest {
  expectBody(message, 32, 'FALLOCATE');
  const body = requestHeaderBytes;
  return { offset: offsetAt(message, body + 8), length: offsetAt(message, body + 16), mode: u32(message, body + 24) };
}

export function parseSeek(message: Uint8Array): { readonly offset: number; readonly whence: number } {
  expectBody(message, 24, 'LSEEK');
  return { offset: offsetAt(message, requestHeaderBytes + 8), whence: u32(message, requestHeaderBytes + 16) };
}

/** `size` means something only when `valid` says so; it may be beyond every safe integer, hence -1. */
export function parseSetAttributes(message: Uint8Array): { readonly valid: number; readonly size: number } {
  expectBody(message, 88, 'SETATTR');
  const high = u32(message, requestHeaderBytes + 20);
  const size = high > 0x1f_ffff ? -1 : high * 2 ** 32 + u32(message, requestHeaderBytes + 16);
  return { valid: u32(message, requestHeaderBytes), size };
}

/** The flags of open(2). */
export function parseOpen(message: Uint8Array): number {
  expectBody(message, 8, 'OPEN');
  return u32(message, requestHeaderBytes);
}

export function parseForgetMany(message: Uint8Array): number {
  if (message.length < requestHeaderBytes + 8) throw violation('BATCH_FORGET is cut off', message.length);
  const count = u32(message, requestHeaderBytes);
  expectBody(message, 8 + 16 * count, 'BATCH_FORGET');
  return count;
}

/** For the requests whose body holds nothing this export looks at. */
export function expectBody(message: Uint8Array, length: number, name: string): void {
  if (message.length !== requestHeaderBytes + length)
    throw violation(`${name} has a wrong length`, message.length - requestHeaderBytes);
}

/** The header of a reply with `bodyLength` bytes behind it; returns the length of the whole. */
export function encodeReply(target: Uint8Array, request: RequestHeader, bodyLength: number): number {
  return encodeReplyHeader(target, request, bodyLength, 0);
}

/** `errno` is positive; the wire wants it negated. */
export function encodeErrorReply(target: Uint8Array, request: RequestHeader, errno: number): number {
  return encodeReplyHeader(target, request, 0, -errno);
}

function encodeReplyHeader(target: Uint8Array, request: RequestHeader, bodyLength: number, error: number): number {
  putU32(target, 0, replyHeaderBytes + bodyLength);
  putU32(target, 4, error);
  putU32(target, 8, request.uniqueLow);
  putU32(target, 12, request.uniqueHigh);
  return replyHeaderBytes + bodyLength;
}

export function encodeInitReply(target: Uint8Array, request: RequestHeader, reply: InitReply): number {
  const body = replyHeaderBytes;
  target.fill(0, body, body + 64);
  putU32(target, body, reply.major);
  putU32(target, body + 4, reply.minor);
  putU32(target, body + 8, reply.readaheadBytesMax);
  putU32(target, body + 12, reply.flags);
  putU16(target, body + 16, reply.backgroundMax);
  putU16(target, body + 18, Math.floor((reply.backgroundMax * 3) / 4));
  putU32(target, body + 20, reply.writeBytesMax);
  putU32(target, body + 24, 1);
  putU16(target, body + 28, reply.pagesMax);
  return encodeReply(target, request, 64);
}

export function encodeEntryReply(
  target: Uint8Array,
  request: RequestHeader,
  attributes: Attributes,
  nameSeconds: number,
): number {
  const body = replyHeaderBytes;
  target.fill(0, body, body + 40);
  putU64(target, body, attributes.node);
  putU64(target, body + 16, nameSeconds);
  putAttributes(target, body + 40, attributes);
  return encodeReply(target, request, 128);
}

export function encodeAttributesReply(target: Uint8Array, request: RequestHeader, attributes: Attributes): number {
  const body = replyHeaderBytes;
  target.fill(0, body, body + 16);
  putAttributes(target, body + 16, attributes);
  return encodeReply(target, request, 104);
}

export function encodeOpenReply(target: Uint8Array, request: RequestHeader, openFlags: number): number {
  const body = replyHeaderBytes;
  target.fill(0, body, body + 16);
  putU32(target, body + 8, openFlags);
  return encodeReply(target, request, 16);
}

export function encodeWriteReply(target: Uint8Array, request: RequestHeader, size: number): number {
  putU32(target, replyHeaderBytes, size);
  putU32(target, replyHeaderBytes + 4, 0);
  return encodeReply(target, request, 8);
}

export function encodeSeekReply(target: Uint8Array, request: RequestHeader, offset: number): number {
  putU64(target, replyHeaderBytes, offset);
  return encodeReply(target, request, 8);
}

export function encodeStatReply(
  target: Uint8Array,
  request: RequestHeader,
  blockCount: number,
  blockSize: number,
): number {
  const body = replyHeaderBytes;
  target.fill(0, body, body + 80);
  putU64(target, body, blockCount);
  putU64(target, body + 24, 1);
  putU32(target, body + 40, blockSize);
  putU32(target, body + 44, nameBytesMax);
  putU32(target, body + 48, blockSize);
  return encodeReply(target, request, 80);
}

/** The entries from index `first` on, as many whole ones as fit in `sizeMax` bytes. */
export function encodeFolderReply(
  target: Uint8Array,
  request: RequestHeader,
  entries: readonly FolderEntry[],
  first: number,
  sizeMax: number,
): number {
  let at = replyHeaderBytes;
  const end = Math.min(replyHeaderBytes + sizeMax, target.length);
  for (let index = first; index < entries.length; index++) {
    const entry = entries[index]!;
    const name = new TextEncoder().encode(entry.name);
    const length = (24 + name.length + 7) & ~7;
    if (at + length > end) break;
    target.fill(0, at, at + length);
    putU64(target, at, entry.node);
    putU64(target, at + 8, index + 1);
    putU32(target, at + 16, name.length);
    putU32(target, at + 20, entry.type);
    target.set(name, at + 24);
    at += length;
  }
  return encodeReply(target, request, at - replyHeaderBytes);
}

function putAttributes(target: Uint8Array, at: number, attributes: Attributes): void {
  target.fill(0, at, at + 88);
  putU64(target, at, attributes.node);
  putU64(target, at + 8, attributes.size);
  putU64(target, at + 16, attributes.sectorCount);
  putU64(target, at + 24, attributes.seconds);
  putU64(target, at + 32, attributes.seconds);
  putU64(target, at + 40, attributes.seconds);
  putU32(target, at + 60, attributes.mode);
  putU32(target, at + 64, attributes.linkCount);
  putU32(target, at + 68, attributes.userId);
  putU32(target, at + 72, attributes.groupId);
  putU32(target, at + 80, attributes.blockSize);
}

function offsetAt(bytes: Uint8Array, at: number): number {
  const high = u32(bytes, at + 4);
  if (high > 0x1f_ffff) throw violation('an offset is beyond every file', high);
  return high * 2 ** 32 + u32(bytes, at);
}

function u16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

function u32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}

function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

function putU64(bytes: Uint8Array, at: number, value: number): void {
  putU32(bytes, at, value % 2 ** 32);
  putU32(bytes, at + 4, Math.floor(value / 2 ** 32));
}

function violation(message: string, value: number): CaissonError {
  return new CaissonError('invalid', 'protocol-violation', `FUSE request refused: ${message}`, {
    remedy: 'The kernel and Caisson disagree about the FUSE protocol; report the versions of both.',
    details: { value },
  });
}
