/**
 * Reads the index of a device and makes durable what it believes (spec/block-store.md, "Order", 5).
 *
 * Invariant: nothing is written but bytes that were just read, at the place they were read from.
 */
import { crc32 } from 'node:zlib';
import type { Clock } from '../../lib/clock.ts';
import { CaissonError } from '../../lib/errors.ts';
import { Region } from '../../lib/region.ts';
import type { FileHandle } from '../file-system.ts';
import { BlockIndex } from './block-index.ts';
import { BlockJournal, writeSuperblock } from './block-journal.ts';
import type { JournalEnd } from './block-journal.ts';
import { batchBytes, batchBytesMax, decodeBatch, decodeRecord, recordLength } from './journal-format.ts';
import type { Batch, Units } from './journal-format.ts';
import { Space } from './space.ts';
import { checkpointOffset, journalOffset, unitCount } from './superblock-format.ts';
import type { Superblock } from './superblock-format.ts';

export interface OpenedDevice {
  readonly index: BlockIndex;
  readonly space: Space;
  readonly journal: BlockJournal;
}

const windowBytesMax = 4 * 1024 * 1024;

export async function openIndex(file: FileHandle, superblock: Superblock, clock: Clock): Promise<OpenedDevice> {
  const { geometry } = superblock;
  const units = { unitBytes: geometry.unitBytes, unitCount: unitCount(geometry) };
  const index = new BlockIndex();
  await loadCheckpoint(file, superblock, units, index, clock);
  const end = await replayJournal(file, superblock, units, index);
  index.join();
  const space = new Space(units.unitCount);
  for (const stored of index.stored()) {
    if (!space.claim(stored.extents)) throw damaged('two objects lie in the same units');
  }
  await file.sync();
  await writeSuperblock(file, superblock);
  await file.sync();
  return { index, space, journal: new BlockJournal(file, index, clock, superblock, end) };
}

/** Applies the checkpoint, and writes each piece again as it was read. */
async function loadCheckpoint(
  file: FileHandle,
  { geometry, checkpoint }: Superblock,
  units: Units,
  index: BlockIndex,
  clock: Clock,
): Promise<void> {
  if (checkpoint.length === 0) return;
  const offset = checkpointOffset(geometry, checkpoint.area);
  const piece = new Region(Math.min(checkpoint.length, windowBytesMax));
  let checksum = 0;
  let rest = 0; // bytes of a record that was cut by the end of the piece before, now at the piece's start
  for (let at = 0; at < checkpoint.length;) {
    const count = Math.min(piece.length - rest, checkpoint.length - at);
    await readExactly(file, offset + at, count, piece, rest);
    checksum = crc32(piece.bytes.subarray(rest, rest + count), checksum);
    await file.write(offset + at, count, piece, rest);
    at += count;
    const used = applyAll(piece.bytes.subarray(0, rest + count), units, index);
    rest = rest + count - used;
    piece.bytes.copyWithin(0, used, used + rest);
    if (rest === piece.length) throw damaged('the checkpoint holds a record that is cut off');
    await clock.turn();
  }
  if (rest > 0) throw damaged('the checkpoint ends inside a record');
  if (checksum !== checkpoint.checksum) throw damaged('the checksum of the checkpoint is wrong');
}

/** Returns the bytes of the whole records. */
function applyAll(bytes: Uint8Array, units: Units, index: BlockIndex): number {
  let at = 0;
  for (let length = recordLength(bytes); length !== undefined; length = recordLength(bytes.subarray(at))) {
    index.apply(decodeRecord(bytes.subarray(at, at + length), units));
    at += length;
  }
  return at;
}

async function replayJournal(
  file: FileHandle,
  { geometry, checkpoint, storeId }: Superblock,
  units: Units,
  index: BlockIndex,
): Promise<JournalEnd> {
  const window = new Region(Math.min(batchBytes(batchBytesMax), geometry.journalBytes));
  let [windowStart, windowEnd] = [0, 0];
  const decode = (position: number, sequence: number): Batch | undefined =>
    position < windowStart || position >= windowEnd
      ? undefined
      : decodeBatch(window.bytes.subarray(position - windowStart, windowEnd - windowStart), storeId, sequence, units);
  const tryBatch = async (position: number, sequence: number): Promise<Batch | undefined> => {
    let batch = decode(position, sequence);
    if (batch === undefined && position < geometry.journalBytes) {
      [windowStart, windowEnd] = [position, Math.min(position + window.length, geometry.journalBytes)];
      await readExactly(file, journalOffset + position, windowEnd - windowStart, window, 0);
      batch = decode(position, sequence);
    }
    if (batch !== undefined) await file.write(journalOffset + position, batch.bytes, window, position - windowStart);
    return batch;
  };
  let { sequence } = checkpoint;
  let head = checkpoint.journalStart;
  let usedBytes = 0;
  for (;;) {
    let batch = await tryBatch(head, sequence + 1);
    let skipped = 0;
    if (batch === undefined && head > 0) {
      batch = await tryBatch(0, sequence + 1);
      skipped = geometry.journalBytes - head;
      head = batch === undefined ? head : 0;
    }
    if (batch === undefined || usedBytes + skipped + batch.bytes > geometry.journalBytes) break;
    for (const record of batch.records) index.apply(record);
    sequence++;
    head += batch.bytes;
    usedBytes += skipped + batch.bytes;
  }
  return { sequence, head, usedBytes };
}

async function readExactly(
  file: FileHandle,
  position: number,
  length: number,
  target: Region,
  targetOffset: number,
): Promise<void> {
  if ((await file.read(position, length, target, targetOffset)) !== length) throw damaged('the device ends too early');
}

export function damaged(what: string): CaissonError {
  return new CaissonError('integrity', 'format-invalid', `the block store is damaged: ${what}`, {
    remedy: 'Restore the device from a copy. Nothing was changed.',
  });
}
