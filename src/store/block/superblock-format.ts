/**
 * Codec of the superblock, and the geometry that follows from it.
 *
 * Spec: spec/block-store.md. Vectors: test/vectors/block-store/
 */
import { crc32 } from 'node:zlib';
import { assert } from '../../lib/assert.ts';
import { ByteReader, ByteWriter } from '../../lib/byte-codec.ts';
import { CaissonError } from '../../lib/errors.ts';

export const blockBytes = 4096;
export const sectorBytes = 512;
/** Where the two superblocks lie. */
export const superblockOffsets = [0, 32 * 1024] as const;
export const journalOffset = 64 * 1024;
export const storeIdBytes = 16;
const version = 1;
const magic = 'CSNBLKS\n';
const checksumAt = 12;
const unitBytesMax = 1024 * 1024;
const journalBlocksMin = 16;
const unitCountMax = 0xffff_ffff;

export interface Geometry {
  readonly deviceBytes: number;
  readonly journalBytes: number;
  /** Of one area. */
  readonly checkpointBytes: number;
  readonly unitBytes: number;
}

export interface Checkpoint {
  readonly area: number;
  /** Bytes; 0: an empty index. */
  readonly length: number;
  readonly checksum: number;
  /** The last batch that it covers. */
  readonly sequence: number;
  /** Where in the journal the next batch may lie. */
  readonly journalStart: number;
}

export interface Superblock {
  readonly storeId: Uint8Array;
  readonly generation: number;
  readonly geometry: Geometry;
  readonly checkpoint: Checkpoint;
}

export function checkpointOffset(geometry: Geometry, area: number): number {
  return journalOffset + geometry.journalBytes + area * geometry.checkpointBytes;
}

/** Where unit 0 begins. */
export function dataOffset(geometry: Geometry): number {
  return Math.ceil(checkpointOffset(geometry, 2) / geometry.unitBytes) * geometry.unitBytes;
}

export function unitCount(geometry: Geometry): number {
  return Math.floor((geometry.deviceBytes - dataOffset(geometry)) / geometry.unitBytes);
}

/** What is chosen for a device of this size unless a test wants something else. */
export function defaultGeometry(deviceBytes: number): Geometry {
  const mebibyte = 2 ** 20;
  const blocks = (bytes: number): number => Math.floor(bytes / blockBytes) * blockBytes;
  return {
    deviceBytes,
    journalBytes: Math.min(256 * mebibyte, Math.max(mebibyte, blocks(deviceBytes / 256))),
    checkpointBytes: Math.max(256 * 1024, blocks(deviceBytes / 1024)),
    unitBytes: deviceBytes >= 16 * 2 ** 30 ? 65_536 : deviceBytes >= 2 ** 30 ? 16_384 : 4096,
  };
}

/** The same layout on a device that has become larger. */
export function grownGeometry(geometry: Geometry, deviceBytes: number): Geometry {
  const bytesMax = dataOffset(geometry) + unitCountMax * geometry.unitBytes;
  return { ...geometry, deviceBytes: Math.max(geometry.deviceBytes, Math.min(deviceBytes, bytesMax)) };
}

/** One sector's worth. */
export function encodeSuperblock({ storeId, generation, geometry, checkpoint }: Superblock): Uint8Array {
  assert(faultOf(geometry, checkpoint) === undefined, 'a superblock that is written is right');
  const writer = new ByteWriter().bytes(new TextEncoder().encode(magic)).u16(version).zeros(2).zeros(4);
  writer.bytes(storeId, storeIdBytes).u64(generation);
  writer.u64(geometry.deviceBytes).u64(geometry.journalBytes).u64(geometry.checkpointBytes).u32(geometry.unitBytes);
  writer.u32(checkpoint.area).u64(checkpoint.length).u32(checkpoint.checksum).zeros(4);
  writer.u64(checkpoint.sequence).u64(checkpoint.journalStart);
  const sector = new Uint8Array(sectorBytes);
  sector.set(writer.finish());
  putChecksum(sector, checksumAt);
  return sector;
}

/** Undefined where there is no superblock at all; a torn one is `format-invalid`, one of another version `format-version`. */
export function decodeSuperblock(sector: Uint8Array): Superblock | undefined {
  assert(sector.length === sectorBytes, 'a superblock is one sector');
  const reader = new ByteReader(sector, 'superblock');
  if (!startsWith(sector, magic)) return undefined;
  reader.expect(magic);
  // The checksum lies here in every version: a flipped bit is not taken for another version.
  if (!checksumFits(sector, checksumAt)) throw reader.invalid('the checksum is wrong');
  reader.version(version);
  reader.zeros(2);
  reader.u32();
  const storeId = Uint8Array.from(reader.bytes(storeIdBytes));
  const generation = reader.u64();
  const [deviceBytes, journalBytes, checkpointBytes] = [reader.u64(), reader.u64(), reader.u64()];
  const geometry = { deviceBytes, journalBytes, checkpointBytes, unitBytes: reader.u32() };
  const [area, length, checksum] = [reader.u32(), reader.u64(), reader.u32()];
  reader.zeros(4);
  const checkpoint = { area, length, checksum, sequence: reader.u64(), journalStart: reader.u64() };
  reader.zeros(sectorBytes - reader.position);
  const fault = generation === 0 ? 'the generation is 0' : faultOf(geometry, checkpoint);
  if (fault !== undefined) throw reader.invalid(fault);
  return { storeId, generation, geometry, checkpoint };
}

/** The one of two that counts; undefined where there is none, and errors as spec/block-store.md, "Superblock", says. */
export function newestSuperblock(sectors: readonly Uint8Array[]): Superblock | undefined {
  let newest: Superblock | undefined;
  let damage: CaissonError | undefined;
  for (const sector of sectors) {
    try {
      const found = decodeSuperblock(sector);
      if (found !== undefined && (newest === undefined || found.generation > newest.generation)) newest = found;
    } catch (error) {
      if (!(error instanceof CaissonError) || error.code !== 'format-invalid') throw error;
      damage = error;
    }
  }
  if (newest === undefined && damage !== undefined) throw damage;
  return newest;
}

function faultOf(geometry: Geometry, checkpoint: Checkpoint): string | undefined {
  const { deviceBytes, journalBytes, checkpointBytes, unitBytes } = geometry;
  const isPower = Math.log2(unitBytes) % 1 === 0;
  if (!isPower || unitBytes < blockBytes || unitBytes > unitBytesMax) return `units of ${unitBytes} bytes`;
  if (journalBytes % blockBytes !== 0 || journalBytes < journalBlocksMin * blockBytes)
    return `a journal of ${journalBytes} bytes`;
  if (checkpointBytes % blockBytes !== 0 || checkpointBytes === 0)
    return `a checkpoint area of ${checkpointBytes} bytes`;
  const units = unitCount(geometry);
  if (units < 1 || units > unitCountMax) return `${units} units on ${deviceBytes} bytes`;
  if (checkpoint.area > 1) return `checkpoint area ${checkpoint.area}`;
  if (checkpoint.length > checkpointBytes) return `a checkpoint of ${checkpoint.length} bytes`;
  if (checkpoint.journalStart % blockBytes !== 0 || checkpoint.journalStart > journalBytes)
    return `a journal that starts at ${checkpoint.journalStart}`;
  return undefined;
}

function startsWith(bytes: Uint8Array, ascii: string): boolean {
  for (let index = 0; index < ascii.length; index++) if (bytes[index] !== ascii.charCodeAt(index)) return false;
  return true;
}

/** CRC-32 of all of `bytes`, the four at `at` taken as zero. */
function checksumOf(bytes: Uint8Array, at: number): number {
  const before = crc32(bytes.subarray(0, at));
  return crc32(bytes.subarray(at + 4), crc32(new Uint8Array(4), before));
}

export function putChecksum(bytes: Uint8Array, at: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, checksumOf(bytes, at), true);
}

export function checksumFits(bytes: Uint8Array, at: number): boolean {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true) === checksumOf(bytes, at);
}
