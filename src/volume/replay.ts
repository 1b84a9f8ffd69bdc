/**
 * Replay: finds the segments that were written after the newest manifest and walks their records
 * (spec/segment-format.md, "Replay"). It reads and judges; what to do with a record is the caller's.
 *
 * Invariant: the records handed out are a prefix of what was written, in order, each authentic with all
 * its units; a change of bytes that were on stable storage is an error, never a shorter prefix.
 */
import type { AnchorState } from '../anchor/anchor.ts';
import type { SealingKey } from '../crypto/sealer.ts';
import { equalBytes } from '../crypto/digest.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { recoveryOpensInFlightMax, spoolFilesMax } from '../lib/limits.ts';
import { forEachParallel } from '../lib/parallel.ts';
import { Region } from '../lib/region.ts';
import {
  clearHeaderBytes,
  clearRecordBytes,
  decodeClearHeader,
  decodeRecord,
  decodeSealedHeader,
  footerBytes,
  headerBytes,
  isRecordMagic,
  PieceBlock,
  recordEntriesMax,
  recordHeaderBytes,
  sealedHeaderBytes,
  sealedRecordBytes,
  slotBytes,
  largeUnitBytes,
  tagBytes,
  unitBytes,
  type RecordHeader,
  type SealedHeader,
} from '../segment/segment-format.ts';
import { parseKey, parseSpoolName, spoolName } from '../store/paths.ts';
import type { ObjectReader, SpoolArea, Store } from '../store/store.ts';
import type { ObjectKeys } from './object-keys.ts';
import type { LogPosition } from './write-log.ts';

/** A spool file, or an object that no manifest names yet, whose header opened. */
export interface FoundSegment {
  /** Of the spool file; of an object its key. */
  readonly name: string;
  /** It lies on a store beyond this machine, put there in one piece. */
  readonly isObject: boolean;
  readonly segmentId: Uint8Array;
  readonly keyEpoch: number;
  readonly header: SealedHeader;
  readonly key: SealingKey;
  readonly reader: ObjectReader;
  /** Bytes; smaller than at first once a stalled writer has cut off the zeroes it had written ahead. */
  size: number;
  readonly sizeNow: () => Promise<number>;
}

export interface ReplayedRecord {
  readonly segment: FoundSegment;
  readonly record: RecordHeader;
  /** Offset of the first unit in the segment. */
  readonly bodyOffset: number;
}

export interface ReplayEnd {
  readonly position: LogPosition;
  readonly recordCount: number;
  readonly bytes: number;
  readonly tornBytes: number;
  /**
   * The segments that gave records, in order, each with the bytes that count. `stable`: it ends with its
   * directory and a record behind it is known durable, so all of it is on stable storage; of any other it
   * is not known, even if all of it can be read: after a failed sync the system may show what it never wrote.
   */
  readonly segments: readonly {
    readonly segment: FoundSegment;
    readonly validBytes: number;
    readonly stable: boolean;
  }[];
  /** Spool files that are no part of the volume's history: torn beginnings, leftovers. */
  readonly leftovers: readonly string[];
}

/** Read in one piece: several records, so that many small ones do not cost a large read each. */
const windowBytesMax = 4 * 1024 * 1024;
/** Of a store beyond this machine; the rest of a segment. */
const prefetchBytes = 16 * 1024 * 1024;
const recordBytesMax = recordHeaderBytes + recordEntriesMax * (largeUnitBytes + tagBytes);

/** Opens every file of the spool that is a segment of this volume; the others are leftovers. */
export async function findSegments(
  area: SpoolArea,
  volumeId: Uint8Array,
  keys: ObjectKeys,
  published: ReadonlySet<string>,
): Promise<{ readonly found: FoundSegment[]; readonly leftovers: string[] }> {
  const files = await area.list();
  if (files.length > spoolFilesMax) {
    throw new CaissonError(
      'full',
      'limit-exceeded',
      `the spool holds ${files.length} files, at most ${spoolFilesMax} are read`,
      {
        details: { limit: spoolFilesMax },
      },
    );
  }
  const found: FoundSegment[] = [];
  const leftovers: string[] = [];
  for (const file of files) {
    const segment =
      parseSpoolName(file.key) === undefined || published.has(file.key)
        ? undefined
        : await openSegment(area, file.key, volumeId, keys);
    if (segment === undefined) leftovers.push(file.key);
    else found.push(segment);
  }
  return { found, leftovers };
}

async function openSegment(
  area: SpoolArea,
  name: string,
  volumeId: Uint8Array,
  keys: ObjectKeys,
): Promise<FoundSegment | undefined> {
  const reader = await area.open(name);
  const file = { name, isObject: false, segmentId: parseSpoolName(name)!, sizeNow: () => currentSize(area, name) };
  const segment = reader.size < headerBytes ? undefined : await readHeader(file, reader, volumeId, keys);
  if (segment === undefined) await reader.close();
  return segment;
}

/**
 * Segments that were sent to a store beyond this machine and are named by no manifest yet. Of two copies of one
 * segment the longer counts; the other is left out, and closed.
 */
export async function findObjects(
  store: Store,
  prefix: string,
  volumeId: Uint8Array,
  keys: ObjectKeys,
  published: ReadonlySet<string>,
  found: FoundSegment[],
): Promise<void> {
  const objects: { readonly key: string; readonly size: number; readonly id: Uint8Array }[] = [];
  for await (const { key, size } of store.list(`${prefix}segments/`)) {
    const parsed = parseKey(key);
    if (parsed?.kind !== 'segment' || size < headerBytes || published.has(spoolName(parsed.id))) continue;
    const twin = found.find((segment) => equalBytes(segment.segmentId, parsed.id));
    if (twin === undefined || twin.size <= size) objects.push({ key, size, id: parsed.id });
  }
  await forEachParallel(objects, recoveryOpensInFlightMax, async ({ key, size, id }) => {
    const reader = await store.open(key);
    const object = { name: key, isObject: true, segmentId: id, sizeNow: () => Promise.resolve(size) };
    const segment = await readHeader(object, reader, volumeId, keys);
    if (segment === undefined) return reader.close();
    const twin = found.findIndex((other) => equalBytes(other.segmentId, id));
    const [other] = twin < 0 ? [] : found.splice(twin, 1);
    found.push(segment);
    other?.key.destroy();
    await other?.reader.close();
  });
}

/** Undefined for a file that never became a segment, or is none of ours: a map object, a torn header. */
async function readHeader(
  place: Pick<FoundSegment, 'name' | 'isObject' | 'segmentId' | 'sizeNow'>,
  reader: ObjectReader,
  volumeId: Uint8Array,
  keys: ObjectKeys,
): Promise<FoundSegment | undefined> {
  const region = new Region(headerBytes);
  await reader.read(0, headerBytes, region, 0);
  try {
    const clear = decodeClearHeader(region.bytes.subarray(0, clearHeaderBytes));
    if (!equalBytes(clear.lineage, volumeId) || clear.protection !== keys.protectionCode) return undefined;
    // A copy of its beginning that a recovery left half made: the segment itself is beside it.
    if (!equalBytes(clear.segmentId, place.segmentId)) return undefined;
    const segmentId = Uint8Array.from(clear.segmentId);
    const key = keys.segmentKey(segmentId, volumeId, clear.keyEpoch);
    const plain = new Region(sealedHeaderBytes);
    if (
      !key.open(clearHeaderBytes / slotBytes, PieceBlock.header, sealedHeaderBytes, region, clearHeaderBytes, plain, 0)
    ) {
      key.destroy();
      return undefined;
    }
    const header = decodeSealedHeader(plain.bytes);
    return { ...place, segmentId, keyEpoch: clear.keyEpoch, header, key, reader, size: reader.size };
  } catch (error) {
    // Bytes that are no segment header were never durable as one; another version must not be passed over. A key epoch goes
    // only once everything under it was published and sealed anew: what is left of it is no part of the history.
    if (isCaissonError(error, 'format-invalid') || isCaissonError(error, 'key-epoch-missing')) return undefined;
    throw error;
  }
}

async function currentSize(area: SpoolArea, name: string): Promise<number> {
  const reader = await area.open(name);
  await reader.close();
  return reader.size;
}

export interface ReplayOptions {
  readonly found: readonly FoundSegment[];
  readonly start: LogPosition;
  readonly anchor: AnchorState | undefined;
  /** Takes one record; awaited before the next is read. */
  readonly take: (record: ReplayedRecord) => void | Promise<void>;
  readonly turn: () => Promise<void>;
}

/** Walks the chain of segments from `start`. Throws `record-tampered` or `rolled-back`. */
export async function replay(options: ReplayOptions): Promise<ReplayEnd> {
  const walker = new Walker(options);
  return walker.walk();
}

interface WalkedSegment {
  readonly segment: FoundSegment;
  readonly validBytes: number;
  readonly whole: boolean;
  readonly lastSequence: number;
}

class Walker {
  readonly #options: ReplayOptions;
  readonly #region: Region;
  #windowSegment: FoundSegment | undefined;
  #windowStart = 0;
  #windowEnd = 0;
  readonly #view: DataView;
  readonly #plain = new Region(Math.max(sealedRecordBytes, largeUnitBytes));
  #sequence: number;
  #chain: Uint8Array;
  #ordinal: number;
  readonly #tried = new Set<FoundSegment>();
  #durableThrough: number;
  #recordCount = 0;
  #bytes = 0;
  #tornBytes = 0;

  constructor(options: ReplayOptions) {
    this.#options = options;
    const longest = options.found.reduce((most, segment) => Math.max(most, segment.size), 1);
    this.#region = new Region(Math.min(windowBytesMax, longest));
    this.#view = new DataView(this.#region.bytes.buffer);
    this.#sequence = options.start.sequence;
    this.#chain = options.start.chain;
    this.#ordinal = options.start.nextOrdinal;
    this.#durableThrough = options.anchor?.sequence ?? 0;
    this.#checkAnchor();
  }

  async walk(): Promise<ReplayEnd> {
    const segments: WalkedSegment[] = [];
    const used = new Set<FoundSegment>();
    for (;;) {
      const segment = this.#next();
      if (segment === undefined) break;
      used.add(segment);
      const before = this.#recordCount;
      const validBytes = await this.#walkSegment(segment);
      // Without directory the writer may still be adding to the file, dead as it seems.
      const whole = await this.#isDirectoryEnd(segment, validBytes);
      if (this.#recordCount > before)
        segments.push({
          segment,
          validBytes: whole ? segment.size : validBytes,
          whole,
          lastSequence: this.#sequence,
        });
      else used.delete(segment);
      this.#tried.add(segment);
      if (!whole) this.#tornBytes += segment.size - validBytes;
      // A segment without a whole record never was part of the history: the next writer takes its ordinal.
      if (this.#recordCount > before) this.#ordinal = segment.header.ordinal + 1;
    }
    await this.#refuseLostRecords(segments);
    const { anchor } = this.#options;
    if (anchor !== undefined && this.#sequence < anchor.sequence) throw this.#rolledBack(anchor);
    const leftovers = this.#options.found
      .filter((segment) => !used.has(segment) && !segment.isObject)
      .map((segment) => segment.name);
    return {
      position: { sequence: this.#sequence, chain: this.#chain, nextOrdinal: this.#ordinal },
      recordCount: this.#recordCount,
      bytes: this.#bytes,
      tornBytes: this.#tornBytes,
      segments: segments.map(({ segment, validBytes, whole, lastSequence }) => ({
        segment,
        validBytes,
        // An object came in one piece and was there when it was listed: it is as stable as the store.
        stable: whole && (segment.isObject || lastSequence < this.#durableThrough),
      })),
      leftovers,
    };
  }

  /**
   * The segment that continues the chain. Beyond the anchored record only segments of the anchor's
   * epoch or later count: an older epoch's tail was given up by the recovery that took the next epoch.
   */
  #next(): FoundSegment | undefined {
    const { anchor } = this.#options;
    let best: FoundSegment | undefined;
    for (const segment of this.#options.found) {
      const { header } = segment;
      if (this.#tried.has(segment)) continue;
      if (
        header.ordinal !== this.#ordinal ||
        header.firstSequence !== this.#sequence + 1 ||
        !equalBytes(header.chain, this.#chain)
      )
        continue;
      if (anchor !== undefined && this.#sequence >= anchor.sequence && header.epoch < anchor.epoch) continue;
      if (best === undefined || header.epoch > best.header.epoch) best = segment;
    }
    return best;
  }

  /** Takes the valid records of a segment; returns where they end. */
  async #walkSegment(segment: FoundSegment): Promise<number> {
    let offset = headerBytes;
    while (offset + recordHeaderBytes <= segment.size) {
      const record = await this.#readRecord(segment, offset);
      if (record === undefined) break;
      const { anchor } = this.#options;
      if (anchor !== undefined && this.#sequence >= anchor.sequence && segment.header.epoch < anchor.epoch) break;
      this.#sequence = record.sequence;
      this.#durableThrough = Math.max(this.#durableThrough, record.durableThrough);
      this.#chain = this.#chainAfter(offset - this.#windowStart);
      this.#checkAnchor();
      this.#recordCount++;
      const bytes = recordHeaderBytes + record.bodyBytes;
      this.#bytes += bytes;
      await this.#options.take({ segment, record, bodyOffset: offset + recordHeaderBytes });
      if (this.#recordCount % 16 === 0) await this.#options.turn();
      offset += bytes;
    }
    return offset;
  }

  /** The record at `offset` if it is whole and continues the chain; its bytes stay in the region. */
  async #readRecord(segment: FoundSegment, offset: number): Promise<RecordHeader | undefined> {
    const start = await this.#window(segment, offset, recordBytesMax);
    if (offset + recordHeaderBytes > this.#windowEnd) return undefined;
    const record = this.#openRecordHeader(segment, offset, start);
    if (
      record === undefined ||
      record.sequence !== this.#sequence + 1 ||
      !equalBytes(record.previousChain, this.#chain)
    )
      return undefined;
    if (offset + recordHeaderBytes + record.bodyBytes > this.#windowEnd) return undefined;
    let at = recordHeaderBytes;
    for (const entry of record.entries) {
      const sealedBytes = unitBytes(entry.kind);
      if (sealedBytes === 0) continue;
      if (
        !segment.key.open(
          (offset + at) / slotBytes,
          entry.block,
          sealedBytes - tagBytes,
          this.#region,
          start + at,
          this.#plain,
          0,
        )
      )
        return undefined;
      at += sealedBytes;
    }
    return record;
  }

  /** Opens the record header that lies at `at` in the region and at `offset` in the segment. */
  #openRecordHeader(segment: FoundSegment, offset: number, at: number): RecordHeader | undefined {
    if (!isRecordMagic(this.#view, at)) return undefined;
    const sealedAt = at + clearRecordBytes;
    const slot = (offset + clearRecordBytes) / slotBytes;
    if (!segment.key.open(slot, PieceBlock.record, sealedRecordBytes, this.#region, sealedAt, this.#plain, 0))
      return undefined;
    // A copy: the plain region is used again for the units.
    return decodeRecord(Uint8Array.from(this.#plain.bytes.subarray(0, sealedRecordBytes)));
  }

  #chainAfter(start: number): Uint8Array {
    const at = start + clearRecordBytes + sealedRecordBytes;
    return Uint8Array.from(this.#region.bytes.subarray(at, at + tagBytes));
  }

  /** Makes [offset, offset + length), or what the file has of it, lie in the region; returns where. */
  async #window(segment: FoundSegment, offset: number, length: number): Promise<number> {
    let end = Math.min(offset + length, segment.size);
    while (this.#windowSegment !== segment || offset < this.#windowStart || end > this.#windowEnd) {
      const bytes = Math.max(0, Math.min(windowBytesMax, segment.size - offset));
      this.#windowSegment = undefined;
      if (await this.#readUnlessCut(segment, offset, bytes)) {
        this.#windowSegment = segment;
        this.#windowStart = offset;
        this.#windowEnd = offset + bytes;
      }
      end = Math.max(offset, Math.min(offset + length, segment.size));
    }
    return offset - this.#windowStart;
  }

  /** False when the file has become shorter, which is noted; a file cut to nothing reads as its end. */
  async #readUnlessCut(segment: FoundSegment, offset: number, bytes: number): Promise<boolean> {
    try {
      if (bytes > 0) await segment.reader.read(offset, bytes, this.#region, 0);
      // From a store far away what comes next is on its way while this is looked at.
      segment.reader.prefetch?.(offset + bytes, prefetchBytes);
      return true;
    } catch (error) {
      if (!isCaissonError(error, 'format-invalid')) throw error;
      const size = await segment.sizeNow();
      if (size >= segment.size) throw error;
      segment.size = size;
      return false;
    }
  }

  /** Whether a whole segment ends here: what follows is its directory and footer, not a torn record. */
  async #isDirectoryEnd(segment: FoundSegment, offset: number): Promise<boolean> {
    const rest = segment.size - offset;
    if (rest < footerBytes || rest > recordBytesMax) return false;
    const sealed = rest - footerBytes - tagBytes;
    if (sealed <= 0) return false;
    const start = await this.#window(segment, offset, rest);
    if (segment.size - offset !== rest) return this.#isDirectoryEnd(segment, offset);
    return segment.key.open(
      offset / slotBytes,
      PieceBlock.directory,
      sealed,
      this.#region,
      start,
      new Region(sealed),
      0,
    );
  }

  /**
   * The walk has ended. If any later record states that more was durable, bytes on stable storage have
   * changed. Looks at every place where a record header may lie in the files not walked to their end.
   */
  async #refuseLostRecords(walked: readonly WalkedSegment[]): Promise<void> {
    const last = walked.at(-1);
    for (const segment of this.#options.found) {
      const known = walked.find((entry) => entry.segment === segment);
      if (known?.whole === true) continue;
      // An earlier epoch's tail was given up on purpose; only what claims to follow this history counts.
      if (segment.header.firstSequence < (last?.segment.header.firstSequence ?? this.#options.start.sequence + 1))
        continue;
      if (last !== undefined && segment.header.epoch < last.segment.header.epoch) continue;
      await this.#scanForClaims(segment, known?.validBytes ?? headerBytes);
    }
  }

  async #scanForClaims(segment: FoundSegment, from: number): Promise<void> {
    const lost = this.#sequence + 1;
    for (let offset = from; offset + recordHeaderBytes <= segment.size; offset += slotBytes) {
      const at = await this.#window(segment, offset, recordHeaderBytes);
      if (offset + recordHeaderBytes > this.#windowEnd) return;
      const record = this.#openClaim(segment, offset, at);
      if (record !== undefined && record.durableThrough >= lost) throw this.#lostRecord(segment, lost, record.sequence);
    }
  }

  #openClaim(segment: FoundSegment, offset: number, at: number): RecordHeader | undefined {
    try {
      return this.#openRecordHeader(segment, offset, at);
    } catch (error) {
      if (isCaissonError(error, 'format-invalid')) return undefined;
      throw error;
    }
  }

  /** At the anchored record the chain must be the anchored one. */
  #checkAnchor(): void {
    const { anchor } = this.#options;
    if (anchor === undefined || anchor.sequence !== this.#sequence || equalBytes(anchor.chain, this.#chain)) return;
    throw new CaissonError('integrity', 'forked', `the store and the anchor disagree about record ${anchor.sequence}`, {
      remedy:
        'The store shows another history than the one this volume wrote. Restore the store that belongs to the anchor.',
      details: { sequence: anchor.sequence },
    });
  }

  #rolledBack(anchor: AnchorState): CaissonError {
    return new CaissonError(
      'integrity',
      'rolled-back',
      `rolled back: the store ends at record ${this.#sequence}, the anchor has record ${anchor.sequence}`,
      {
        remedy: 'Put the newest state of the store back. Nothing was changed.',
        details: { storeSequence: this.#sequence, anchorSequence: anchor.sequence },
      },
    );
  }

  #lostRecord(segment: FoundSegment, lost: number, claim: number): CaissonError {
    return new CaissonError(
      'integrity',
      'record-tampered',
      `record ${lost} was on stable storage (record ${claim} of ${segment.name} says so) and is damaged or gone`,
      {
        remedy: 'The spool was changed from outside. Restore it from a copy; nothing was changed.',
        details: { object: segment.name, sequence: lost },
      },
    );
  }
}
