/**
 * BlockMedium: an open device with its index, shared by all stores that this process opened on it, and what
 * they do to it in common: handing out units, taking them back, trimming them, keeping order by key.
 *
 * Invariants:
 * - Units are given back once the record that frees them is durable and nobody has them open, and trimmed
 *   only while they belong to nobody.
 * - Changes of one key happen one after the other.
 */
import type { Clock } from '../../lib/clock.ts';
import { CaissonError } from '../../lib/errors.ts';
import { assert } from '../../lib/assert.ts';
import type { Region } from '../../lib/region.ts';
import type { FileHandle } from '../file-system.ts';
import type { BlockIndex, Stored } from './block-index.ts';
import { indexFull } from './block-journal.ts';
import type { BlockJournal } from './block-journal.ts';
import type { OpenedDevice } from './block-opening.ts';
import { countUnits } from './journal-format.ts';
import type { Extents } from './journal-format.ts';
import { appendExtent } from './space.ts';
import type { Space } from './space.ts';
import { dataOffset } from './superblock-format.ts';
import type { Geometry } from './superblock-format.ts';

/** Freed bytes that are worth a trim, and how much of them one call takes. */
const trimBytesMin = 32 * 1024 * 1024;
const trimPieceBytesMax = 32 * 1024 * 1024;
/** What spool files leave for manifests and maps, so that a full device can be cleaned. */
const spareBytesMax = 16 * 1024 * 1024;
/** A record with one extent takes less; the index is refused more objects before its area overflows. */
const recordBytesUsual = 160;
/** Below this share of free units a removal waits until its units are free. */
const shortShare = 1 / 8;

/** One piece of a range: where on the device, where in the caller's buffer, how much. */
export interface Piece {
  readonly position: number;
  readonly offset: number;
  readonly length: number;
}

export class BlockMedium {
  readonly file: FileHandle;
  readonly geometry: Geometry;
  readonly index: BlockIndex;
  readonly journal: BlockJournal;
  readonly clock: Clock;
  /** Volumes that a store of this process has locked. */
  readonly lockedVolumes = new Set<string>();
  readonly #space: Space;
  readonly #dataOffset: number;
  readonly #spareUnits: number;
  /** The last change of each key. */
  readonly #changes = new Map<string, Promise<unknown>>();
  #freed: number[] = [];
  #freedUnits = 0;
  #trimming: Promise<void> | undefined;
  #trims = true;

  constructor(file: FileHandle, geometry: Geometry, clock: Clock, { index, space, journal }: OpenedDevice) {
    this.file = file;
    this.geometry = geometry;
    this.clock = clock;
    this.index = index;
    this.journal = journal;
    this.#space = space;
    this.#dataOffset = dataOffset(geometry);
    this.#spareUnits = Math.floor(Math.min(spareBytesMax / geometry.unitBytes, space.unitCount / 32));
  }

  get freeBytes(): number {
    return this.#space.freeUnits * this.geometry.unitBytes;
  }

  /** Space is short: whoever removes something waits for it to be free. */
  get isShort(): boolean {
    return this.#space.freeUnits < this.#space.unitCount * shortShare;
  }

  unitsOf(bytes: number): number {
    return Math.ceil(bytes / this.geometry.unitBytes);
  }

  /** Runs `change` after the changes of this key that were asked for before. */
  async ordered<T>(key: string, change: () => Promise<T>): Promise<T> {
    const previous = this.#changes.get(key);
    const ours = (previous ?? Promise.resolve()).catch(() => undefined).then(change);
    this.#changes.set(key, ours);
    try {
      return await ours;
    } finally {
      if (this.#changes.get(key) === ours) this.#changes.delete(key);
    }
  }

  /** Units for an object; waits for those that are on their way to be free. */
  async allocate(bytes: number): Promise<number[]> {
    this.checkIndexRoom();
    const count = this.unitsOf(bytes);
    if (count === 0) return [];
    const extents = this.#space.allocate(count);
    if (extents !== undefined) return extents;
    await this.settle();
    return this.#space.allocate(count) ?? fail(this.#full(bytes));
  }

  /** Units for a spool file, behind those that it has; at least `bytes`, more where there is plenty. `store-full`. */
  growNow(stored: Stored, bytes: number, wantedBytes: number): void {
    const { extents } = stored;
    const after = extents.length === 0 ? -1 : extents[extents.length - 2]! + extents[extents.length - 1]!;
    const room = this.#space.freeUnits - this.#spareUnits;
    const counts = [this.unitsOf(wantedBytes), this.unitsOf(bytes)].filter((count) => count <= room);
    const count = counts[0];
    const more = count === undefined ? undefined : this.#space.allocate(count, after);
    if (more === undefined) throw this.#full(bytes);
    const all = [...extents];
    for (let index = 0; index < more.length; index += 2) appendExtent(all, more[index]!, more[index + 1]!);
    stored.setExtents(all);
  }

  /** Everything noted is durable, and nothing is being trimmed: what can be free is. */
  async settle(): Promise<void> {
    await this.journal.flush();
    await this.#trimming;
  }

  checkIndexRoom(): void {
    if (this.index.objectCount * recordBytesUsual + 65_536 > this.geometry.checkpointBytes) throw indexFull();
  }

  pin(stored: Stored): void {
    stored.pins++;
  }

  unpin(stored: Stored): void {
    assert(stored.pins > 0, 'a pin is taken off once');
    stored.pins--;
    if (stored.pins === 0) this.free(stored.extents);
  }

  free(extents: Extents): void {
    for (let index = 0; index < extents.length; index += 2) {
      this.#space.free(extents[index]!, extents[index + 1]!);
      this.#freed.push(extents[index]!, extents[index + 1]!);
    }
    this.#freedUnits += countUnits(extents);
    const worth = Math.min(trimBytesMin, this.geometry.deviceBytes / 16);
    if (this.#freedUnits * this.geometry.unitBytes >= worth) this.#trim();
  }

  /** Where `length` bytes at `offset` of an object lie. The caller has checked the range. */
  pieces(stored: Stored, offset: number, length: number): Piece[] {
    const { unitBytes } = this.geometry;
    const { extents } = stored;
    const pieces: Piece[] = [];
    let start = 0; // of the extent within the object
    for (let index = 0, done = 0; index < extents.length && done < length; index += 2) {
      const bytes = extents[index + 1]! * unitBytes;
      const at = offset + done - start;
      if (at < bytes) {
        const here = Math.min(bytes - at, length - done);
        pieces.push({ position: this.#dataOffset + extents[index]! * unitBytes + at, offset: done, length: here });
        done += here;
      }
      start += bytes;
    }
    return pieces;
  }

  async write(stored: Stored, position: number, source: Region, sourceOffset: number, length: number): Promise<void> {
    const pieces = this.pieces(stored, position, length);
    await Promise.all(
      pieces.map((piece) => this.file.write(piece.position, piece.length, source, sourceOffset + piece.offset)),
    );
  }

  /** Ends the last trim and closes nothing: that is up to who opened the file. */
  async finish(): Promise<void> {
    await Promise.allSettled(this.#changes.values());
    await this.journal.flush();
    this.#trim();
    await this.#trimming;
  }

  #trim(): void {
    if (!this.#trims || this.#trimming !== undefined || this.#freed.length === 0) return;
    const freed = this.#freed;
    this.#freed = [];
    this.#freedUnits = 0;
    this.#trimming = this.#trimAll(freed).finally(() => (this.#trimming = undefined));
  }

  async #trimAll(freed: readonly number[]): Promise<void> {
    const pieceUnits = Math.max(1, Math.floor(trimPieceBytesMax / this.geometry.unitBytes));
    for (let index = 0; index < freed.length && this.#trims; index += 2) {
      const end = freed[index]! + freed[index + 1]!;
      for (let unit = freed[index]!; unit < end && this.#trims; unit += pieceUnits)
        await this.#trimPiece(this.#space.claimFree(unit, Math.min(pieceUnits, end - unit)));
    }
  }

  /** A trim that fails is no loss: the units are free all the same. */
  async #trimPiece(extents: readonly number[]): Promise<void> {
    const { unitBytes } = this.geometry;
    try {
      for (let index = 0; index < extents.length && this.#trims; index += 2) {
        const position = this.#dataOffset + extents[index]! * unitBytes;
        this.#trims = await this.file.discard(position, extents[index + 1]! * unitBytes);
      }
    } catch {
      this.#trims = false;
    }
    for (let index = 0; index < extents.length; index += 2) this.#space.free(extents[index]!, extents[index + 1]!);
  }

  #full(bytes: number): CaissonError {
    return new CaissonError('full', 'store-full', `no room for ${bytes} bytes: ${this.freeBytes} are free`, {
      remedy: 'Remove volumes or snapshots, or move a volume to another store; nothing that was acknowledged is lost.',
      details: { wantedBytes: bytes, freeBytes: this.freeBytes, deviceBytes: this.geometry.deviceBytes },
    });
  }
}

function fail(error: CaissonError): never {
  throw error;
}
