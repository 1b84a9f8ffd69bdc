/**
 * SegmentMover: seals anew what is still needed of a segment, as ordinary records of the log, so that nothing
 * points at the segment any more.
 *
 * Invariants:
 * - A block is sealed anew only in the very turn in which the map was seen to point at it in this segment:
 *   a write that came first is never overtaken by the old content.
 * - Blocks that a write in several steps holds are waited for (range-locks.ts).
 * - Nothing is passed over: every unit that the authenticated directory names was seen to be needless, or moved.
 *   Whatever cannot be read or does not authenticate ends the move with an error.
 */
import type { BlockMap } from '../block-map/block-map.ts';
import { packLocation } from '../block-map/map-format.ts';
import { CaissonError } from '../lib/errors.ts';
import { cleaningRunBytesMax, cleaningStepBytes } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import {
  blockBytes,
  EntryKind,
  largeUnitBlocks,
  largeUnitBytes,
  slotBytes,
  tagBytes,
} from '../segment/segment-format.ts';
import type { RangeLocks } from './range-locks.ts';
import { readUnits, sealedBytesOf, type SegmentUnits } from './segment-contents.ts';
import type { SegmentHandle } from './segment-handles.ts';
import type { VolumeCore } from './volume-core.ts';
import type { WriteLog } from './write-log.ts';

export interface SegmentMoverOptions {
  readonly core: VolumeCore;
  readonly log: WriteLog;
  readonly locks: RangeLocks;
  /** Throws when the volume takes no writes or cleaning is to end; asked before each change. */
  readonly check: () => void;
  /** Called after so many bytes were sealed: others get their turn. */
  readonly pace: (bytes: number) => Promise<void>;
}

/** Units looked up in the map before others get their turn. */
const lookUpsMax = 512;
/** Gaps between needed units that are read over. */
const gapBytesMax = 32 * 1024;

export class SegmentMover {
  readonly #options: SegmentMoverOptions;
  readonly #map: BlockMap;
  /** Sealed bytes of the segment being moved, each at its own offset. */
  #sealed: Region | undefined;
  readonly #plain = new Region(largeUnitBytes);

  constructor(options: SegmentMoverOptions) {
    this.#options = options;
    this.#map = options.core.map;
  }

  /** Afterwards nothing in the map points at segment `index`. Returns the bytes of blocks that were sealed anew. */
  async move(index: number): Promise<number> {
    const { core, pace } = this.#options;
    const { handles } = core;
    const entry = core.table.get(index);
    const handle = handles.get(index) ?? (await handles.open(index));
    if (handle?.reader === undefined)
      throw new CaissonError('bug', 'assertion-failed', 'a segment being moved is open');
    handles.pin(handle);
    try {
      const units = await readUnits(handle, entry.bytes);
      const live = await this.#findLive(index, units);
      if (live.length > 0) await this.#read(handle, units, live, entry.bytes);
      let moved = 0;
      let step = 0;
      for (const unit of live) {
        step += await this.#moveUnit(handle, index, units, unit);
        if (step < cleaningStepBytes) continue;
        moved += step;
        await pace(step);
        step = 0;
      }
      return moved + step;
    } finally {
      handles.unpin(handle);
    }
  }

  /** Gives the memory back: cleaning rests. */
  rest(): void {
    this.#sealed = undefined;
  }

  /** The units to which some block still points, in the order of the blocks. */
  async #findLive(index: number, units: SegmentUnits): Promise<number[]> {
    const live: number[] = [];
    let sinceTurn = 0;
    for (const unit of units.byBlock()) {
      const block = units.blocks[unit]!;
      for (;;) {
        const preparing = this.#isKnown(block) ? undefined : this.#map.prepare(block, 1, false);
        if (preparing === undefined) break;
        await preparing;
      }
      if (this.#liveParts(index, units, unit) !== 0) live.push(unit);
      if (++sinceTurn < lookUpsMax) continue;
      sinceTurn = 0;
      await this.#options.pace(0);
    }
    return live;
  }

  /** Whether the map can be asked now; what lies beyond the volume's end is in no map. */
  #isKnown(block: number): boolean {
    return block >= this.#map.blockCount || this.#map.find(block) !== -1;
  }

  /** One bit for each block of the unit that the map still finds there. */
  #liveParts(index: number, units: SegmentUnits, unit: number): number {
    const block = units.blocks[unit]!;
    const large = units.large[unit] === 1;
    let parts = 0;
    for (let part = 0; part < (large ? largeUnitBlocks : 1); part++) {
      if (block + part >= this.#map.blockCount) break;
      const where = this.#map.find(block + part);
      if (where === index + 1 && this.#map.location === packLocation(units.slots[unit]!, large, part))
        parts |= 1 << part;
    }
    return parts;
  }

  /** Reads the units, those close together in one piece, each to its own offset. */
  async #read(handle: SegmentHandle, units: SegmentUnits, live: readonly number[], bytes: number): Promise<void> {
    if (this.#sealed === undefined || this.#sealed.length < bytes) this.#sealed = new Region(bytes);
    const inOrder = [...live].sort((left, right) => units.slots[left]! - units.slots[right]!);
    let from = -1;
    let to = -1;
    for (const unit of [...inOrder, -1]) {
      const start = unit < 0 ? -1 : units.slots[unit]! * slotBytes;
      const end = unit < 0 ? -1 : start + sealedBytesOf(units, unit);
      if (end > bytes)
        throw new CaissonError('integrity', 'format-invalid', 'a unit reaches beyond the end of its segment');
      if (from >= 0 && (unit < 0 || start > to + gapBytesMax || end - from > cleaningRunBytesMax)) {
        await handle.reader!.read(from, to - from, this.#sealed, from);
        from = -1;
      }
      if (from < 0) from = start;
      to = end;
    }
  }

  /** Returns the bytes that were sealed anew. */
  async #moveUnit(handle: SegmentHandle, index: number, units: SegmentUnits, unit: number): Promise<number> {
    const { locks, check } = this.#options;
    const block = units.blocks[unit]!;
    const count = units.large[unit] === 1 ? largeUnitBlocks : 1;
    for (;;) {
      check();
      if (locks.size > 0 && locks.overlaps(block, block + count - 1)) {
        (await locks.acquire(block, block + count - 1))();
        continue;
      }
      if (this.#isKnown(block) && this.#liveParts(index, units, unit) === 0) return 0;
      const preparing = this.#map.prepare(block, Math.min(count, this.#map.blockCount - block), false);
      if (preparing === undefined) break;
      await preparing;
    }
    // From here to the change of the map nothing waits.
    const parts = this.#liveParts(index, units, unit);
    if (parts === 0) return 0;
    if (!this.#open(handle, units, unit)) await this.#openAgain(handle, units, unit);
    else return this.#append(block, count, parts);
    // Reading again took time: the map may have changed.
    return this.#moveUnit(handle, index, units, unit);
  }

  #open(handle: SegmentHandle, units: SegmentUnits, unit: number): boolean {
    const slot = units.slots[unit]!;
    const length = sealedBytesOf(units, unit) - tagBytes;
    return handle.key.open(slot, units.blocks[unit]!, length, this.#sealed!, slot * slotBytes, this.#plain, 0);
  }

  /** A cache on the way may have gone bad: once more without it. Throws when the store has nothing better. */
  async #openAgain(handle: SegmentHandle, units: SegmentUnits, unit: number): Promise<void> {
    const offset = units.slots[unit]! * slotBytes;
    const bytes = sealedBytesOf(units, unit);
    if (handle.reader!.forget?.(offset, bytes) === true) {
      await handle.reader!.read(offset, bytes, this.#sealed!, offset);
      if (this.#open(handle, units, unit)) return;
    }
    const block = units.blocks[unit]!;
    throw new CaissonError('integrity', 'unit-tampered', `block ${block} is not what was written`, {
      details: { block },
    });
  }

  #append(block: number, count: number, parts: number): number {
    if (count === largeUnitBlocks && parts === 0xff) {
      this.#appendUnit(EntryKind.large, block, 0);
      return largeUnitBytes;
    }
    let bytes = 0;
    for (let part = 0; part < count; part++) {
      if ((parts & (1 << part)) === 0) continue;
      this.#appendUnit(EntryKind.block, block + part, part * blockBytes);
      bytes += blockBytes;
    }
    return bytes;
  }

  #appendUnit(kind: EntryKind, block: number, offset: number): void {
    const { log } = this.#options;
    const slot = log.appendUnit(kind, block, this.#plain, offset);
    this.#map.setUnit(block, kind === EntryKind.large, log.objectIndex, slot);
  }
}
