/**
 * The spool of one volume in a block store: files that are written into units of the device in place, and become
 * objects by a record. Nothing is copied.
 *
 * Invariants:
 * - The size that the journal records for a file covers only bytes that a sync made durable before, so that
 *   no crash shows what its units held earlier.
 * - Only one SpoolFile writes a file, and none once it is published.
 */
import { assert } from '../../lib/assert.ts';
import { CaissonError } from '../../lib/errors.ts';
import { Region } from '../../lib/region.ts';
import { checkKey, checkSpoolName } from '../paths.ts';
import type { ObjectInfo, ObjectReader, SpoolArea, SpoolFile } from '../store.ts';
import { missing, SpoolName, Stored } from './block-index.ts';
import type { BlockMedium } from './block-medium.ts';
import { BlockReader } from './block-reader.ts';
import { countUnits } from './journal-format.ts';
import type { IndexRecord } from './journal-format.ts';
import { splitExtents } from './space.ts';

/** Units are taken for so much at a time. */
const growthBytes = 4 * 1024 * 1024;
/** What the kernel caches a device by. */
const pageBytes = 4096;
const zeroPage = new Region(pageBytes);

export class BlockSpool implements SpoolArea {
  readonly #medium: BlockMedium;
  readonly #volume: string;
  readonly #checkOpen: () => void;

  constructor(medium: BlockMedium, volume: string, checkOpen: () => void) {
    this.#medium = medium;
    this.#volume = volume;
    this.#checkOpen = checkOpen;
  }

  async create(name: string): Promise<SpoolFile> {
    this.#check(name);
    const { index } = this.#medium;
    if (index.getSpool(this.#volume, name) !== undefined) {
      throw new CaissonError('invalid', 'object-exists', `spool file ${name} already exists`, {
        details: { key: name },
      });
    }
    this.#medium.checkIndexRoom();
    const entry = new SpoolName(new Stored(0, []));
    this.#medium.pin(entry.stored);
    index.setSpool(this.#volume, name, entry);
    return new BlockSpoolFile(this.#medium, this.#volume, name, entry);
  }

  async list(): Promise<ObjectInfo[]> {
    this.#checkOpen();
    return this.#medium.index.spoolNames(this.#volume).map(([key, { stored }]) => ({ key, size: stored.size }));
  }

  async open(name: string): Promise<ObjectReader> {
    this.#check(name);
    return new BlockReader(this.#medium, `spool/${name}`, this.#entry(name).stored, true);
  }

  async publish(name: string, key: string): Promise<void> {
    checkKey(key);
    this.#check(name);
    await this.#medium.ordered(key, () => this.#publish(name, key));
  }

  async remove(name: string): Promise<void> {
    this.#check(name);
    const { index, journal } = this.#medium;
    const entry = index.getSpool(this.#volume, name);
    if (entry === undefined) return;
    index.deleteSpool(this.#volume, name);
    const group = {
      records: [{ kind: 'spool-removed', volume: this.#volume, name } as const],
      needsData: false,
      apply: () => this.#medium.unpin(entry.stored),
    };
    if (this.#medium.isShort) await journal.commit(group);
    else journal.note(group);
  }

  async #publish(name: string, key: string): Promise<void> {
    const { index, journal } = this.#medium;
    const entry = this.#entry(name);
    const { stored } = entry;
    const found = index.get(key);
    if (found === stored) return;
    if (found !== undefined) {
      if (found instanceof Stored && found.size === 0 && stored.size === 0) return;
      throw new CaissonError('invalid', 'object-exists', `object ${key} already exists`, { details: { key } });
    }
    entry.isPublished = true;
    const { size } = stored;
    const { kept, cut } = splitExtents(stored.extents, this.#medium.unitsOf(size));
    const needsData = entry.isDirty || (entry.recordedSize ?? 0) < size;
    entry.isDirty = false;
    await journal.commit({
      records: [
        { kind: 'object', key, size, extents: kept },
        { kind: 'spool', volume: this.#volume, name, size, extents: kept },
      ],
      needsData,
      apply: () => {
        stored.setExtents(kept);
        this.#medium.free(cut);
        this.#medium.pin(stored);
        index.set(key, stored);
        entry.recordedSize = size;
        entry.isChanged = false;
      },
    });
  }

  #entry(name: string): SpoolName {
    return this.#medium.index.getSpool(this.#volume, name) ?? fail(missing(`spool/${name}`));
  }

  #check(name: string): void {
    checkSpoolName(name);
    this.#checkOpen();
  }
}

class BlockSpoolFile implements SpoolFile {
  readonly reader: ObjectReader;
  readonly #medium: BlockMedium;
  readonly #volume: string;
  readonly #name: string;
  readonly #entry: SpoolName;
  readonly #stored: Stored;
  /** Where the writes in flight begin. */
  readonly #inFlight: number[] = [];
  /** The end of the last page that a write has touched. */
  #touchedEnd = 0;
  #isClosed = false;
  #whenIdle: (() => void) | undefined;

  constructor(medium: BlockMedium, volume: string, name: string, entry: SpoolName) {
    this.#medium = medium;
    this.#volume = volume;
    this.#name = name;
    this.#entry = entry;
    this.#stored = entry.stored;
    medium.pin(this.#stored);
    this.reader = new BlockReader(medium, `spool/${name}`, this.#stored, false);
  }

  async write(position: number, source: Region, sourceOffset: number, length: number): Promise<void> {
    this.#checkOpen();
    assert(!this.#entry.isPublished, 'what is published is not written any more');
    this.#inFlight.push(position);
    try {
      await this.#reserve(position + length);
      this.#beginPages(position, position + length);
      await this.#medium.write(this.#stored, position, source, sourceOffset, length);
      this.#wrote(position + length);
    } finally {
      this.#inFlight.splice(this.#inFlight.indexOf(position), 1);
      if (this.#inFlight.length === 0) this.#whenIdle?.();
    }
  }

  writeNow(position: number, source: Region, sourceOffset: number, length: number): void {
    this.#checkOpen();
    assert(!this.#entry.isPublished, 'what is published is not written any more');
    this.#reserveNow(position + length);
    this.#beginPages(position, position + length);
    for (const piece of this.#medium.pieces(this.#stored, position, length))
      this.#medium.file.writeNow(piece.position, piece.length, source, sourceOffset + piece.offset);
    this.#wrote(position + length);
  }

  async truncate(length: number): Promise<void> {
    this.#checkOpen();
    if (length >= this.#stored.size) return;
    this.#stored.size = length;
    this.#entry.isChanged = true;
  }

  async sync(): Promise<void> {
    this.#checkOpen();
    const entry = this.#entry;
    const { journal, index } = this.#medium;
    const size = this.#settledSize();
    const isNamed = index.getSpool(this.#volume, this.#name) === entry;
    const records: IndexRecord[] = [];
    if (isNamed && !entry.isPublished && (entry.isChanged || size !== entry.recordedSize)) {
      const { extents } = this.#stored;
      records.push({ kind: 'spool', volume: this.#volume, name: this.#name, size, extents });
    }
    const needsData = records.length > 0 && size > (entry.recordedSize ?? 0);
    if (this.#inFlight.length === 0) entry.isDirty = false;
    if (records.length > 0) entry.isChanged = false;
    const apply = (): void => {
      if (records.length > 0) entry.recordedSize = size;
    };
    try {
      await journal.commit({ records, needsData, apply });
    } catch (error) {
      entry.isChanged = true;
      entry.isDirty = true;
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#inFlight.length > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    await this.reader.close();
    this.#medium.unpin(this.#stored);
  }

  /** What every completed write covers: a write in flight may still leave a gap. */
  #settledSize(): number {
    const { size } = this.#stored;
    const first = Math.min(size, ...this.#inFlight);
    return Math.max(first, Math.min(size, this.#entry.recordedSize ?? 0));
  }

  /**
   * Writes the pages whole, as zeroes, that this write is the first to touch and touches in part: the kernel would
   * read them from the device first, which costs a wait for each, for bytes that nobody wants.
   */
  #beginPages(position: number, end: number): void {
    if (position === end) return;
    const first = position - (position % pageBytes);
    const last = end - (end % pageBytes);
    if (first < position && first >= this.#touchedEnd) this.#writeZeroPage(first);
    const isLastBegun = first === last && first < position;
    if (last < end && last >= this.#touchedEnd && !isLastBegun) this.#writeZeroPage(last);
    this.#touchedEnd = Math.max(this.#touchedEnd, Math.ceil(end / pageBytes) * pageBytes);
  }

  #writeZeroPage(position: number): void {
    const [piece] = this.#medium.pieces(this.#stored, position, pageBytes);
    this.#medium.file.writeNow(piece!.position, pageBytes, zeroPage, 0);
  }

  async #reserve(end: number): Promise<void> {
    try {
      this.#reserveNow(end);
    } catch (error) {
      // Units of removed files may be free in a moment.
      if (!(error instanceof CaissonError) || error.code !== 'store-full') throw error;
      await this.#medium.settle();
      this.#reserveNow(end);
    }
  }

  #reserveNow(end: number): void {
    const have = countUnits(this.#stored.extents) * this.#medium.geometry.unitBytes;
    if (end <= have) return;
    const step = Math.min(growthBytes, Math.floor(this.#medium.geometry.deviceBytes / 64));
    this.#medium.growNow(this.#stored, end - have, Math.max(end - have, step));
    this.#entry.isChanged = true;
  }

  #wrote(end: number): void {
    this.#entry.isDirty = true;
    this.#stored.size = Math.max(this.#stored.size, end);
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new CaissonError('closed', 'store-closed', `spool file ${this.#name} was closed`);
  }
}

function fail(error: CaissonError): never {
  throw error;
}
