/**
 * Codec of segments. Spec: spec/segment-format.md. Vectors: test/vectors/segment/. Pure: bytes in, values or a named error out.
 *
 * What protects what: the clear header names the key (version, protection, lineage, segment id and key
 * epoch enter its derivation, so changing any of them makes every piece fail to open); everything else
 * is inside sealed pieces. The footer's CRC only tells a torn object from a whole one.
 */
import { crc32 } from 'node:zlib';
import { CaissonError } from '../lib/errors.ts';

export const blockBytes = 4096;
export const tagBytes = 16;
export const slotBytes = 16;
export const segmentVersion = 1;

export const clearHeaderBytes = 48;
export const sealedHeaderBytes = 48;
export const headerBytes = clearHeaderBytes + sealedHeaderBytes + tagBytes;

export const recordEntriesMax = 32;
export const entryBytes = 16;
export const clearRecordBytes = 16;
export const sealedRecordBytes = 48 + recordEntriesMax * entryBytes;
export const recordHeaderBytes = clearRecordBytes + sealedRecordBytes + tagBytes;

export const directoryPrefixBytes = 32;
export const directoryEntryBytes = 48;
export const footerBytes = 32;

export const largeUnitBlocks = 8;
export const largeUnitBytes = largeUnitBlocks * blockBytes;

export const EntryKind = { block: 1, large: 2, hole: 3, zero: 4, size: 5 } as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

/** The block field of the nonce for pieces that are not units: above every block number. */
export const PieceBlock = { header: 2 ** 52 + 1, record: 2 ** 52 + 2, directory: 2 ** 52 + 3 } as const;

export interface ClearHeader {
  readonly protection: 0 | 1;
  readonly keyEpoch: number;
  readonly lineage: Uint8Array; // 16 bytes
  readonly segmentId: Uint8Array; // 16 bytes
}

export interface SealedHeader {
  readonly epoch: number;
  readonly ordinal: number;
  readonly firstSequence: number;
  readonly chain: Uint8Array; // 16 bytes
}

export interface RecordHeader {
  readonly sequence: number;
  readonly previousChain: Uint8Array; // 16 bytes, a view of the input
  readonly durableThrough: number;
  readonly bodyBytes: number;
  readonly entries: readonly RecordEntry[];
}

export interface RecordEntry {
  readonly kind: EntryKind;
  readonly count: number; // blocks
  readonly block: number;
}

export interface DirectoryEntry extends RecordEntry {
  readonly slot: number;
  readonly tag: Uint8Array; // 16 bytes, zero for entries without a unit
}

export interface Directory {
  readonly lastSequence: number;
  readonly chain: Uint8Array;
  readonly entries: readonly DirectoryEntry[];
}

export interface Footer {
  readonly directoryOffset: number;
  readonly directoryBytes: number; // sealed, tag included
  readonly totalBytes: number;
}

const magicSegment = 0x0a31474553_4e5343n; // "CSNSEG1\n" read as a little-endian u64
const magicRecordLow = 0x524e5343; // "CSNR"
const magicRecordHigh = 0x0a314345; // "EC1\n"
const magicEnd = 0x0a31444e45_4e5343n; // "CSNEND1\n"

/** Bytes of sealed unit that an entry of this kind has in the record's body. */
export function unitBytes(kind: EntryKind): number {
  if (kind === EntryKind.block) return blockBytes + tagBytes;
  if (kind === EntryKind.large) return largeUnitBytes + tagBytes;
  return 0;
}

export function encodeClearHeader(target: Uint8Array, header: ClearHeader): void {
  const view = viewOf(target);
  target.fill(0, 0, clearHeaderBytes);
  view.setBigUint64(0, magicSegment, true);
  view.setUint16(8, segmentVersion, true);
  view.setUint8(10, header.protection);
  view.setUint32(12, header.keyEpoch, true);
  target.set(header.lineage, 16);
  target.set(header.segmentId, 32);
}

export function decodeClearHeader(bytes: Uint8Array): ClearHeader {
  if (bytes.length < clearHeaderBytes) throw invalid('segment header is cut off');
  const view = viewOf(bytes);
  if (view.getBigUint64(0, true) !== magicSegment) throw invalid('segment magic is wrong');
  const version = view.getUint16(8, true);
  if (version !== segmentVersion) throw otherVersion('segment', version);
  const protection = view.getUint8(10);
  if (protection !== 0 && protection !== 1) throw invalid(`segment protection ${protection} is unknown`);
  if (view.getUint8(11) !== 0) throw invalid('segment header has a reserved byte set');
  return {
    protection,
    keyEpoch: view.getUint32(12, true),
    lineage: bytes.subarray(16, 32),
    segmentId: bytes.subarray(32, 48),
  };
}

export function encodeSealedHeader(target: Uint8Array, header: SealedHeader): void {
  const view = viewOf(target);
  target.fill(0, 0, sealedHeaderBytes);
  setNumber(view, 0, header.epoch);
  setNumber(view, 8, header.ordinal);
  setNumber(view, 16, header.firstSequence);
  target.set(header.chain, 24);
}

export function decodeSealedHeader(bytes: Uint8Array): SealedHeader {
  if (bytes.length !== sealedHeaderBytes) throw invalid('sealed segment header has a wrong length');
  const view = viewOf(bytes);
  requireZero(bytes, 40, 48, 'segment header');
  return {
    epoch: getNumber(view, 0),
    ordinal: getNumber(view, 8),
    firstSequence: getNumber(view, 16),
    chain: bytes.subarray(24, 40),
  };
}

/** Writes the clear 16 bytes in front of a sealed record header. */
export function encodeClearRecord(target: Uint8Array, view: DataView, offset: number): void {
  view.setUint32(offset, magicRecordLow, true);
  view.setUint32(offset + 4, magicRecordHigh, true);
  target.fill(0, offset + 8, offset + clearRecordBytes);
}

/** Whether a record may start here: magic and the reserved bytes; the sealed header behind them decides. */
export function isRecordMagic(view: DataView, offset: number): boolean {
  if (view.getUint32(offset, true) !== magicRecordLow || view.getUint32(offset + 4, true) !== magicRecordHigh)
    return false;
  return view.getUint32(offset + 8, true) === 0 && view.getUint32(offset + 12, true) === 0;
}

/** Writes everything of a sealed record header but the entries, which the writer fills as it goes. */
export function encodeRecordPrefix(
  view: DataView,
  bytes: Uint8Array,
  sequence: number,
  previousChain: Uint8Array,
  durableThrough: number,
  entryCount: number,
  bodyBytes: number,
): void {
  setNumber(view, 0, sequence);
  bytes.set(previousChain, 8);
  setNumber(view, 24, durableThrough);
  view.setUint32(32, entryCount, true);
  view.setUint32(36, bodyBytes, true);
  view.setUint32(40, 0, true);
  view.setUint32(44, 0, true);
  bytes.fill(0, 48 + entryCount * entryBytes, sealedRecordBytes);
}

/** Writes entry `index` of a sealed record header. */
export function encodeEntry(view: DataView, index: number, kind: EntryKind, count: number, block: number): void {
  const at = 48 + index * entryBytes;
  view.setUint32(at, kind, true);
  view.setUint32(at + 4, count, true);
  setNumber(view, at + 8, block);
}

export function decodeRecord(bytes: Uint8Array): RecordHeader {
  if (bytes.length !== sealedRecordBytes) throw invalid('record header has a wrong length');
  const view = viewOf(bytes);
  const entryCount = view.getUint32(32, true);
  const bodyBytes = view.getUint32(36, true);
  if (entryCount < 1 || entryCount > recordEntriesMax) throw invalid(`record has ${entryCount} entries`);
  requireZero(bytes, 40, 48, 'record header');
  requireZero(bytes, 48 + entryCount * entryBytes, sealedRecordBytes, 'record header');
  const entries: RecordEntry[] = [];
  let body = 0;
  for (let index = 0; index < entryCount; index++) {
    const entry = decodeEntry(bytes, view, 48 + index * entryBytes);
    body += unitBytes(entry.kind);
    entries.push(entry);
  }
  if (body !== bodyBytes) throw invalid(`record body of ${bodyBytes} bytes, its units need ${body}`);
  return {
    sequence: getNumber(view, 0),
    previousChain: bytes.subarray(8, 24),
    durableThrough: getNumber(view, 24),
    bodyBytes,
    entries,
  };
}

function decodeEntry(bytes: Uint8Array, view: DataView, at: number): RecordEntry {
  const kind = view.getUint8(at);
  requireZero(bytes, at + 1, at + 4, 'entry');
  const count = view.getUint32(at + 4, true);
  const block = getNumber(view, at + 8);
  switch (kind) {
    case EntryKind.block:
      if (count !== 1) throw invalid(`block entry counts ${count}`);
      return { kind, count, block };
    case EntryKind.large:
      if (count !== largeUnitBlocks) throw invalid(`large entry counts ${count}`);
      if (block % largeUnitBlocks !== 0) throw invalid(`large entry starts at block ${block}`);
      return { kind, count, block };
    case EntryKind.hole:
    case EntryKind.zero:
      if (count === 0) throw invalid('extent of no blocks');
      return { kind, count, block };
    case EntryKind.size:
      if (count !== 0) throw invalid(`size entry counts ${count}`);
      return { kind, count, block };
    default:
      throw invalid(`entry kind ${kind} is unknown`);
  }
}

export function encodeDirectoryPrefix(
  target: Uint8Array,
  lastSequence: number,
  chain: Uint8Array,
  entryCount: number,
): void {
  const view = viewOf(target);
  setNumber(view, 0, lastSequence);
  target.set(chain, 8);
  view.setUint32(24, entryCount, true);
  view.setUint32(28, 0, true);
}

/** Writes one directory entry at `at`; the tag is copied from `tagSource`, or zero without one. */
export function encodeDirectoryEntry(
  target: Uint8Array,
  view: DataView,
  at: number,
  kind: EntryKind,
  count: number,
  block: number,
  slot: number,
  tagSource: Uint8Array | undefined,
  tagOffset: number,
): void {
  view.setUint32(at, kind, true);
  view.setUint32(at + 4, count, true);
  setNumber(view, at + 8, block);
  view.setUint32(at + 16, slot, true);
  target.fill(0, at + 20, at + directoryEntryBytes);
  if (tagSource !== undefined)
    for (let index = 0; index < tagBytes; index++) target[at + 32 + index] = tagSource[tagOffset + index]!;
}

export function decodeDirectory(bytes: Uint8Array): Directory {
  if (bytes.length < directoryPrefixBytes) throw invalid('directory is cut off');
  const view = viewOf(bytes);
  const entryCount = view.getUint32(24, true);
  requireZero(bytes, 28, 32, 'directory');
  if (bytes.length !== directoryPrefixBytes + entryCount * directoryEntryBytes)
    throw invalid('directory length differs from its count');
  const entries: DirectoryEntry[] = [];
  for (let index = 0; index < entryCount; index++) {
    const at = directoryPrefixBytes + index * directoryEntryBytes;
    const entry = decodeEntry(bytes, view, at);
    const slot = view.getUint32(at + 16, true);
    requireZero(bytes, at + 20, at + 32, 'directory entry');
    if (unitBytes(entry.kind) === 0)
      requireZero(bytes, at + 32, at + directoryEntryBytes, 'directory entry without unit');
    entries.push({ ...entry, slot, tag: bytes.subarray(at + 32, at + directoryEntryBytes) });
  }
  return { lastSequence: getNumber(view, 0), chain: bytes.subarray(8, 24), entries };
}

export function encodeFooter(target: Uint8Array, footer: Footer): void {
  const view = viewOf(target);
  target.fill(0, 0, footerBytes);
  view.setBigUint64(0, magicEnd, true);
  view.setUint16(8, segmentVersion, true);
  view.setUint32(12, footer.directoryOffset, true);
  view.setUint32(16, footer.directoryBytes, true);
  view.setUint32(20, footer.totalBytes, true);
  view.setUint32(28, crc32(target.subarray(0, 28)), true);
}

/** Whether the last 32 bytes of an object say that they are a footer. */
export function isEndMagic(bytes: Uint8Array): boolean {
  return viewOf(bytes).getBigUint64(0, true) === magicEnd;
}

/** Decodes the last 32 bytes of an object of `objectBytes`. */
export function decodeFooter(bytes: Uint8Array, objectBytes: number): Footer {
  if (bytes.length !== footerBytes) throw invalid('segment footer has a wrong length');
  const view = viewOf(bytes);
  if (view.getBigUint64(0, true) !== magicEnd) throw invalid('segment footer magic is wrong');
  if (view.getUint32(28, true) !== crc32(bytes.subarray(0, 28))) throw invalid('segment footer checksum is wrong');
  const version = view.getUint16(8, true);
  if (version !== segmentVersion) throw otherVersion('segment footer', version);
  requireZero(bytes, 10, 12, 'segment footer');
  requireZero(bytes, 24, 28, 'segment footer');
  const footer = {
    directoryOffset: view.getUint32(12, true),
    directoryBytes: view.getUint32(16, true),
    totalBytes: view.getUint32(20, true),
  };
  const sum = footer.directoryOffset + footer.directoryBytes + footerBytes;
  if (footer.totalBytes !== objectBytes || sum !== objectBytes)
    throw invalid('segment footer lengths do not add up to the object');
  if (footer.directoryOffset < headerBytes || footer.directoryOffset % slotBytes !== 0)
    throw invalid('segment directory lies at a wrong offset');
  if (footer.directoryBytes < directoryPrefixBytes + tagBytes) throw invalid('segment directory is too short');
  return footer;
}

function setNumber(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 0x1_0000_0000, true);
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}

function getNumber(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  if (high >= 0x20_0000) throw invalid('a number exceeds 2^53');
  return high * 0x1_0000_0000 + view.getUint32(at, true);
}

function requireZero(bytes: Uint8Array, from: number, to: number, where: string): void {
  for (let index = from; index < to; index++) if (bytes[index] !== 0) throw invalid(`${where} has a reserved byte set`);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function invalid(message: string): CaissonError {
  return new CaissonError('integrity', 'format-invalid', message);
}

function otherVersion(what: string, version: number): CaissonError {
  return new CaissonError(
    'invalid',
    'format-version',
    `${what} has format version ${version}, this program reads ${segmentVersion}`,
    {
      remedy: 'Open it with the version of Caisson that wrote it.',
      details: { version },
    },
  );
}
