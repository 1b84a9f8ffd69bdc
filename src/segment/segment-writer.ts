/**
 * SegmentWriter: builds the bytes of one segment in chunks (spec/segment-format.md). It knows no files:
 * closed ranges go to the sink, which writes them wherever the spool lives.
 *
 * Invariants: every sealed piece has its own offset, so a slot is sealed once; a record's header is
 * sealed when the record closes and never again; bytes handed to the sink never change.
 */
import type { SealingKey } from '../crypto/sealer.ts';
import { assert } from '../lib/assert.ts';
import { Region } from '../lib/region.ts';
import { chunkBytes, type Chunk, type ChunkPool } from './chunk.ts';
import {
  clearHeaderBytes,
  clearRecordBytes,
  directoryEntryBytes,
  directoryPrefixBytes,
  encodeClearHeader,
  encodeClearRecord,
  encodeDirectoryEntry,
  encodeDirectoryPrefix,
  encodeEntry,
  encodeFooter,
  encodeRecordPrefix,
  encodeSealedHeader,
  EntryKind,
  footerBytes,
  headerBytes,
  largeUnitBytes,
  blockBytes,
  PieceBlock,
  recordEntriesMax,
  recordHeaderBytes,
  sealedHeaderBytes,
  sealedRecordBytes,
  slotBytes,
  tagBytes,
  unitBytes,
  type ClearHeader,
  type SealedHeader,
} from './segment-format.ts';

/** Bounds the sealed directory, and with it the memory of a segment of nothing but extents. */
export const segmentEntriesMax = 8192;

/** Memory that every writer of one volume uses in turn: plaintext of headers and of the directory. */
export class SegmentScratch {
  readonly record = new Region(4096);
  readonly recordView = new DataView(this.record.bytes.buffer);
  readonly directory = new Region(directoryPrefixBytes + segmentEntriesMax * directoryEntryBytes);
  readonly directoryView = new DataView(this.directory.bytes.buffer);
}

export interface SegmentSink {
  /** `chunk` has new complete bytes; called when a chunk is full and when the segment ends. */
  chunkReady(writer: SegmentWriter, chunk: Chunk): void;
  /** The newest record sequence known to be on stable storage. */
  durableThrough(): number;
}

export interface SegmentWriterOptions {
  readonly clear: ClearHeader;
  readonly sealed: SealedHeader;
  readonly key: SealingKey;
  readonly bytesMax: number;
  readonly chunks: ChunkPool;
  readonly scratch: SegmentScratch;
  readonly sink: SegmentSink;
}

export class SegmentWriter {
  readonly segmentId: Uint8Array;
  readonly ordinal: number;
  readonly firstSequence: number;
  /** Sequence of the last closed record. */
  lastSequence: number;
  /** Chain value after the last closed record, 16 bytes. */
  readonly chain: Uint8Array;
  /** Chunks not yet wholly in the file, oldest first; the last one is being filled. */
  readonly live: Chunk[] = [];
  finished = false;

  readonly #key: SealingKey;
  readonly #bytesMax: number;
  readonly #chunks: ChunkPool;
  readonly #scratch: SegmentScratch;
  readonly #sink: SegmentSink;
  #chunk: Chunk;
  /** Offset of the open record's header in the chunk; -1 without one. */
  #recordAt = -1;
  #recordEntries = 0;
  #entryCount = 0;

  constructor(options: SegmentWriterOptions) {
    this.segmentId = options.clear.segmentId;
    this.ordinal = options.sealed.ordinal;
    this.firstSequence = options.sealed.firstSequence;
    this.lastSequence = options.sealed.firstSequence - 1;
    this.chain = Uint8Array.from(options.sealed.chain);
    this.#key = options.key;
    this.#bytesMax = options.bytesMax;
    this.#chunks = options.chunks;
    this.#scratch = options.scratch;
    this.#sink = options.sink;
    this.#chunk = this.#chunks.acquire(0);
    this.live.push(this.#chunk);
    this.#writeHeader(options.clear, options.sealed);
  }

  /** Bytes of the segment so far, the open record included. */
  get position(): number {
    return this.#chunk.fileStart + this.#chunk.filled;
  }

  get hasOpenRecord(): boolean {
    return this.#recordAt >= 0;
  }

  /** Whether one more entry of this kind fits before the segment must be finished. */
  hasRoom(kind: EntryKind): boolean {
    if (this.#entryCount >= segmentEntriesMax) return false;
    const tail = directoryPrefixBytes + (this.#entryCount + 1) * directoryEntryBytes + tagBytes + footerBytes;
    return this.position + recordHeaderBytes + unitBytes(kind) + tail <= this.#bytesMax;
  }

  /** Seals one unit of `source` into the segment and returns its slot. The caller asked `hasRoom`. */
  appendUnit(kind: EntryKind, block: number, source: Region, sourceOffset: number): number {
    const large = kind === EntryKind.large;
    const length = large ? largeUnitBytes : blockBytes;
    this.#reserve(length + tagBytes);
    const chunk = this.#chunk;
    const at = chunk.filled;
    const slot = (chunk.fileStart + at) / slotBytes;
    this.#key.seal(slot, block, length, source, sourceOffset, chunk.region, at);
    chunk.filled = at + length + tagBytes;
    this.#note(kind, large ? 8 : 1, block, slot, chunk.region.bytes, at + length);
    return slot;
  }

  /** Notes an extent or a change of size. The caller asked `hasRoom`. */
  appendEntry(kind: EntryKind, count: number, block: number): void {
    this.#reserve(0);
    this.#note(kind, count, block, 0, undefined, 0);
  }

  /** Seals the header of the open record; afterwards all bytes so far are complete. */
  closeRecord(): void {
    if (this.#recordAt < 0) return;
    const chunk = this.#chunk;
    const scratch = this.#scratch;
    const at = this.#recordAt;
    const bodyBytes = chunk.filled - at - recordHeaderBytes;
    this.lastSequence++;
    encodeRecordPrefix(
      scratch.recordView,
      scratch.record.bytes,
      this.lastSequence,
      this.chain,
      this.#sink.durableThrough(),
      this.#recordEntries,
      bodyBytes,
    );
    encodeClearRecord(chunk.region.bytes, chunk.view, at);
    const sealedAt = at + clearRecordBytes;
    const slot = (chunk.fileStart + sealedAt) / slotBytes;
    this.#key.seal(slot, PieceBlock.record, sealedRecordBytes, scratch.record, 0, chunk.region, sealedAt);
    const tagAt = sealedAt + sealedRecordBytes;
    for (let index = 0; index < tagBytes; index++) this.chain[index] = chunk.region.bytes[tagAt + index]!;
    this.#recordAt = -1;
    this.#recordEntries = 0;
    chunk.complete = chunk.filled;
  }

  /** Closes the record, adds directory and footer, and hands the rest to the sink. */
  finish(): void {
    assert(!this.finished, 'a segment is finished once');
    this.closeRecord();
    const plainBytes = directoryPrefixBytes + this.#entryCount * directoryEntryBytes;
    if (this.#chunk.filled + plainBytes + tagBytes + footerBytes > chunkBytes) this.#nextChunk();
    const chunk = this.#chunk;
    const at = chunk.filled;
    const directoryOffset = chunk.fileStart + at;
    encodeDirectoryPrefix(this.#scratch.directory.bytes, this.lastSequence, this.chain, this.#entryCount);
    this.#key.seal(
      directoryOffset / slotBytes,
      PieceBlock.directory,
      plainBytes,
      this.#scratch.directory,
      0,
      chunk.region,
      at,
    );
    const footerAt = at + plainBytes + tagBytes;
    encodeFooter(chunk.region.bytes.subarray(footerAt, footerAt + footerBytes), {
      directoryOffset,
      directoryBytes: plainBytes + tagBytes,
      totalBytes: chunk.fileStart + footerAt + footerBytes,
    });
    chunk.filled = footerAt + footerBytes;
    chunk.complete = chunk.filled;
    this.finished = true;
    chunk.closed = true;
    this.#sink.chunkReady(this, chunk);
  }

  /** The chunk that holds `slot` in memory, or undefined when it must be read from the file. */
  chunkOf(slot: number): Chunk | undefined {
    const offset = slot * slotBytes;
    for (let index = this.live.length - 1; index >= 0; index--) {
      const chunk = this.live[index]!;
      if (offset >= chunk.fileStart) return offset < chunk.fileStart + chunk.filled ? chunk : undefined;
    }
    return undefined;
  }

  /** The chunk being filled, for handing out what is complete of it. */
  get current(): Chunk {
    return this.#chunk;
  }

  /** Takes a chunk that is wholly in the file out of memory. */
  retire(chunk: Chunk): void {
    const index = this.live.indexOf(chunk);
    assert(index >= 0, 'a retired chunk is live');
    this.live.splice(index, 1);
    this.#chunks.release(chunk);
  }

  #writeHeader(clear: ClearHeader, sealed: SealedHeader): void {
    const chunk = this.#chunk;
    encodeClearHeader(chunk.region.bytes, clear);
    encodeSealedHeader(this.#scratch.record.bytes.subarray(0, sealedHeaderBytes), sealed);
    const slot = clearHeaderBytes / slotBytes;
    this.#key.seal(slot, PieceBlock.header, sealedHeaderBytes, this.#scratch.record, 0, chunk.region, clearHeaderBytes);
    chunk.filled = headerBytes;
    chunk.complete = headerBytes;
  }

  /** Makes sure that a record is open in the current chunk with room for `bodyBytes` more. */
  #reserve(bodyBytes: number): void {
    if (
      this.#recordAt >= 0 &&
      (this.#recordEntries === recordEntriesMax || this.#chunk.filled + bodyBytes > chunkBytes)
    )
      this.closeRecord();
    if (this.#recordAt >= 0) return;
    if (this.#chunk.filled + recordHeaderBytes + bodyBytes > chunkBytes) this.#nextChunk();
    this.#recordAt = this.#chunk.filled;
    this.#chunk.filled += recordHeaderBytes;
  }

  #note(
    kind: EntryKind,
    count: number,
    block: number,
    slot: number,
    tagSource: Uint8Array | undefined,
    tagOffset: number,
  ): void {
    const scratch = this.#scratch;
    encodeEntry(scratch.recordView, this.#recordEntries++, kind, count, block);
    const at = directoryPrefixBytes + this.#entryCount++ * directoryEntryBytes;
    encodeDirectoryEntry(
      scratch.directory.bytes,
      scratch.directoryView,
      at,
      kind,
      count,
      block,
      slot,
      tagSource,
      tagOffset,
    );
  }

  #nextChunk(): void {
    const full = this.#chunk;
    full.closed = true;
    this.#chunk = this.#chunks.acquire(full.fileStart + full.filled);
    this.live.push(this.#chunk);
    this.#sink.chunkReady(this, full);
  }
}
