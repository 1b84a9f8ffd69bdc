/**
 * Codec of index records, of the batches that the journal consists of, and of the checkpoint.
 *
 * Spec: spec/block-store.md. Vectors: test/vectors/block-store/
 */
import { assert } from '../../lib/assert.ts';
import { ByteReader, ByteWriter } from '../../lib/byte-codec.ts';
import { CaissonError } from '../../lib/errors.ts';
import { fromHex, toHex } from '../../lib/hex.ts';
import { checkKey, checkSpoolName, keyBytesMax } from '../paths.ts';
import { blockBytes, checksumFits, putChecksum, storeIdBytes } from './superblock-format.ts';

/** First unit, count, first unit, count, … */
export type Extents = readonly number[];

export type IndexRecord =
  | { readonly kind: 'object'; readonly key: string; readonly size: number; readonly extents: Extents }
  | { readonly kind: 'inline'; readonly key: string; readonly content: Uint8Array }
  | { readonly kind: 'removed'; readonly key: string }
  | {
      readonly kind: 'spool';
      /** 32 hexadecimal digits. */
      readonly volume: string;
      readonly name: string;
      readonly size: number;
      readonly extents: Extents;
    }
  | { readonly kind: 'spool-removed'; readonly volume: string; readonly name: string };

export interface Batch {
  readonly sequence: number;
  /** Whole blocks. */
  readonly bytes: number;
  readonly records: readonly IndexRecord[];
}

/** What a record may refer to. */
export interface Units {
  readonly unitBytes: number;
  readonly unitCount: number;
}

export const inlineBytesMax = 4096;
export const batchHeaderBytes = 64;
/** Records of one batch; several batches may go in one write. */
export const batchBytesMax = 1024 * 1024;
const recordCode = { object: 1, inline: 2, removed: 3, spool: 4, 'spool-removed': 5 } as const;
const extentBytes = 8;
const volumeIdBytes = 16;
const version = 1;
const magic = 'CSNBLKJ\n';
const checksumAt = 12;
const lengthBytes = 4;

/** The record, its length before it. */
export function encodeRecord(record: IndexRecord): Uint8Array {
  const writer = new ByteWriter().zeros(lengthBytes).u8(recordCode[record.kind]);
  switch (record.kind) {
    case 'object':
      putExtents(putText(writer, record.key).u64(record.size), record.extents);
      break;
    case 'inline':
      assert(record.content.length <= inlineBytesMax, `inline content of ${record.content.length} bytes`);
      putText(writer, record.key).block(record.content);
      break;
    case 'removed':
      putText(writer, record.key);
      break;
    case 'spool':
      putText(putVolume(writer, record.volume), record.name).u64(record.size);
      putExtents(writer, record.extents);
      break;
    case 'spool-removed':
      putText(putVolume(writer, record.volume), record.name);
  }
  const bytes = writer.finish();
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, bytes.length - lengthBytes, true);
  return bytes;
}

/** Bytes of the first record in `bytes`, its length included; undefined when not all of it is there. */
export function recordLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < lengthBytes) return undefined;
  const length = lengthBytes + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  if (length > batchBytesMax) throw new ByteReader(bytes, 'index record').invalid(`a record of ${length} bytes`);
  return length <= bytes.length ? length : undefined;
}

/** `bytes` is one record with its length. */
export function decodeRecord(bytes: Uint8Array, units: Units): IndexRecord {
  const reader = new ByteReader(bytes, 'index record');
  if (reader.u32() !== bytes.length - lengthBytes) throw reader.invalid('the length is wrong');
  const record = decodeBody(reader, reader.u8(), units);
  reader.end();
  return record;
}

function decodeBody(reader: ByteReader, code: number, units: Units): IndexRecord {
  switch (code) {
    case recordCode.object: {
      const [key, size, extents] = [takeKey(reader), reader.u64(), takeExtents(reader, units)];
      if (countUnits(extents) !== Math.ceil(size / units.unitBytes)) throw reader.invalid('size and units differ');
      return { kind: 'object', key, size, extents };
    }
    case recordCode.inline:
      return { kind: 'inline', key: takeKey(reader), content: Uint8Array.from(reader.block(inlineBytesMax)) };
    case recordCode.removed:
      return { kind: 'removed', key: takeKey(reader) };
    case recordCode.spool: {
      const [volume, name, size] = [takeVolume(reader), takeName(reader), reader.u64()];
      const extents = takeExtents(reader, units);
      if (countUnits(extents) < Math.ceil(size / units.unitBytes)) throw reader.invalid('the size exceeds the units');
      return { kind: 'spool', volume, name, size, extents };
    }
    case recordCode['spool-removed']:
      return { kind: 'spool-removed', volume: takeVolume(reader), name: takeName(reader) };
    default:
      throw reader.invalid(`records of kind ${code} do not exist`);
  }
}

export function countUnits(extents: Extents): number {
  let count = 0;
  for (let index = 1; index < extents.length; index += 2) count += extents[index]!;
  return count;
}

/** Bytes that a batch with these records takes in the journal. */
export function batchBytes(payloadBytes: number): number {
  return Math.ceil((batchHeaderBytes + payloadBytes) / blockBytes) * blockBytes;
}

/** Writes a batch to the start of `target`, which is as long as `batchBytes` says. */
export function encodeBatch(
  target: Uint8Array,
  storeId: Uint8Array,
  sequence: number,
  records: readonly Uint8Array[],
): void {
  const length = records.reduce((sum, record) => sum + record.length, 0);
  assert(target.length === batchBytes(length), `a batch of ${length} bytes in ${target.length}`);
  const writer = new ByteWriter().bytes(new TextEncoder().encode(magic)).u16(version).zeros(2).zeros(4);
  writer.bytes(storeId, storeIdBytes).u64(sequence).u32(length).u32(records.length);
  target.fill(0);
  target.set(writer.finish());
  let at = batchHeaderBytes;
  for (const record of records) {
    target.set(record, at);
    at += record.length;
  }
  putChecksum(target, checksumAt);
}

/**
 * The batch at the start of `bytes`, if it is whole and the one wanted: anything else is what was there before, or torn.
 * Records that no writer makes are `format-invalid`.
 */
export function decodeBatch(bytes: Uint8Array, storeId: Uint8Array, sequence: number, units: Units): Batch | undefined {
  if (bytes.length < blockBytes) return undefined;
  const reader = new ByteReader(bytes, 'journal batch');
  for (let index = 0; index < magic.length; index++) if (reader.u8() !== magic.charCodeAt(index)) return undefined;
  const found = reader.u16();
  reader.bytes(6);
  if (toHex(reader.bytes(storeIdBytes)) !== toHex(storeId)) return undefined;
  const sequenceBytes = reader.bytes(8);
  const length = reader.u32();
  const count = reader.u32();
  const total = batchBytes(length);
  if (length > batchBytesMax || total > bytes.length || !checksumFits(bytes.subarray(0, total), checksumAt))
    return undefined;
  const view = new DataView(sequenceBytes.buffer, sequenceBytes.byteOffset);
  if (view.getBigUint64(0, true) !== BigInt(sequence)) return undefined;
  checkFrame(bytes.subarray(0, total), found, length);
  const records = decodeRecords(bytes.subarray(batchHeaderBytes, batchHeaderBytes + length), units);
  if (records.length !== count) throw reader.invalid(`${records.length} records where ${count} are said to be`);
  return { sequence, bytes: total, records };
}

function checkFrame(bytes: Uint8Array, found: number, length: number): void {
  const frame = new ByteReader(bytes, 'journal batch');
  if (found !== version) new ByteReader(bytes.subarray(8), 'journal batch').version(version);
  frame.bytes(10);
  frame.zeros(2);
  frame.bytes(36);
  frame.zeros(16);
  frame.bytes(length);
  frame.zeros(bytes.length - frame.position);
}

function decodeRecords(bytes: Uint8Array, units: Units): IndexRecord[] {
  const records: IndexRecord[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = recordLength(bytes.subarray(at));
    if (length === undefined) throw new ByteReader(bytes, 'journal batch').invalid('a record is cut off');
    records.push(decodeRecord(bytes.subarray(at, at + length), units));
    at += length;
  }
  return records;
}

function putText(writer: ByteWriter, text: string): ByteWriter {
  return writer.u16(text.length).bytes(new TextEncoder().encode(text), text.length);
}

function putVolume(writer: ByteWriter, volume: string): ByteWriter {
  return writer.bytes(fromHex(volume, volumeIdBytes)!, volumeIdBytes);
}

function putExtents(writer: ByteWriter, extents: Extents): void {
  writer.u32(extents.length / 2);
  for (const number of extents) writer.u32(number);
}

function takeVolume(reader: ByteReader): string {
  return toHex(reader.bytes(volumeIdBytes));
}

function takeKey(reader: ByteReader): string {
  return takeText(reader, checkKey);
}

function takeName(reader: ByteReader): string {
  return takeText(reader, checkSpoolName);
}

function takeText(reader: ByteReader, check: (text: string) => void): string {
  const length = reader.u16();
  if (length > keyBytesMax) throw reader.invalid(`a name of ${length} bytes`);
  const text = Buffer.from(reader.bytes(length)).toString('latin1');
  try {
    check(text);
  } catch (error) {
    if (error instanceof CaissonError) throw reader.invalid('a name that no store accepts');
    throw error;
  }
  return text;
}

function takeExtents(reader: ByteReader, units: Units): number[] {
  const count = reader.count(extentBytes);
  const extents: number[] = [];
  let previousEnd = -1;
  for (let index = 0; index < count; index++) {
    const [first, length] = [reader.u32(), reader.u32()];
    if (length === 0 || first + length > units.unitCount) throw reader.invalid(`an extent ${first}+${length}`);
    if (first === previousEnd) throw reader.invalid('two extents that are one');
    previousEnd = first + length;
    extents.push(first, length);
  }
  return extents;
}
