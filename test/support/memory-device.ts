/**
 * A BlockDevice in memory, for tests of exports: real bytes, holes per 4 KiB block, and on demand
 * late answers in a seeded order, faults, back-pressure and calls that never end.
 */
import { CaissonError } from '../../src/lib/errors.ts';
import type { Region } from '../../src/lib/region.ts';
import type { BlockDevice, BlockWrite, Completion, Extent } from '../../src/export/block-device.ts';
import { seededBytes, type SeededBytes } from '../fuzz/seeded.ts';

const blockSize = 4096;

export interface MemoryDeviceOptions {
  readonly readOnly?: boolean;
  /** With a seed, calls complete later, in an order that the seed decides. */
  readonly asyncSeed?: number;
}

export type Operation = 'read' | 'write' | 'zero' | 'trim' | 'flush' | 'extents' | 'resize';

export class MemoryDevice implements BlockDevice {
  readonly blockSize = blockSize;
  readonly readOnly: boolean;
  /** What was called, newest last; tests look at it. */
  readonly calls: string[] = [];
  /** Off for measurements. */
  recordsCalls = true;
  openWrites = 0;
  abortedWrites = 0;
  flushes = 0;
  /** Thrown by the next calls of the operation, in order; with `late` rejected instead. */
  readonly faults: { operation: Operation; error: Error; late?: boolean }[] = [];
  /** Calls of these operations wait until `release`. */
  readonly held = new Set<Operation>();
  relief: Promise<void> | undefined;
  #bytes: Uint8Array;
  #written: Uint8Array;
  #waiting: { readonly operation: Operation; readonly step: () => void }[] = [];
  #listeners = new Set<(size: number) => void>();
  #random: SeededBytes | undefined;
  #scheduled = false;

  constructor(size: number, options: MemoryDeviceOptions = {}) {
    this.readOnly = options.readOnly ?? false;
    this.#bytes = new Uint8Array(size);
    this.#written = new Uint8Array(Math.ceil(size / blockSize));
    this.#random = options.asyncSeed === undefined ? undefined : seededBytes(options.asyncSeed);
  }

  get size(): number {
    return this.#bytes.length;
  }

  /** The whole content, for comparison. */
  get content(): Uint8Array {
    return this.#bytes;
  }

  read(offset: number, length: number, target: Region, targetOffset: number): Completion {
    this.#note('read', offset, length);
    this.#checkRange(offset, length);
    return this.#run('read', () => target.bytes.set(this.#bytes.subarray(offset, offset + length), targetOffset));
  }

  write(offset: number, length: number, source: Region, sourceOffset: number, fua: boolean): Completion {
    this.#note(fua ? 'write fua' : 'write', offset, length);
    this.#checkWritable(offset, length);
    this.#takeFault('write', false);
    // The source may be reused at once, so its bytes are taken now even when the answer comes later.
    if (!this.#isLate('write')) {
      this.#put(offset, source.bytes.subarray(sourceOffset, sourceOffset + length));
      return undefined;
    }
    const copy = new Uint8Array(source.bytes.subarray(sourceOffset, sourceOffset + length));
    return this.#run('write', () => this.#put(offset, copy));
  }

  beginWrite(offset: number, length: number): BlockWrite {
    this.#note('begin write', offset, length);
    this.#checkWritable(offset, length);
    this.#takeFault('write', false);
    this.openWrites += 1;
    let at = offset;
    let open = true;
    const finish = (): void => {
      if (!open) throw new CaissonError('bug', 'assertion-failed', 'a write ended twice');
      open = false;
      this.openWrites -= 1;
    };
    return {
      push: (source, sourceOffset, pushed) => {
        if (!open || at + pushed > offset + length)
          throw new CaissonError('bug', 'assertion-failed', 'a write got more than it asked for');
        this.#put(at, source.bytes.subarray(sourceOffset, sourceOffset + pushed));
        at += pushed;
      },
      finish: (fua) => {
        finish();
        if (at !== offset + length)
          throw new CaissonError('bug', 'assertion-failed', 'a write got less than it asked for');
        this.#note(fua ? 'finish write fua' : 'finish write', offset, length);
        return this.#run('write', () => {});
      },
      abort: () => {
        finish();
        this.abortedWrites += 1;
      },
    };
  }

  zero(offset: number, length: number, mayPunch: boolean, fua: boolean): Completion {
    this.#note(`zero${mayPunch ? ' punch' : ''}${fua ? ' fua' : ''}`, offset, length);
    this.#checkWritable(offset, length);
    return this.#run('zero', () => {
      this.#put(offset, new Uint8Array(length));
      if (mayPunch) this.#punch(offset, length);
    });
  }

  trim(offset: number, length: number, fua: boolean): Completion {
    this.#note(fua ? 'trim fua' : 'trim', offset, length);
    this.#checkWritable(offset, length);
    return this.#run('trim', () => this.#punch(offset, length));
  }

  async flush(): Promise<void> {
    this.#note('flush', 0, 0);
    this.flushes += 1;
    await this.#run('flush', () => {});
  }

  extents(offset: number, length: number, countMax: number): Extent[] | Promise<Extent[]> {
    this.#note('extents', offset, length);
    this.#checkRange(offset, length);
    const found: Extent[] = [];
    const done = this.#run('extents', () => {
      let at = offset;
      while (at < offset + length && found.length < countMax) {
        const hole = this.#written[Math.floor(at / blockSize)] === 0;
        let end = at;
        while (end < offset + length && (this.#written[Math.floor(end / blockSize)] === 0) === hole) {
          end = (Math.floor(end / blockSize) + 1) * blockSize;
        }
        found.push({ length: Math.min(end, offset + length) - at, hole, zero: hole });
        at = end;
      }
    });
    return done === undefined ? found : done.then(() => found);
  }

  async resize(size: number): Promise<void> {
    this.#note('resize', size, 0);
    if (size <= 0 || size % 512 !== 0) throw new CaissonError('invalid', 'size-invalid', `size ${size}`);
    await this.#run('resize', () => {
      const bytes = new Uint8Array(size);
      bytes.set(this.#bytes.subarray(0, size));
      const written = new Uint8Array(Math.ceil(size / blockSize));
      written.set(this.#written.subarray(0, written.length));
      this.#bytes = bytes;
      this.#written = written;
    });
    for (const listener of this.#listeners) listener(size);
  }

  pressure(): Promise<void> | undefined {
    return this.relief;
  }

  onResize(listener: (size: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Lets the held calls of `operation`, and all later ones, go on. */
  release(operation: Operation): void {
    this.held.delete(operation);
    this.#schedule();
  }

  #note(operation: string, offset: number, length: number): void {
    if (this.recordsCalls) this.calls.push(`${operation} ${offset} ${length}`);
  }

  #put(offset: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, offset);
    if (bytes.length > 0)
      this.#written.fill(1, Math.floor(offset / blockSize), Math.ceil((offset + bytes.length) / blockSize));
  }

  #punch(offset: number, length: number): void {
    const first = Math.ceil(offset / blockSize);
    const last = offset + length === this.size ? this.#written.length : Math.floor((offset + length) / blockSize);
    if (last <= first) return;
    this.#bytes.fill(0, first * blockSize, last * blockSize);
    this.#written.fill(0, first, last);
  }

  #checkWritable(offset: number, length: number): void {
    if (this.readOnly) throw new CaissonError('denied', 'volume-read-only', 'the device is read-only');
    this.#checkRange(offset, length);
  }

  #checkRange(offset: number, length: number): void {
    if (offset < 0 || length < 0 || offset + length > this.size) {
      throw new CaissonError('invalid', 'range-outside', `${offset}+${length} is outside ${this.size}`);
    }
  }

  #isLate(operation: Operation): boolean {
    return this.#random !== undefined || this.held.has(operation) || this.faults[0]?.operation === operation;
  }

  #takeFault(operation: Operation, late: boolean): void {
    const next = this.faults[0];
    if (next?.operation !== operation || (next.late ?? false) !== late) return;
    this.faults.shift();
    throw next.error;
  }

  #run(operation: Operation, work: () => void): Completion {
    if (this.#random === undefined && this.held.size === 0 && this.faults.length === 0) return work();
    this.#takeFault(operation, false);
    if (!this.#isLate(operation)) return work();
    return new Promise((resolve, reject) => {
      const step = (): void => {
        try {
          this.#takeFault(operation, true);
          work();
          resolve();
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      };
      this.#waiting.push({ operation, step });
      this.#schedule();
    });
  }

  /** One waiting call a turn, picked by the seed among those that are not held. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      const ready = this.#waiting.filter(({ operation }) => !this.held.has(operation));
      const picked = ready[this.#random?.below(Math.max(ready.length, 1)) ?? 0];
      if (picked === undefined) return;
      this.#waiting.splice(this.#waiting.indexOf(picked), 1);
      picked.step();
      this.#schedule();
    });
  }
}
