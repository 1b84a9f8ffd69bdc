/**
 * BlockJournal: makes changes of the index durable, many with one sync, and keeps the journal from filling up
 * by checkpoints (spec/block-store.md, "Order").
 *
 * Invariants:
 * - One round runs at a time. It covers every group and every write that was handed over before it began;
 *   what arrives meanwhile shares the next one.
 * - A group is applied in memory after it is durable, in the order of the journal, in one step with its answer.
 * - The first failed write or sync of a round latches: nothing is changed through this opening any more.
 */
import { crc32 } from 'node:zlib';
import type { Clock } from '../../lib/clock.ts';
import { CaissonError } from '../../lib/errors.ts';
import { Region } from '../../lib/region.ts';
import type { FileHandle } from '../file-system.ts';
import type { BlockIndex } from './block-index.ts';
import { batchBytes, batchBytesMax, batchHeaderBytes, encodeBatch, encodeRecord } from './journal-format.ts';
import type { IndexRecord } from './journal-format.ts';
import {
  blockBytes,
  checkpointOffset,
  encodeSuperblock,
  journalOffset,
  superblockOffsets,
} from './superblock-format.ts';
import type { Superblock } from './superblock-format.ts';

/** Records that take effect together, or none: a wish for a sync alone. */
export interface Group {
  readonly records: readonly IndexRecord[];
  /** The records make bytes count that may not be durable yet. */
  readonly needsData: boolean;
  /** Changes the index in memory; runs once the records are durable. */
  readonly apply: () => void;
}

/** Where the journal stands once it was read. */
export interface JournalEnd {
  /** Of the last batch. */
  readonly sequence: number;
  /** Where the next batch goes. */
  readonly head: number;
  /** Bytes from the journal's start to there. */
  readonly usedBytes: number;
}

interface Waiting {
  readonly encoded: readonly Uint8Array[];
  readonly bytes: number;
  readonly group: Group;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Changes that wait for somebody to need a sync; then they get one of their own. */
const notedGroupsMax = 256;
/** Written in one piece while a checkpoint is made. */
const pieceBytes = 1024 * 1024;

export class BlockJournal {
  readonly #file: FileHandle;
  readonly #index: BlockIndex;
  readonly #clock: Clock;
  #superblock: Superblock;
  #sequence: number;
  #head: number;
  #usedBytes: number;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #failure: CaissonError | undefined;
  readonly #recordBytesMax: number;
  readonly #scratch: Region;
  readonly #piece: Region;

  constructor(file: FileHandle, index: BlockIndex, clock: Clock, superblock: Superblock, end: JournalEnd) {
    this.#file = file;
    this.#index = index;
    this.#clock = clock;
    this.#superblock = superblock;
    this.#sequence = end.sequence;
    this.#head = end.head;
    this.#usedBytes = end.usedBytes;
    this.#recordBytesMax = Math.min(batchBytesMax, superblock.geometry.journalBytes / 4) - batchHeaderBytes;
    this.#scratch = new Region(batchBytes(this.#recordBytesMax));
    this.#piece = new Region(Math.min(pieceBytes, superblock.geometry.checkpointBytes));
  }

  get failure(): CaissonError | undefined {
    return this.#failure;
  }

  /** Resolves when the group is durable and applied. */
  commit(group: Group): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(latched(this.#failure));
    const encoded = group.records.map((record) => encodeRecord(record));
    const bytes = encoded.reduce((sum, record) => sum + record.length, 0);
    if (bytes > this.#recordBytesMax) return Promise.reject(tooFragmented(bytes));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ encoded, bytes, group, resolve, reject });
      this.#running ??= this.#rounds();
    });
  }

  /** A change that nobody waits for: it goes along with the next round, or with `flush`. */
  note(group: Group): void {
    if (this.#failure !== undefined) return;
    const encoded = group.records.map((record) => encodeRecord(record));
    const bytes = encoded.reduce((sum, record) => sum + record.length, 0);
    this.#waiting.push({ encoded, bytes, group, resolve: () => undefined, reject: () => undefined });
    if (this.#waiting.length >= notedGroupsMax) this.#running ??= this.#rounds();
  }

  /** Whatever was noted is durable and applied. */
  async flush(): Promise<void> {
    while (this.#failure === undefined && (this.#waiting.length > 0 || this.#running !== undefined))
      await (this.#running ??= this.#rounds());
  }

  async #rounds(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        await this.#round(this.#take());
        if (this.#usedBytes > this.#superblock.geometry.journalBytes / 2) await this.#checkpoint();
      }
    } catch (error) {
      this.#latch(error);
    } finally {
      this.#running = undefined;
    }
  }

  /** Groups that fit together into a quarter of the journal, in order. */
  #take(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { bytes: more } of this.#waiting) {
      if (count > 0 && bytes + more > this.#recordBytesMax) break;
      bytes += more;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #round(groups: readonly Waiting[]): Promise<void> {
    try {
      const records = groups.flatMap(({ encoded }) => encoded);
      if (groups.some(({ group }) => group.needsData)) await this.#file.sync();
      if (records.length > 0) await this.#append(records);
      await this.#file.sync();
    } catch (error) {
      this.#latch(error);
      for (const { reject } of groups) reject(latched(this.#failure!));
      return;
    }
    for (const { group, resolve } of groups) {
      group.apply();
      resolve();
    }
  }

  async #append(records: readonly Uint8Array[]): Promise<void> {
    const { storeId, geometry } = this.#superblock;
    const bytes = batchBytes(records.reduce((sum, record) => sum + record.length, 0));
    const skippedBytes = (): number =>
      this.#head + bytes > geometry.journalBytes ? geometry.journalBytes - this.#head : 0;
    if (this.#usedBytes + skippedBytes() + bytes > geometry.journalBytes) await this.#checkpoint();
    const skipped = skippedBytes();
    const position = this.#head + bytes > geometry.journalBytes ? 0 : this.#head;
    encodeBatch(this.#scratch.bytes.subarray(0, bytes), storeId, this.#sequence + 1, records);
    this.#file.writeNow(journalOffset + position, bytes, this.#scratch, 0);
    this.#sequence++;
    this.#head = position + bytes;
    this.#usedBytes += skipped + bytes;
  }

  /** No batch is written meanwhile, so that the journal is empty afterwards. */
  async #checkpoint(): Promise<void> {
    const { geometry, generation, storeId, checkpoint } = this.#superblock;
    const area = checkpoint.length === 0 ? 0 : 1 - checkpoint.area;
    const { length, checksum } = await this.#writeIndex(checkpointOffset(geometry, area), geometry.checkpointBytes);
    await this.#file.sync();
    const head = this.#head === geometry.journalBytes ? 0 : this.#head;
    const next: Superblock = {
      storeId,
      generation: generation + 1,
      geometry,
      checkpoint: { area, length, checksum, sequence: this.#sequence, journalStart: head },
    };
    await writeSuperblock(this.#file, next);
    await this.#file.sync();
    this.#superblock = next;
    this.#head = head;
    this.#usedBytes = 0;
  }

  async #writeIndex(offset: number, bytesMax: number): Promise<{ readonly length: number; readonly checksum: number }> {
    const piece = this.#piece;
    let length = 0;
    let checksum = 0;
    let filled = 0;
    const write = async (): Promise<void> => {
      if (length + filled > bytesMax) throw indexFull();
      checksum = crc32(piece.bytes.subarray(0, filled), checksum);
      if (filled > 0) await this.#file.write(offset + length, filled, piece, 0);
      length += filled;
      filled = 0;
      await this.#clock.turn();
    };
    for (const record of this.#index.records()) {
      const bytes = encodeRecord(record);
      if (filled + bytes.length > piece.length) await write();
      if (bytes.length > piece.length) throw indexFull();
      piece.bytes.set(bytes, filled);
      filled += bytes.length;
    }
    await write();
    return { length, checksum };
  }

  #latch(error: unknown): void {
    this.#failure ??=
      error instanceof CaissonError
        ? error
        : new CaissonError('io', 'store-io', 'the journal failed', { cause: error });
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(latched(this.#failure));
  }
}

export async function writeSuperblock(file: FileHandle, superblock: Superblock): Promise<void> {
  const block = new Region(blockBytes);
  block.bytes.set(encodeSuperblock(superblock));
  await file.write(superblockOffsets[superblock.generation % 2]!, blockBytes, block, 0);
}

function latched(failure: CaissonError): CaissonError {
  return new CaissonError(failure.kind, failure.code, failure.message, {
    remedy:
      'What the device holds is unknown since a write to it failed. Close every volume of this store and open it again; what was acknowledged is there.',
    details: failure.details,
    cause: failure,
  });
}

export function indexFull(): CaissonError {
  return new CaissonError('full', 'store-full', 'the index of the block store is full', {
    remedy: 'Remove volumes or snapshots; a device that is formatted anew at a larger size has room for more objects.',
  });
}

function tooFragmented(bytes: number): CaissonError {
  return new CaissonError('full', 'store-full', `the free space is in too many pieces: a record of ${bytes} bytes`, {
    remedy: 'Remove volumes or snapshots, so that larger pieces become free.',
    details: { bytes },
  });
}
