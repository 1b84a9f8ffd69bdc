/**
 * WriteLog: the volume's end of the log. It turns blocks and extents into entries of the segment being
 * written, starts the next segment when one is full, and makes all of it durable.
 *
 * Invariants:
 * - Segments follow each other without gaps in ordinal, sequence and chain value.
 * - Every segment starts under a fresh id; nothing is ever added to a segment found on the store.
 * - `durableSequence` names a record only when its bytes and those of all records before it are synced, and a look at the
 *   fence after that found the volume still ours: whoever takes it over then finds those records, and may hold it
 *   against the store where one that records call durable is gone.
 */
import type { SealingKey } from '../crypto/sealer.ts';
import type { Random } from '../lib/random.ts';
import { zeroAheadBytesMax } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import { ObjectKind } from '../manifest/catalog-format.ts';
import type { ObjectTable } from '../manifest/object-table.ts';
import { ChunkPool, type Chunk } from '../segment/chunk.ts';
import { EntryKind } from '../segment/segment-format.ts';
import { SegmentScratch, SegmentWriter, type SegmentSink } from '../segment/segment-writer.ts';
import type { Spool, SpoolEntry } from '../spool/spool.ts';
import { spoolName } from '../store/paths.ts';
import type { ObjectKeys } from './object-keys.ts';
import type { SegmentHandle, SegmentHandles } from './segment-handles.ts';

/** Commits up to this size count as small: a batch of 32 blocks, and some. */
const smallCommitBytesMax = 192 * 1024;
let zeroes: Region | undefined;

export interface OpenSegment {
  readonly writer: SegmentWriter;
  readonly entry: SpoolEntry;
  readonly handle: SegmentHandle;
  readonly index: number;
}

export interface LogPosition {
  readonly sequence: number;
  readonly chain: Uint8Array; // 16 bytes
  readonly nextOrdinal: number;
}

export interface WriteLogOptions {
  readonly spool: Spool;
  readonly table: ObjectTable;
  readonly handles: SegmentHandles;
  readonly keys: ObjectKeys;
  readonly random: Random;
  readonly volumeId: Uint8Array;
  /** The writer's, which a move changes. */
  readonly epoch: () => number;
  readonly segmentBytesMax: number;
  /** Zeroes written ahead of small commits, bytes; 0 for none. */
  readonly zeroAheadBytes: number;
  readonly start: LogPosition;
  /** Whether a finished segment's file is made durable at once: then recovery need not copy it. */
  readonly syncFinished: () => boolean;
  /** Throws unless this writer still has the volume. */
  readonly checkFence: () => Promise<void>;
  /** A segment is complete in memory; its bytes are on their way to the file. */
  readonly onFinished: (segment: OpenSegment) => void;
}

export class WriteLog implements SegmentSink {
  readonly #options: WriteLogOptions;
  readonly #chunks = new ChunkPool(16);
  readonly #scratch = new SegmentScratch();
  readonly #segments = new Map<SegmentWriter, OpenSegment>();
  #open: OpenSegment | undefined;
  #position: LogPosition;
  #durableSequence: number;
  #durableChain: Uint8Array;
  bytesSealed = 0;
  /** Where the zeroes written ahead in the open segment end; -1 once the file system refused them. */
  #zeroedEnd = 0;
  #committedEnd = 0;
  #smallCommits = 0;
  /** Settles when the finished segments are durable, one after the other. Never rejects. */
  #settling: Promise<void> = Promise.resolve();

  constructor(options: WriteLogOptions) {
    this.#options = options;
    this.#position = options.start;
    this.#durableSequence = options.start.sequence;
    this.#durableChain = options.start.chain;
  }

  get durableSequence(): number {
    return this.#durableSequence;
  }

  get durableChain(): Uint8Array {
    return this.#durableChain;
  }

  /** Where the next segment would start: everything before it is in finished segments. */
  get position(): LogPosition {
    return this.#position;
  }

  /** Records closed so far. */
  get sequence(): number {
    return this.#open?.writer.lastSequence ?? this.#position.sequence;
  }

  /** Bytes of the open segment. */
  get openBytes(): number {
    return this.#open?.writer.position ?? 0;
  }

  /** Index in the object table of the segment that the last append went to. */
  objectIndex = -1;

  durableThrough(): number {
    return this.#durableSequence;
  }

  /** Seals one unit; returns its slot and leaves the segment's index in `objectIndex`. */
  appendUnit(kind: EntryKind, block: number, source: Region, sourceOffset: number): number {
    const segment = this.#segmentFor(kind);
    this.objectIndex = segment.index;
    return segment.writer.appendUnit(kind, block, source, sourceOffset);
  }

  appendExtent(kind: EntryKind, block: number, blockCount: number): void {
    let at = block;
    let left = blockCount;
    do {
      const count = Math.min(left, 0xffff_ffff);
      this.#segmentFor(kind).writer.appendEntry(kind, count, at);
      at += count;
      left -= count;
    } while (left > 0);
  }

  /** Notes a new size; `count` of the entry is zero, its block field the size. */
  appendSize(blockCount: number): void {
    this.#segmentFor(EntryKind.size).writer.appendEntry(EntryKind.size, 0, blockCount);
  }

  /** Everything appended so far durable; afterwards `durableSequence` covers it. */
  async commit(): Promise<void> {
    const open = this.#open;
    if (open !== undefined) {
      open.writer.closeRecord();
      this.chunkReady(open.writer, open.writer.current);
      this.#zeroAhead(open);
    }
    const sequence = this.sequence;
    const chain = Uint8Array.from(open?.writer.chain ?? this.#position.chain);
    await this.#options.spool.commit();
    await this.#options.checkFence();
    this.#raiseDurable(sequence, chain);
  }

  /** As `commit`, by making objects of all segments: `upload` resolves once every finished one is on the store. */
  async commitByUpload(upload: () => Promise<void>): Promise<void> {
    this.rotate();
    const { sequence, chain } = this.#position;
    await upload();
    await this.#options.checkFence();
    this.#raiseDurable(sequence, chain);
  }

  #raiseDurable(sequence: number, chain: Uint8Array): void {
    if (sequence <= this.#durableSequence) return;
    this.#durableSequence = sequence;
    this.#durableChain = chain;
  }

  /** The records that follow state how far the log is durable, and what they state need not be doubted by recovery. */
  #settle(entry: SpoolEntry): void {
    const { sequence, chain } = this.#position;
    this.#settling = this.#settling
      .then(() => this.#options.spool.syncFinished(entry))
      .then(() => this.#options.checkFence())
      .then(
        () => this.#raiseDurable(sequence, chain),
        // Nothing is claimed. Whoever flushes next is told what the spool latched, or meets the same fence.
        () => undefined,
      );
  }

  /**
   * Small commits one after the other: zeroes ahead of the data make each sync write the data alone,
   * where a growing file would need its metadata written, too. They end replay as nothing would.
   */
  #zeroAhead(open: OpenSegment): void {
    const end = open.writer.position;
    const grown = end - this.#committedEnd;
    this.#committedEnd = end;
    this.#smallCommits = grown <= smallCommitBytesMax ? this.#smallCommits + 1 : 0;
    // Until the file is open there is nothing to write to; a refusal, in contrast, is for the whole segment.
    if (
      open.entry.file === undefined ||
      this.#smallCommits < 2 ||
      this.#zeroedEnd < 0 ||
      end + 2 * grown <= this.#zeroedEnd
    )
      return;
    const from = Math.max(end, this.#zeroedEnd);
    const length = Math.min(this.#options.zeroAheadBytes, this.#options.segmentBytesMax - from);
    if (length <= 0) return;
    zeroes ??= new Region(zeroAheadBytesMax);
    this.#zeroedEnd = this.#options.spool.writeZeroesAhead(open.entry, from, zeroes, length) ? from + length : -1;
  }

  /** Finishes the open segment, so that what comes next lies in a new one. */
  rotate(): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#open = undefined;
    open.writer.finish();
    // A refused write may have left some, too.
    if (this.#zeroedEnd < 0 || this.#zeroedEnd > open.writer.position)
      this.#options.spool.truncate(open.entry, open.writer.position);
    this.bytesSealed += open.writer.position;
    this.#position = {
      sequence: open.writer.lastSequence,
      chain: Uint8Array.from(open.writer.chain),
      nextOrdinal: open.writer.ordinal + 1,
    };
    if (this.#options.syncFinished()) this.#settle(open.entry);
    this.#options.onFinished(open);
  }

  /** SegmentSink: hands complete bytes of a chunk to the spool. */
  chunkReady(writer: SegmentWriter, chunk: Chunk): void {
    const segment = this.#segments.get(writer)!;
    const from = chunk.submitted;
    const length = chunk.complete - from;
    if (length > 0) {
      chunk.submitted = chunk.complete;
      chunk.writesInFlight++;
      this.#options.spool.write(segment.entry, chunk.fileStart + from, chunk.region, from, length, () => {
        chunk.writesInFlight--;
        this.#retireIfDone(segment, chunk);
      });
    } else this.#retireIfDone(segment, chunk);
  }

  #retireIfDone(segment: OpenSegment, chunk: Chunk): void {
    const { writer, handle, entry } = segment;
    if (handle.reader === undefined && entry.file !== undefined) {
      const { file } = entry;
      handle.reader = file.reader;
      handle.close = () => file.close();
    }
    if (!chunk.closed || chunk.writesInFlight > 0 || chunk.submitted < chunk.filled || handle.reader === undefined)
      return;
    writer.retire(chunk);
    if (writer.finished && writer.live.length === 0) {
      this.#segments.delete(writer);
      handle.writer = undefined;
    }
  }

  #segmentFor(kind: EntryKind): OpenSegment {
    const open = this.#open;
    if (open !== undefined) {
      if (open.writer.hasRoom(kind)) return open;
      this.rotate();
    }
    return this.#begin();
  }

  #begin(): OpenSegment {
    const { random, keys, volumeId, table, spool, handles } = this.#options;
    const segmentId = random.bytes(16);
    const keyEpoch = keys.keyEpoch;
    const key: SealingKey = keys.segmentKey(segmentId, volumeId, keyEpoch);
    const writer = new SegmentWriter({
      clear: { protection: keys.protectionCode, keyEpoch, lineage: volumeId, segmentId },
      sealed: {
        epoch: this.#options.epoch(),
        ordinal: this.#position.nextOrdinal,
        firstSequence: this.#position.sequence + 1,
        chain: this.#position.chain,
      },
      key,
      bytesMax: this.#options.segmentBytesMax,
      chunks: this.#chunks,
      scratch: this.#scratch,
      sink: this,
    });
    const index = table.allocate(ObjectKind.segment, segmentId, keyEpoch);
    const entry = spool.begin(spoolName(segmentId));
    const segment = {
      writer,
      entry,
      handle: handles.addWriter(index, key, writer),
      index,
    };
    this.#segments.set(writer, segment);
    this.#open = segment;
    this.#zeroedEnd = 0;
    this.#committedEnd = 0;
    return segment;
  }
}
