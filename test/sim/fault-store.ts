/**
 * A wrapper that makes any store fail as told: before a call has an effect, or after it had it (the
 * answer is lost). Reads, spool files and readers included. For tests.
 *
 * Invariant: with no fault planned it changes nothing.
 */
import { CaissonError } from '../../src/lib/errors.ts';
import type { Clock } from '../../src/lib/clock.ts';
import type { Region } from '../../src/lib/region.ts';
import type {
  ObjectInfo,
  ObjectReader,
  SpoolArea,
  SpoolFile,
  Store,
  VersionedObject,
  WriterLock,
} from '../../src/store/store.ts';

/** Names of calls, as in `Store`; those of the spool and of readers carry a prefix. */
export type StoreCall =
  | 'get'
  | 'stat'
  | 'open'
  | 'create'
  | 'getVersioned'
  | 'swap'
  | 'version'
  | 'list'
  | 'remove'
  | 'lock'
  | 'spool.create'
  | 'spool.list'
  | 'spool.open'
  | 'spool.publish'
  | 'spool.remove'
  | 'file.write'
  | 'file.writeNow'
  | 'file.truncate'
  | 'file.sync'
  | 'reader.tryRead'
  | 'reader.read';

export class StoreFaults {
  /** How often each call was made. */
  readonly counts = new Map<StoreCall, number>();
  /** Every call waits so long first, on the given clock. */
  latencyMilliseconds = 0;
  readonly #planned: {
    readonly call: StoreCall;
    remaining: number;
    readonly isApplied: boolean;
    readonly error: CaissonError;
  }[] = [];

  /** The next `count` calls of this name fail without an effect. */
  failNext(call: StoreCall, count = 1, error: CaissonError = broken(call)): void {
    this.#planned.push({ call, remaining: count, isApplied: false, error });
  }

  /** The next `count` calls of this name have their effect and fail then. */
  loseNextAnswer(call: StoreCall, count = 1, error: CaissonError = broken(call)): void {
    this.#planned.push({ call, remaining: count, isApplied: true, error });
  }

  get plannedCount(): number {
    return this.#planned.reduce((sum, plan) => sum + plan.remaining, 0);
  }

  countOf(call: StoreCall): number {
    return this.counts.get(call) ?? 0;
  }

  run<T>(call: StoreCall, operation: () => T): T {
    const plan = this.#take(call);
    if (plan?.isApplied === false) throw plan.error;
    const result = operation();
    if (plan !== undefined) throw plan.error;
    return result;
  }

  async runLater<T>(call: StoreCall, clock: Clock, operation: () => Promise<T>): Promise<T> {
    const plan = this.#take(call);
    const { latencyMilliseconds } = this;
    if (latencyMilliseconds > 0) await new Promise<void>((resolve) => clock.after(latencyMilliseconds, resolve));
    if (plan?.isApplied === false) throw plan.error;
    const result = await operation();
    if (plan !== undefined) throw plan.error;
    return result;
  }

  #take(call: StoreCall): { readonly isApplied: boolean; readonly error: CaissonError } | undefined {
    this.counts.set(call, this.countOf(call) + 1);
    const plan = this.#planned.find((one) => one.call === call && one.remaining > 0);
    if (plan !== undefined) plan.remaining--;
    return plan;
  }
}

export class FaultStore implements Store {
  readonly faults: StoreFaults;
  readonly #inner: Store;
  readonly #clock: Clock;

  constructor(inner: Store, clock: Clock, faults: StoreFaults = new StoreFaults()) {
    this.#inner = inner;
    this.#clock = clock;
    this.faults = faults;
  }

  get isRemote(): boolean {
    return this.#inner.isRemote;
  }

  get url(): string {
    return this.#inner.url;
  }

  get(key: string, bytesMax: number): Promise<Uint8Array> {
    return this.#later('get', () => this.#inner.get(key, bytesMax));
  }

  stat(key: string): Promise<ObjectInfo> {
    return this.#later('stat', () => this.#inner.stat(key));
  }

  async open(key: string): Promise<ObjectReader> {
    return new FaultReader(await this.#later('open', () => this.#inner.open(key)), this.#clock, this.faults);
  }

  create(key: string, bytes: Uint8Array): Promise<void> {
    return this.#later('create', () => this.#inner.create(key, bytes));
  }

  getVersioned(key: string, bytesMax: number): Promise<VersionedObject> {
    return this.#later('getVersioned', () => this.#inner.getVersioned(key, bytesMax));
  }

  swap(key: string, expectedVersion: string | null, bytes: Uint8Array): Promise<string> {
    return this.#later('swap', () => this.#inner.swap(key, expectedVersion, bytes));
  }

  version(key: string): Promise<string> {
    return this.#later('version', () => this.#inner.version(key));
  }

  async *list(prefix: string): AsyncIterable<ObjectInfo> {
    await this.#later('list', () => Promise.resolve());
    yield* this.#inner.list(prefix);
  }

  remove(key: string): Promise<void> {
    return this.#later('remove', () => this.#inner.remove(key));
  }

  async spool(volumePrefix: string): Promise<SpoolArea> {
    return new FaultSpool(await this.#inner.spool(volumePrefix), this.#clock, this.faults);
  }

  lock(volumePrefix: string): Promise<WriterLock> {
    return this.#later('lock', () => this.#inner.lock(volumePrefix));
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  #later<T>(call: StoreCall, operation: () => Promise<T>): Promise<T> {
    return this.faults.runLater(call, this.#clock, operation);
  }
}

class FaultSpool implements SpoolArea {
  readonly #inner: SpoolArea;
  readonly #clock: Clock;
  readonly #faults: StoreFaults;

  constructor(inner: SpoolArea, clock: Clock, faults: StoreFaults) {
    this.#inner = inner;
    this.#clock = clock;
    this.#faults = faults;
  }

  async create(name: string): Promise<SpoolFile> {
    const file = await this.#faults.runLater('spool.create', this.#clock, () => this.#inner.create(name));
    return new FaultFile(file, this.#clock, this.#faults);
  }

  list(): Promise<ObjectInfo[]> {
    return this.#faults.runLater('spool.list', this.#clock, () => this.#inner.list());
  }

  async open(name: string): Promise<ObjectReader> {
    const reader = await this.#faults.runLater('spool.open', this.#clock, () => this.#inner.open(name));
    return new FaultReader(reader, this.#clock, this.#faults);
  }

  publish(name: string, key: string): Promise<void> {
    return this.#faults.runLater('spool.publish', this.#clock, () => this.#inner.publish(name, key));
  }

  remove(name: string): Promise<void> {
    return this.#faults.runLater('spool.remove', this.#clock, () => this.#inner.remove(name));
  }
}

class FaultFile implements SpoolFile {
  readonly reader: ObjectReader;
  readonly #inner: SpoolFile;
  readonly #clock: Clock;
  readonly #faults: StoreFaults;

  constructor(inner: SpoolFile, clock: Clock, faults: StoreFaults) {
    this.#inner = inner;
    this.#clock = clock;
    this.#faults = faults;
    this.reader = new FaultReader(inner.reader, clock, faults);
  }

  write(position: number, source: Region, sourceOffset: number, length: number): Promise<void> {
    return this.#faults.runLater('file.write', this.#clock, () =>
      this.#inner.write(position, source, sourceOffset, length),
    );
  }

  writeNow(position: number, source: Region, sourceOffset: number, length: number): void {
    this.#faults.run('file.writeNow', () => this.#inner.writeNow(position, source, sourceOffset, length));
  }

  truncate(length: number): Promise<void> {
    return this.#faults.runLater('file.truncate', this.#clock, () => this.#inner.truncate(length));
  }

  sync(): Promise<void> {
    return this.#faults.runLater('file.sync', this.#clock, () => this.#inner.sync());
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

class FaultReader implements ObjectReader {
  readonly #inner: ObjectReader;
  readonly #clock: Clock;
  readonly #faults: StoreFaults;

  constructor(inner: ObjectReader, clock: Clock, faults: StoreFaults) {
    this.#inner = inner;
    this.#clock = clock;
    this.#faults = faults;
  }

  get size(): number {
    return this.#inner.size;
  }

  tryRead(offset: number, length: number, target: Region, targetOffset: number): boolean {
    return this.#faults.run('reader.tryRead', () => this.#inner.tryRead(offset, length, target, targetOffset));
  }

  read(offset: number, length: number, target: Region, targetOffset: number): Promise<void> {
    return this.#faults.runLater('reader.read', this.#clock, () =>
      this.#inner.read(offset, length, target, targetOffset),
    );
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

function broken(call: StoreCall): CaissonError {
  return new CaissonError('io', 'store-io', `${call} failed (simulated)`);
}
