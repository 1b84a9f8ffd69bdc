/**
 * SegmentContents: what a published segment says it holds. A whole segment says so in its sealed directory; one that
 * recovery closed has none, and its records are walked (spec/segment-format.md).
 *
 * Invariant: every unit named here was authenticated as part of this segment, and none is left out; anything else is an
 * error, so that a segment is never taken for empty because its table of contents was changed.
 */
import { CaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import {
  clearRecordBytes,
  decodeDirectory,
  decodeFooter,
  decodeRecord,
  EntryKind,
  footerBytes,
  headerBytes,
  isEndMagic,
  isRecordMagic,
  PieceBlock,
  recordHeaderBytes,
  sealedRecordBytes,
  slotBytes,
  tagBytes,
  unitBytes,
  type Footer,
  type RecordEntry,
} from '../segment/segment-format.ts';
import type { SegmentHandle } from './segment-handles.ts';

/** The units of a segment, in typed arrays: there are thousands. */
export class SegmentUnits {
  count = 0;
  slots = new Uint32Array(1024);
  blocks = new Float64Array(1024);
  large = new Uint8Array(1024);

  add(entry: RecordEntry, slot: number): void {
    if (this.count === this.slots.length) this.#grow();
    this.slots[this.count] = slot;
    this.blocks[this.count] = entry.block;
    this.large[this.count] = entry.kind === EntryKind.large ? 1 : 0;
    this.count++;
  }

  /** Indexes in the order of the blocks: neighbours share a leaf of the map. */
  byBlock(): Uint32Array {
    const order = Uint32Array.from({ length: this.count }, (_, index) => index);
    return order.sort((left, right) => this.blocks[left]! - this.blocks[right]! || left - right);
  }

  #grow(): void {
    const length = this.slots.length * 2;
    const { slots, blocks, large } = this;
    this.slots = new Uint32Array(length);
    this.slots.set(slots);
    this.blocks = new Float64Array(length);
    this.blocks.set(blocks);
    this.large = new Uint8Array(length);
    this.large.set(large);
  }
}

export function sealedBytesOf(units: SegmentUnits, index: number): number {
  return unitBytes(units.large[index] === 1 ? EntryKind.large : EntryKind.block);
}

/** Reads what the segment of `bytes` holds; the caller pinned the handle. */
export async function readUnits(handle: SegmentHandle, bytes: number): Promise<SegmentUnits> {
  const reader = handle.reader!;
  const tail = new Region(footerBytes);
  await reader.read(bytes - footerBytes, footerBytes, tail, 0);
  // The footer is not sealed. Without one the records are walked; they must then reach the very end of the object.
  return isEndMagic(tail.bytes) ? readDirectory(handle, decodeFooter(tail.bytes, bytes)) : walkRecords(handle, bytes);
}

async function readDirectory(handle: SegmentHandle, footer: Footer): Promise<SegmentUnits> {
  const { directoryOffset, directoryBytes } = footer;
  const sealed = new Region(directoryBytes);
  await handle.reader!.read(directoryOffset, directoryBytes, sealed, 0);
  const length = directoryBytes - tagBytes;
  const plain = new Region(length);
  if (!handle.key.open(directoryOffset / slotBytes, PieceBlock.directory, length, sealed, 0, plain, 0))
    throw tampered('its directory does not authenticate');
  const units = new SegmentUnits();
  for (const entry of decodeDirectory(plain.bytes).entries) if (unitBytes(entry.kind) > 0) units.add(entry, entry.slot);
  return units;
}

async function walkRecords(handle: SegmentHandle, bytes: number): Promise<SegmentUnits> {
  const units = new SegmentUnits();
  const sealed = new Region(recordHeaderBytes);
  const view = new DataView(sealed.bytes.buffer);
  const plain = new Region(sealedRecordBytes);
  let offset = headerBytes;
  while (offset < bytes) {
    if (offset + recordHeaderBytes > bytes) throw tampered('it ends within a record');
    await handle.reader!.read(offset, recordHeaderBytes, sealed, 0);
    const slot = (offset + clearRecordBytes) / slotBytes;
    if (
      !isRecordMagic(view, 0) ||
      !handle.key.open(slot, PieceBlock.record, sealedRecordBytes, sealed, clearRecordBytes, plain, 0)
    )
      throw tampered(`the record at ${offset} does not authenticate`);
    offset += recordHeaderBytes;
    for (const entry of decodeRecord(plain.bytes).entries) {
      if (unitBytes(entry.kind) > 0) units.add(entry, offset / slotBytes);
      offset += unitBytes(entry.kind);
    }
  }
  if (offset !== bytes) throw tampered('it ends within a record');
  return units;
}

function tampered(message: string): CaissonError {
  return new CaissonError('integrity', 'unit-tampered', message);
}
