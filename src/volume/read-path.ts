/**
 * ReadPath: blocks out of segments into the caller's buffer, the cipher being the only copy.
 *
 * The synchronous part serves whatever needs no waiting: resident map leaves, open segments, data in
 * memory or in the page cache. It stops at the first block that needs more; the slow part fetches that
 * and goes on. Neighbouring units of a segment are read in one piece.
 *
 * What does not authenticate is read once more past every cache before it is called tampered. A reader
 * that goes through the volume in order has what lies ahead fetched for it, where that is worth a trip.
 *
 * Invariant: not a byte reaches the caller that did not authenticate under the place the map names.
 */
import type { BlockMap } from '../block-map/block-map.ts';
import { locationIsLarge, locationPart, locationSlot, Where } from '../block-map/map-format.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { readAheadAfterBytes, readAheadBytesMax, readAheadStepBytes, readUnitsMax } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import {
  blockBytes,
  largeUnitBlocks,
  largeUnitBytes,
  recordHeaderBytes,
  slotBytes,
  tagBytes,
} from '../segment/segment-format.ts';
import type { ObjectReader } from '../store/store.ts';
import type { SegmentHandle, SegmentHandles } from './segment-handles.ts';

const smallSealedBytes = blockBytes + tagBytes;
const largeSealedBytes = largeUnitBytes + tagBytes;
/** Gaps up to a record header are read over rather than asked for apart. */
const gapBytesMax = recordHeaderBytes;
const spanBytesMax = 1_310_720;
const scratchPoolMax = 8;
const readAheadAfterBlocks = readAheadAfterBytes / blockBytes;
const readAheadBlocksMax = readAheadBytesMax / blockBytes;
const readAheadStepBlocks = readAheadStepBytes / blockBytes;

/** One run of blocks in one segment, as `#collect` found it. */
class Run {
  segment = -1;
  unitCount = 0;
  blocks = 0;
  spanStart = 0;
  spanBytes = 0;
  readonly slots = new Uint32Array(readUnitsMax);
  readonly parts = new Uint8Array(readUnitsMax); // first block within a large unit
  readonly counts = new Uint8Array(readUnitsMax); // blocks wanted of the unit
  readonly large = new Uint8Array(readUnitsMax);
}

export class ReadPath {
  readonly #map: BlockMap;
  readonly #handles: SegmentHandles;
  readonly #describe: (segment: number) => string;
  readonly #run = new Run();
  readonly #scratch = new Region(spanBytesMax);
  /** The large unit opened last, kept because small reads tend to follow each other. */
  readonly #unit = new Region(largeUnitBytes);
  #unitHandle: SegmentHandle | undefined;
  #unitSlot = -1;
  readonly #spare: Region[] = [];
  /** Where the next request would continue, how many blocks were read in order before it, and what was asked for ahead. */
  #nextBlock = -1;
  #orderedBlocks = 0;
  #fetchedTo = 0;

  /** `describe` names a segment's object for errors. */
  constructor(map: BlockMap, handles: SegmentHandles, describe: (segment: number) => string) {
    this.#map = map;
    this.#handles = handles;
    this.#describe = describe;
  }

  /** Reads `count` whole blocks. */
  readBlocks(block: number, count: number, target: Region, targetOffset: number): void | Promise<void> {
    if (block === this.#nextBlock) this.#readAhead(block + count, count);
    else this.#orderedBlocks = 0;
    this.#nextBlock = block + count;
    const done = this.#readNow(block, count, target, targetOffset);
    if (done < count) return this.#readSlowly(block + done, count - done, target, targetOffset + done * blockBytes);
  }

  /** A scratch region of `blocks` blocks at least; give it back with `release`. */
  acquire(): Region {
    return this.#spare.pop() ?? new Region(spanBytesMax);
  }

  release(region: Region): void {
    if (this.#spare.length < scratchPoolMax) this.#spare.push(region);
  }

  /** Returns how many blocks were read without waiting. */
  #readNow(block: number, count: number, target: Region, targetOffset: number): number {
    const map = this.#map;
    let done = 0;
    while (done < count) {
      const where = map.find(block + done);
      const at = targetOffset + done * blockBytes;
      if (where === -1) return done;
      if (where === Where.hole || where === Where.zero) {
        target.bytes.fill(0, at, at + blockBytes);
        done++;
        continue;
      }
      const handle = this.#handles.get(where - 1);
      if (handle === undefined) return done;
      handle.used = true;
      const location = map.location;
      // The most frequent request by far, without the collecting below: one block, not in memory.
      if (count - done === 1 && !locationIsLarge(location) && handle.writer === undefined) {
        const slot = locationSlot(location);
        if (!handle.reader!.tryRead(slot * slotBytes, smallSealedBytes, this.#scratch, 0)) return done;
        if (!handle.key.open(slot, block + done, blockBytes, this.#scratch, 0, target, at)) {
          if (handle.reader!.forget !== undefined) return done; // the slow way reads once more
          throw this.#tampered(where - 1, block + done);
        }
        return done + 1;
      }
      const taken = this.#readRunNow(handle, where - 1, block + done, count - done, target, at);
      if (taken === 0) return done;
      done += taken;
    }
    return done;
  }

  #readRunNow(
    handle: SegmentHandle,
    segment: number,
    block: number,
    count: number,
    target: Region,
    targetOffset: number,
  ): number {
    const run = this.#run;
    const chunk = handle.writer?.chunkOf(locationSlot(this.#map.location));
    // In memory only the first unit: the next may lie in another chunk, and opening is as cheap one by one.
    this.#collect(
      run,
      segment,
      block,
      chunk === undefined ? count : Math.min(count, largeUnitBlocks),
      chunk === undefined ? readUnitsMax : 1,
    );
    if (handle.writer !== undefined) {
      if (chunk !== undefined) {
        this.#openUnit(
          handle,
          run,
          0,
          block,
          chunk.region,
          run.slots[0]! * slotBytes - chunk.fileStart,
          target,
          targetOffset,
        );
        return run.counts[0]!;
      }
      if (handle.reader === undefined) return 0;
      this.#cutAtMemory(run, handle);
    }
    if (run.unitCount === 1 && run.large[0] === 1 && this.#unitHandle === handle && this.#unitSlot === run.slots[0]) {
      this.#copyPart(run.parts[0]!, run.counts[0]!, target, targetOffset);
      return run.blocks;
    }
    if (!handle.reader!.tryRead(run.spanStart, run.spanBytes, this.#scratch, 0)) return 0;
    try {
      this.#openRun(handle, run, block, this.#scratch, target, targetOffset);
    } catch (error) {
      // The slow way reads once more.
      if (isCaissonError(error, 'unit-tampered') && handle.reader!.forget !== undefined) return 0;
      throw error;
    }
    return run.blocks;
  }

  /**
   * Has what lies `readAheadBlocksMax` ahead of a reader in order fetched, in steps of a large unit: a
   * reader that can prefetch does so in larger pieces. Looks at resident leaves and open segments only.
   */
  #readAhead(next: number, count: number): void {
    this.#orderedBlocks += count;
    if (this.#orderedBlocks < readAheadAfterBlocks) return;
    const map = this.#map;
    const end = Math.min(next + readAheadBlocksMax, map.blockCount);
    if (this.#fetchedTo < next || this.#fetchedTo > end) this.#fetchedTo = next;
    if (end - this.#fetchedTo < readAheadStepBlocks && end < map.blockCount) return;
    // The span that neighbours in one segment make together, and the block it begins with.
    let reader: ObjectReader | undefined;
    let spanStart = 0;
    let spanEnd = 0;
    let spanBlock = this.#fetchedTo;
    /** False: too much is under way. The next request asks again from there. */
    const fetchSpan = (): boolean => {
      if (reader?.prefetch?.(spanStart, spanEnd - spanStart) !== false) return true;
      this.#fetchedTo = spanBlock;
      return false;
    };
    for (; this.#fetchedTo + largeUnitBlocks <= end; this.#fetchedTo += largeUnitBlocks) {
      const where = map.find(this.#fetchedTo);
      if (where === -1) break;
      if (where === Where.hole || where === Where.zero) continue;
      const handle = this.#handles.get(where - 1);
      if (handle === undefined) {
        // Opened ahead, too; a failure is heard of by whoever reads there.
        this.#handles.open(where - 1).catch(() => undefined);
        break;
      }
      if (handle.writer !== undefined || handle.reader?.prefetch === undefined) continue;
      const large = locationIsLarge(map.location);
      const start = locationSlot(map.location) * slotBytes;
      const sealedEnd = start + (large ? largeSealedBytes : smallSealedBytes * largeUnitBlocks);
      const isNeighbour = handle.reader === reader && start >= spanStart && start <= spanEnd + gapBytesMax;
      if (isNeighbour && sealedEnd - spanStart <= readAheadStepBytes) {
        spanEnd = Math.max(spanEnd, sealedEnd);
        continue;
      }
      if (!fetchSpan()) return;
      [reader, spanStart, spanEnd, spanBlock] = [handle.reader, start, sealedEnd, this.#fetchedTo];
    }
    fetchSpan();
  }

  /** Finds the units of the blocks from `block` on that lie close together in the segment. */
  #collect(run: Run, segment: number, block: number, count: number, unitsMax: number): void {
    const map = this.#map;
    run.segment = segment;
    run.unitCount = 0;
    run.blocks = 0;
    let end = 0;
    while (run.blocks < count && run.unitCount < unitsMax) {
      const where = map.find(block + run.blocks);
      if (where - 1 !== segment) break;
      const location = map.location;
      const slot = locationSlot(location);
      const large = locationIsLarge(location);
      const start = slot * slotBytes;
      const sealedBytes = large ? largeSealedBytes : smallSealedBytes;
      if (
        run.unitCount > 0 &&
        (start < end || start > end + gapBytesMax || start + sealedBytes - run.spanStart > spanBytesMax)
      )
        break;
      if (run.unitCount === 0) run.spanStart = start;
      end = start + sealedBytes;
      const part = locationPart(location);
      const blocks = large ? this.#partsFrom(segment, slot, part, block + run.blocks, count - run.blocks) : 1;
      const at = run.unitCount++;
      run.slots[at] = slot;
      run.large[at] = large ? 1 : 0;
      run.parts[at] = part;
      run.counts[at] = blocks;
      run.blocks += blocks;
    }
    run.spanBytes = end - run.spanStart;
  }

  /** How many blocks from `block` on continue the same large unit. */
  #partsFrom(segment: number, slot: number, part: number, block: number, count: number): number {
    const blocksMax = Math.min(largeUnitBlocks - part, count);
    let blocks = 1;
    while (blocks < blocksMax) {
      if (this.#map.find(block + blocks) - 1 !== segment) break;
      const location = this.#map.location;
      if (locationSlot(location) !== slot || locationPart(location) !== part + blocks) break;
      blocks++;
    }
    return blocks;
  }

  /** Drops the units from the end of the run that are still in memory: they are not in the file yet. */
  #cutAtMemory(run: Run, handle: SegmentHandle): void {
    const oldest = handle.writer!.live[0];
    if (oldest === undefined) return;
    while (run.unitCount > 1 && run.slots[run.unitCount - 1]! * slotBytes >= oldest.fileStart) {
      run.unitCount--;
      run.blocks -= run.counts[run.unitCount]!;
    }
    const last = run.unitCount - 1;
    run.spanBytes =
      run.slots[last]! * slotBytes + (run.large[last] === 1 ? largeSealedBytes : smallSealedBytes) - run.spanStart;
  }

  #openRun(handle: SegmentHandle, run: Run, block: number, source: Region, target: Region, targetOffset: number): void {
    let blocks = 0;
    for (let index = 0; index < run.unitCount; index++) {
      const sourceOffset = run.slots[index]! * slotBytes - run.spanStart;
      this.#openUnit(
        handle,
        run,
        index,
        block + blocks,
        source,
        sourceOffset,
        target,
        targetOffset + blocks * blockBytes,
      );
      blocks += run.counts[index]!;
    }
  }

  /** Opens unit `index` of the run, whose first wanted block is `block`, into the target. */
  #openUnit(
    handle: SegmentHandle,
    run: Run,
    index: number,
    block: number,
    source: Region,
    sourceOffset: number,
    target: Region,
    targetOffset: number,
  ): void {
    const slot = run.slots[index]!;
    if (run.large[index] === 0) {
      if (!handle.key.open(slot, block, blockBytes, source, sourceOffset, target, targetOffset))
        throw this.#tampered(run.segment, block);
      return;
    }
    const part = run.parts[index]!;
    const count = run.counts[index]!;
    if (count === largeUnitBlocks) {
      if (!handle.key.open(slot, block, largeUnitBytes, source, sourceOffset, target, targetOffset))
        throw this.#tampered(run.segment, block);
      return;
    }
    this.#unitHandle = undefined;
    if (!handle.key.open(slot, block - part, largeUnitBytes, source, sourceOffset, this.#unit, 0))
      throw this.#tampered(run.segment, block);
    this.#unitHandle = handle;
    this.#unitSlot = slot;
    this.#copyPart(part, count, target, targetOffset);
  }

  #copyPart(part: number, count: number, target: Region, targetOffset: number): void {
    target.bytes.set(this.#unit.bytes.subarray(part * blockBytes, (part + count) * blockBytes), targetOffset);
  }

  async #readSlowly(block: number, count: number, target: Region, targetOffset: number): Promise<void> {
    let done = 0;
    while (done < count) {
      const at = block + done;
      const offset = targetOffset + done * blockBytes;
      const taken = this.#readNow(at, count - done, target, offset);
      done += taken;
      if (done < count) done += await this.#fetch(block + done, count - done, target, targetOffset + done * blockBytes);
    }
  }

  /** Waits for what the block at `block` needs; returns the blocks it read itself, maybe none. */
  async #fetch(block: number, count: number, target: Region, targetOffset: number): Promise<number> {
    const preparing = this.#map.prepare(block, 1, false);
    if (preparing !== undefined) {
      await preparing;
      return 0;
    }
    const where = this.#map.find(block);
    if (where === -1 || where === Where.hole || where === Where.zero) return 0;
    const handle = this.#handles.get(where - 1) ?? (await this.#handles.open(where - 1));
    // Waiting may have let a write change the map, or cleaning give the index to another segment: start again.
    if (handle === undefined || this.#map.find(block) !== where || this.#handles.get(where - 1) !== handle) return 0;
    const run = new Run();
    this.#collect(run, where - 1, block, count, readUnitsMax);
    if (handle.writer !== undefined) {
      if (handle.writer.chunkOf(run.slots[0]!) !== undefined) return 0;
      this.#cutAtMemory(run, handle);
    }
    if (handle.reader === undefined) return 0;
    const source = this.acquire();
    this.#handles.pin(handle);
    try {
      await this.#readAndOpen(handle, handle.reader, run, block, source, target, targetOffset);
    } catch (error) {
      // Cleaned and deleted meanwhile: what it held lies elsewhere.
      if (handle.isDropped) return 0;
      throw this.#named(error, where - 1);
    } finally {
      this.#handles.unpin(handle);
      this.release(source);
    }
    return run.blocks;
  }

  async #readAndOpen(
    handle: SegmentHandle,
    reader: ObjectReader,
    run: Run,
    block: number,
    source: Region,
    target: Region,
    targetOffset: number,
  ): Promise<void> {
    await reader.read(run.spanStart, run.spanBytes, source, 0);
    try {
      this.#openRun(handle, run, block, source, target, targetOffset);
    } catch (error) {
      if (!isCaissonError(error, 'unit-tampered') || reader.forget?.(run.spanStart, run.spanBytes) !== true)
        throw error;
      await reader.read(run.spanStart, run.spanBytes, source, 0);
      this.#openRun(handle, run, block, source, target, targetOffset);
    }
  }

  /** A segment that is shorter than it was is a change of the store from outside. */
  #named(error: unknown, segment: number): unknown {
    if (!(error instanceof CaissonError) || (error.code !== 'format-invalid' && error.code !== 'object-missing'))
      return error;
    return new CaissonError(
      'integrity',
      error.code,
      `segment ${this.#describe(segment)} was cut off or removed: ${error.message}`,
      {
        details: { object: this.#describe(segment) },
        cause: error,
      },
    );
  }

  #tampered(segment: number, block: number): CaissonError {
    const object = this.#describe(segment);
    return new CaissonError(
      'integrity',
      'unit-tampered',
      `block ${block} in segment ${object} is not what was written`,
      {
        remedy:
          'The store was changed from outside or is damaged. Run `caisson volume verify`, then restore the object named.',
        details: { object, block },
      },
    );
  }
}
