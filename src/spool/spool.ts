/**
 * Spool: the files that hold what is written but not yet published, and the group commit that makes
 * them durable. It moves bytes and knows no formats.
 *
 * Invariants:
 * - A range is written once; nothing already handed over changes.
 * - `commit` covers every range handed over before it was called. One round of syncs runs at a time;
 *   commits that arrive meanwhile share the next round, because the running one may have missed them.
 * - Of one file one sync runs at a time.
 * - The first failed write or sync latches: every commit from then on fails with it, and memory that
 *   did not reach a file stays with its owner, so that reads go on being right.
 */
import { CaissonError } from '../lib/errors.ts';
import type { Region } from '../lib/region.ts';
import type { SpoolArea, SpoolFile } from '../store/store.ts';

/** Writes of at most this many bytes are done at once: cheaper than a trip through the thread pool. */
const writeNowBytesMax = 65_536;

/** One file of the spool. */
export class SpoolEntry {
  readonly name: string;
  readonly opened: Promise<SpoolFile>;
  file: SpoolFile | undefined;
  /** Bytes are in the file that no completed sync covers. */
  dirty = false;
  /** Serial numbers of the writes that are not in the file yet, oldest first. */
  readonly inFlight: number[] = [];
  /** The sync that runs. One at a time: of two the system would tell only one that writing failed. */
  syncing: Promise<void> | undefined;

  /** Settles with the write handed over last. */
  last: Promise<SpoolFile>;

  constructor(name: string, opened: Promise<SpoolFile>) {
    this.name = name;
    this.opened = opened;
    this.last = opened;
  }
}

export class Spool {
  readonly #area: Pick<SpoolArea, 'create'>;
  readonly #entries = new Set<SpoolEntry>();
  #failure: CaissonError | undefined;
  #bufferedBytes = 0;
  #serial = 0;
  #idle: (() => void)[] = [];
  #running = false;
  #waiting: { readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = [];
  syncCount = 0;

  constructor(area: Pick<SpoolArea, 'create'>) {
    this.#area = area;
  }

  get failure(): CaissonError | undefined {
    return this.#failure;
  }

  /** Bytes handed over that are not in a file yet. */
  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  /** Starts a new file; ranges may be handed over at once. */
  begin(name: string): SpoolEntry {
    const entry = new SpoolEntry(name, this.#area.create(name));
    entry.dirty = true;
    this.#entries.add(entry);
    entry.opened.then(
      (file) => {
        entry.file = file;
      },
      (error: unknown) => this.#latch(error),
    );
    return entry;
  }

  /** Writes a range; `done` is called once it is in the file, never after a failure. */
  write(
    entry: SpoolEntry,
    position: number,
    source: Region,
    sourceOffset: number,
    length: number,
    done: () => void,
  ): void {
    if (this.#failure !== undefined) return;
    entry.dirty = true;
    const file = entry.file;
    if (file !== undefined && length <= writeNowBytesMax && entry.inFlight.length === 0) {
      try {
        file.writeNow(position, source, sourceOffset, length);
      } catch (error) {
        this.#latch(error);
        return;
      }
      done();
      return;
    }
    const serial = ++this.#serial;
    entry.inFlight.push(serial);
    this.#bufferedBytes += length;
    // One after the other: the kernel lets one writer at a time into a file, and the rest would spin.
    const written = entry.last.then((opened) =>
      opened.write(position, source, sourceOffset, length).then(() => opened),
    );
    entry.last = written;
    written.then(
      () => {
        entry.inFlight.splice(entry.inFlight.indexOf(serial), 1);
        this.#bufferedBytes -= length;
        if (this.#failure === undefined) done();
        this.#wake();
      },
      (error: unknown) => this.#latch(error),
    );
  }

  /**
   * Writes zeroes ahead of the data at once, so that a later sync of the same range need not also write
   * where the file's blocks lie. False when the file system would not have them: nothing is lost.
   */
  writeZeroesAhead(entry: SpoolEntry, position: number, zeroes: Region, length: number): boolean {
    if (this.#failure !== undefined || entry.file === undefined) return false;
    try {
      entry.file.writeNow(position, zeroes, 0, length);
      return true;
    } catch {
      return false;
    }
  }

  /** Cuts off what was written ahead, after every write handed over; covered by the next commit. */
  truncate(entry: SpoolEntry, length: number): void {
    if (this.#failure !== undefined) return;
    const serial = ++this.#serial;
    const earlier = [...entry.inFlight];
    entry.inFlight.push(serial);
    entry.dirty = true;
    const cut = async (): Promise<void> => {
      const file = entry.file ?? (await entry.opened);
      while (this.#failure === undefined && earlier.some((other) => entry.inFlight.includes(other)))
        await new Promise<void>((resolve) => this.#idle.push(resolve));
      if (this.#failure === undefined) await file.truncate(length);
    };
    cut().then(
      () => {
        entry.inFlight.splice(entry.inFlight.indexOf(serial), 1);
        this.#wake();
      },
      (error: unknown) => this.#latch(error),
    );
  }

  /** Resolves when everything handed over before the call is on stable storage. */
  commit(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      if (!this.#running) void this.#rounds();
    });
  }

  /**
   * Makes one file durable, to which nothing will be added, before anybody asks for it. Resolves at once when the file
   * is no longer watched: then it was published, which a commit came before.
   */
  async syncFinished(entry: SpoolEntry): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (!this.#entries.has(entry)) return;
    await this.#syncEntry(entry);
  }

  /** Resolves when everything handed over for this file before the call is in it, synced or not. */
  async written(entry: SpoolEntry): Promise<void> {
    const last = this.#serial;
    if (entry.file === undefined) await entry.opened;
    while (entry.inFlight.length > 0 && entry.inFlight[0]! <= last && this.#failure === undefined)
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Resolves when less than `bytesMax` wait for a file, or after a failure. */
  async drained(bytesMax: number): Promise<void> {
    while (this.#bufferedBytes >= bytesMax && this.#failure === undefined) {
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    }
  }

  /** Latches from outside: the fence or the anchor failed. */
  fail(error: unknown): void {
    this.#latch(error);
  }

  /** Stops tracking a file whose content is published; its reader stays usable. */
  forget(entry: SpoolEntry): void {
    this.#entries.delete(entry);
  }

  async #rounds(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#syncDirty();
        for (const waiter of batch) waiter.resolve();
      } catch (error) {
        this.#latch(error);
        for (const waiter of batch) waiter.reject(this.#failure);
      }
    }
    this.#running = false;
  }

  async #syncDirty(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const syncs: Promise<void>[] = [];
    for (const entry of this.#entries)
      if (entry.dirty || entry.syncing !== undefined) syncs.push(this.#syncEntry(entry));
    if (syncs.length === 1) await syncs[0];
    else await Promise.all(syncs);
  }

  /** Everything handed over for this file before the call is durable afterwards. */
  async #syncEntry(entry: SpoolEntry): Promise<void> {
    while (entry.syncing !== undefined) await entry.syncing;
    // The sync that ran began after the last write.
    if (!entry.dirty) return;
    const syncing = this.#syncNow(entry);
    entry.syncing = syncing;
    try {
      await syncing;
    } catch (error) {
      // In one turn with what follows: a commit that found neither a sync nor a failure would succeed.
      throw this.#latch(error);
    } finally {
      entry.syncing = undefined;
    }
  }

  async #syncNow(entry: SpoolEntry): Promise<void> {
    const last = this.#serial;
    // Cleared before anything is waited for: a write that arrives meanwhile needs another sync.
    entry.dirty = false;
    const file = entry.file ?? (await entry.opened);
    // Only the writes handed over before this round: later ones would hold it back forever.
    while (entry.inFlight.length > 0 && entry.inFlight[0]! <= last) {
      await new Promise<void>((resolve) => this.#idle.push(resolve));
      if (this.#failure !== undefined) throw this.#failure;
    }
    await file.sync();
    this.syncCount++;
    if (this.#failure !== undefined) throw this.#failure;
  }

  #wake(): void {
    const idle = this.#idle;
    if (idle.length === 0) return;
    this.#idle = [];
    for (const resume of idle) resume();
  }

  /** Returns the failure that counts, which is the first. */
  #latch(error: unknown): CaissonError {
    this.#failure ??=
      error instanceof CaissonError ? error : new CaissonError('io', 'store-io', 'the spool failed', { cause: error });
    this.#wake();
    return this.#failure;
  }
}
