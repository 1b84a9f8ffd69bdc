/**
 * What a run does to an open volume: every operation of BlockDevice at every alignment, several in
 * flight, each read compared with the model at once. Everything is chosen by the seed.
 */
import { assert } from '../../src/lib/assert.ts';
import { CaissonError, isCaissonError } from '../../src/lib/errors.ts';
import { Region } from '../../src/lib/region.ts';
import type { Volume } from '../../src/volume/volume-types.ts';
import type { Branches } from './branches.ts';
import type { SeededRandom } from './random.ts';
import { modelBlockBytes, overlapMax, zeroBlock, type ModelChange, type ReferenceModel } from './reference-model.ts';
import type { SimulatedProcess, SimulatedWorld } from './simulated-world.ts';
import { nextTurn } from './simulation-clock.ts';
import { checkExtents, chooseRange, stamped, zeroes } from './workload-content.ts';

const block = modelBlockBytes;
/** What may fail when the disk does. Never: integrity, invalid, bug. */
const ordinaryKinds: ReadonlySet<string> = new Set(['io', 'full', 'closed', 'transient', 'fenced']);

export interface WorkloadOptions {
  readonly world: SimulatedWorld;
  readonly process: SimulatedProcess;
  readonly volume: Volume;
  readonly model: ReferenceModel;
  readonly spots: readonly number[];
  readonly branches: Branches;
  /** Operations in flight at most. */
  readonly depth: number;
}

export class Workload {
  readonly volume: Volume;
  readonly #world: SimulatedWorld;
  readonly #process: SimulatedProcess;
  readonly #model: ReferenceModel;
  readonly #random: SeededRandom;
  readonly #spots: readonly number[];
  readonly #depth: number;
  readonly #branches: Branches;
  readonly #tasks = new Set<Promise<void>>();
  /** A move to another store, beside everything else. */
  #moving: Promise<void> | undefined;
  #ambiguous: number[] = [];
  #broken: Error | undefined;
  #isOver = false;
  #hasFailed = false;
  /** Failures are expected: a fault is armed, or another writer takes over. */
  mayFail = false;
  /** Another writer has the volume or is about to: it may delete what this one still reads. */
  isTakenOver = false;
  /** Something durable happened that the anchor has seen. */
  anchoredCount = 0;
  stepCount = 0;

  constructor(options: WorkloadOptions) {
    this.#world = options.world;
    this.#process = options.process;
    this.volume = options.volume;
    this.#model = options.model;
    this.#spots = options.spots;
    this.#depth = options.depth;
    this.#branches = options.branches;
    this.#random = options.world.random.fork();
  }

  /** A fault came about: the volume is of no more use, or may be. */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  get isIdle(): boolean {
    return this.#tasks.size === 0 && this.#moving === undefined;
  }

  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps && !this.#hasFailed; step++) await this.step();
  }

  async step(): Promise<void> {
    this.stepCount++;
    // Asked again after each wait: what ends while we wait may leave the next ambiguous phase.
    do await this.#calm();
    while (this.#ambiguous.length > 0 && !this.#hasFailed);
    if (this.#hasFailed) return;
    const pick = this.#random.below(100);
    if (pick < 42) this.#write();
    else if (pick < 45) this.#clean();
    else if (pick < 46) await this.#rekey();
    else if (pick < 52) this.#zero();
    else if (pick < 58) this.#trim();
    else if (pick < 74) await this.#read();
    else if (pick < 86) this.flush();
    else if (pick < 89) await this.#checkpoint();
    else if (pick < 91) await this.#resize();
    else if (pick < 93) await this.#extents();
    else if (pick < 95) await this.#move();
    else if (pick < 96) await this.#changeKey();
    else if (pick < 98) await this.#branch();
    else if (pick < 99) this.#process.clock.sleep(this.#random.pick([50, 500, 5000]));
    else await nextTurn();
    await this.#obeyPressure();
  }

  /** Waits until nothing is in flight. */
  async drain(): Promise<void> {
    await this.#drainTasks();
    if (this.#moving !== undefined) await this.#world.settle(this.#moving, 'move');
    if (this.#broken !== undefined) throw this.#broken;
  }

  async #drainTasks(): Promise<void> {
    while (this.#tasks.size > 0) await this.#world.settle(Promise.race(this.#tasks), 'an operation in flight');
    await this.#resolve();
    if (this.#broken !== undefined) throw this.#broken;
  }

  /** The process is dead: whatever is still answered is of no account. */
  abandon(): void {
    this.#isOver = true;
    if (this.#broken !== undefined) throw this.#broken;
    this.#model.crash();
  }

  /** The volume has another writer; the model already went on with that one. */
  abandonFenced(): void {
    this.#isOver = true;
  }

  flush(): void {
    const mark = this.#model.flushStarts();
    const isLatched = this.volume.info().latched !== undefined;
    this.#task('flush', this.volume.flush(), () => {
      if (isLatched) throw new Error('FLUSH answered success on a latched volume');
      this.#model.flushed(mark);
      if (this.#world.plan.durability === 'anchored' && mark.phase > 0) this.anchoredCount++;
    });
  }

  async close(): Promise<void> {
    // A move that is under way is given up.
    await this.#drainTasks();
    const latched = this.volume.info().latched;
    try {
      await this.#world.settle(this.volume.close(), 'close');
      if (latched === undefined) this.#model.flushed(this.#model.flushStarts());
    } catch (error) {
      this.#failed(error, 'close');
    }
  }

  /** At most `depth` in flight, and nothing new before an ambiguous phase was looked at. */
  async #calm(): Promise<void> {
    const most = this.#ambiguous.length > 0 ? 1 : this.#depth;
    while (this.#tasks.size >= most) await this.#world.settle(Promise.race(this.#tasks), 'an operation in flight');
    await this.#resolve();
    if (this.#broken !== undefined) throw this.#broken;
  }

  async #resolve(): Promise<void> {
    if (this.#ambiguous.length === 0 || this.#isOver) return;
    const found = new Map<number, Uint8Array>();
    try {
      for (const at of this.#ambiguous) found.set(at, await this.#readBlock(at));
    } catch (error) {
      // Nobody can look any more: the crash will be judged with all that is possible.
      this.#failed(error, 'read after an ambiguous phase');
      this.#hasFailed = true;
      return;
    }
    this.#ambiguous = [];
    this.#model.resolve(found);
  }

  async #readBlock(at: number): Promise<Uint8Array> {
    const target = new Region(block);
    await this.#world.settle(Promise.resolve(this.volume.read(at * block, block, target, 0)), 'read');
    return target.bytes;
  }

  #write(): void {
    const { offset, length } = chooseRange(this.#random, this.volume.size, this.#spots);
    const content = stamped(this.stepCount + 1000 * this.#model.phase, offset, length);
    const change = this.#begin('write', offset, length, (at) => content.subarray(at - offset, at - offset + length));
    if (change === undefined) return;
    const fua = this.#random.oneIn(10);
    if (this.#random.oneIn(4)) {
      this.#change(change, fua, this.#writePieces(change, offset, content, fua));
      return;
    }
    const source = Region.from(content);
    this.#attempt(change, fua, () => this.volume.write(offset, length, source, 0, fua));
    source.bytes.fill(0xee); // the engine has what it needs, or will be caught
  }

  async #writePieces(change: ModelChange, offset: number, content: Uint8Array, fua: boolean): Promise<void> {
    const write = this.volume.beginWrite(offset, content.length);
    const pieceMax = this.#random.pick([700, 5000, 40_000, 300_000]);
    for (let at = 0; at < content.length;) {
      const length = Math.min(content.length - at, this.#random.between(1, pieceMax));
      const source = Region.from(content.subarray(at, at + length));
      write.push(source, 0, length);
      source.bytes.fill(0xdd);
      at += length;
      if (this.#random.oneIn(4)) await nextTurn();
      if (this.#random.oneIn(60)) {
        write.abort();
        throw new Aborted();
      }
    }
    await write.finish(fua);
    assert(change.state === 'flying', 'a write is answered once');
  }

  #zero(): void {
    const { offset, length } = chooseRange(this.#random, this.volume.size, this.#spots);
    const change = this.#begin('zero', offset, length, (_, count) => zeroes(count));
    const fua = this.#random.oneIn(10);
    const mayPunch = this.#random.oneIn(2);
    if (change !== undefined) this.#attempt(change, fua, () => this.volume.zero(offset, length, mayPunch, fua));
  }

  #trim(): void {
    const size = this.volume.size;
    const isHuge = this.#random.oneIn(6);
    const from = isHuge ? this.#random.below(size / block) * block : 0;
    const { offset, length } = isHuge
      ? { offset: from, length: size - from }
      : chooseRange(this.#random, this.volume.size, this.#spots);
    const first = Math.ceil(offset / block);
    const end = Math.floor((offset + length) / block);
    const blocks = this.#model.knownBetween(first, end - 1);
    if (this.#model.overlapOf(blocks) >= overlapMax) return;
    const change = this.#model.begin(
      `trim ${offset}+${length}`,
      blocks,
      () => zeroBlock,
      (at) => at >= first && at < end,
    );
    const fua = this.#random.oneIn(10);
    this.#attempt(change, fua, () => this.volume.trim(offset, length, fua));
  }

  async #read(): Promise<void> {
    const { offset, length } = chooseRange(this.#random, this.volume.size, this.#spots);
    const first = Math.floor(offset / block);
    const last = Math.floor((offset + length - 1) / block);
    const possible: Uint8Array[][] = [];
    for (let at = first; at <= last; at++) possible.push(this.#model.readable(at));
    const target = new Region(length + 64);
    target.bytes.fill(0xaa);
    try {
      await this.#world.settle(Promise.resolve(this.volume.read(offset, length, target, 32)), 'read');
    } catch (error) {
      return this.#failed(error, 'read');
    }
    for (let at = first; at <= last; at++) {
      const from = Math.max(offset, at * block);
      const to = Math.min(offset + length, (at + 1) * block);
      const found = target.bytes.subarray(32 + from - offset, 32 + to - offset);
      const fits = possible[at - first]!.some(
        (content) => Buffer.compare(content.subarray(from - at * block, to - at * block), found) === 0,
      );
      if (!fits)
        throw new Error(`a read of ${offset}+${length} shows something in block ${at} that was never written there`);
    }
    if (target.bytes[31] !== 0xaa || target.bytes[32 + length] !== 0xaa)
      throw new Error('a read wrote outside its part of the target');
  }

  async #checkpoint(): Promise<void> {
    const mark = this.#model.flushStarts();
    this.#task('checkpoint', this.volume.checkpoint(), () => {
      this.#model.flushed(mark);
      this.anchoredCount++;
    });
    if (this.#random.oneIn(2)) await this.drain();
  }

  async #resize(): Promise<void> {
    await this.drain();
    if (this.#hasFailed) return;
    const blocks = this.volume.size / block;
    const change = this.#random.pick([1, 3, 100, 1024, 5000]);
    const size =
      block * Math.max(64, this.#random.oneIn(2) ? blocks + change : blocks - Math.min(change, Math.floor(blocks / 2)));
    const model = this.#model.resizeBegins(size);
    try {
      await this.#world.settle(this.volume.resize(size), 'resize');
      this.#model.resizeEnds(model, true, size);
      this.#model.flushed(this.#model.flushStarts());
      if (this.volume.size !== size) throw new Error(`the size is ${this.volume.size} after a resize to ${size}`);
    } catch (error) {
      if (!(error instanceof CaissonError)) throw error;
      this.#model.resizeEnds(model, false, this.volume.size);
      this.#failed(error, 'resize');
      this.#hasFailed = true;
    }
  }

  async #extents(): Promise<void> {
    await this.drain();
    if (this.#hasFailed) return;
    try {
      await checkExtents(this.#world, this.volume, this.#model);
    } catch (error) {
      this.#failed(error, 'extents');
    }
  }

  /** Snapshots and clones, while nothing is in flight so that their content is known. */
  async #branch(): Promise<void> {
    await this.drain();
    if (this.#hasFailed || this.isTakenOver) return;
    const branches = this.#branches;
    const pick = this.#random.below(10);
    let isPublished = false;
    try {
      if (pick < 4) isPublished = await branches.takeSnapshot(this.volume, this.#model);
      else if (pick < 5) isPublished = await branches.removeSnapshot(this.volume);
      else if (pick < 7) await branches.checkSnapshot(this.#process);
      else if (pick < 8) isPublished = await branches.clone(this.volume, this.#model);
      else if (!this.mayFail) await branches.useClone(this.#process, true);
      if (!isPublished) return;
      this.#model.flushed(this.#model.flushStarts());
      this.anchoredCount++;
    } catch (error) {
      this.#failed(error, 'branch');
    }
  }

  /** Goes back to a snapshot, which closes the volume. Answers whether it did. */
  async restore(): Promise<boolean> {
    await this.drain();
    const target = this.#branches.pickSnapshot();
    if (this.#hasFailed || target === undefined) return false;
    this.#branches.pendingRestore = target.content;
    try {
      await this.#world.settle(this.volume.restore(target.name), 'restore');
      this.#branches.pendingRestore = undefined;
      this.#model.replaceWith(target.content.size, target.content.blocks);
      this.anchoredCount++;
      return true;
    } catch (error) {
      // The volume is closed now, so it cannot be asked whether it latched.
      if (!(error instanceof CaissonError) || !ordinaryKinds.has(error.kind) || !this.mayFail) throw error;
      this.#hasFailed = true;
      return false;
    }
  }

  /** Takes the volume to the other store while the steps go on; a move may be given up on the way. */
  async #move(): Promise<void> {
    if (this.#moving !== undefined || this.isTakenOver || this.#branches.clones.length > 0) return;
    const world = this.#world;
    let target: Awaited<ReturnType<SimulatedWorld['openTarget']>>;
    try {
      target = await world.settle(world.openTarget(this.#process), 'open of the other store');
    } catch (error) {
      return this.#failed(error, 'open of the other store');
    }
    const { store, folder } = target;
    const mark = this.#model.flushStarts();
    const stop = new AbortController();
    let stepsLeft = this.#random.oneIn(4) ? this.#random.between(1, 6) : Infinity;
    world.isMoving = true;
    const moving = this.volume.move(store, {
      keepSource: this.#random.oneIn(3),
      signal: stop.signal,
      onProgress: () => {
        if (--stepsLeft <= 0) stop.abort(new CaissonError('closed', 'cancelled', 'the move is given up'));
      },
      onSwitched: () => {
        world.folder = folder;
        world.isMoving = false;
        this.#process.environment = { ...this.#process.environment, store };
      },
    });
    this.#moving = moving
      .then(() => {
        if (this.#isOver) return;
        this.#model.flushed(mark);
        this.anchoredCount++;
      })
      .catch((error: unknown) => {
        if (!this.#isOver && !isMoveEnded(error)) this.#failed(error, 'move');
      })
      .catch((error: unknown) => {
        this.#broken ??= error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => (this.#moving = undefined));
  }

  async #changeKey(): Promise<void> {
    const { plan } = this.#world;
    if (plan.protection === 'none') return;
    await this.drain();
    if (this.#hasFailed) return;
    const fresh = this.#world.newKey();
    this.#world.keySources.push(fresh);
    try {
      const added = await this.#world.settle(this.volume.addKey(fresh), 'key add');
      const others = this.volume.info().keySlots.filter((slot) => slot.slot !== added.slot);
      for (const slot of others) await this.#world.settle(this.volume.removeKey(slot.slot), 'key remove');
      this.#world.keySources = [fresh];
      this.#model.flushed(this.#model.flushStarts());
      this.anchoredCount++;
    } catch (error) {
      this.#failed(error, 'key change');
    }
  }

  /** Beside whatever else is in flight. */
  #clean(): void {
    const mark = this.#model.flushStarts();
    const cleaning = this.volume.clean({ all: this.#random.oneIn(2) });
    this.#task(
      'clean',
      cleaning.then(({ findings }) => {
        if (findings.length > 0 && !this.mayFail) throw new Error(`cleaning finds ${JSON.stringify(findings)}`);
      }),
      () => {
        this.#model.flushed(mark);
        this.anchoredCount++;
      },
    );
  }

  async #rekey(): Promise<void> {
    if (this.#world.plan.protection === 'none') return;
    const mark = this.#model.flushStarts();
    const published = (): void => {
      this.#model.flushed(mark);
      this.anchoredCount++;
    };
    if (this.#random.oneIn(2)) return this.#task('rekey', this.volume.rekey(), published);
    await this.drain();
    if (this.#hasFailed) return;
    const fresh = this.#world.newKey();
    this.#world.keySources.push(fresh);
    try {
      await this.#world.settle(this.volume.rekey({ renewWith: fresh }), 'rekey');
      this.#world.keySources = [fresh];
      published();
    } catch (error) {
      this.#failed(error, 'rekey');
    }
  }

  async #obeyPressure(): Promise<void> {
    const pressure = this.volume.pressure();
    if (pressure !== undefined && this.#random.oneIn(2)) await this.#world.settle(pressure, 'pressure');
  }

  /** Undefined when too much of the same is in flight already. */
  #begin(
    what: string,
    offset: number,
    length: number,
    bytes: (at: number, count: number) => Uint8Array,
  ): ModelChange | undefined {
    const first = Math.floor(offset / block);
    const last = Math.floor((offset + length - 1) / block);
    const blocks = new Set<number>();
    for (let at = first; at <= last; at++) blocks.add(at);
    if (this.#model.overlapOf(blocks) >= overlapMax) return undefined;
    return this.#model.begin(`${what} ${offset}+${length}`, blocks, (at, before) => {
      const from = Math.max(offset, at * block);
      const to = Math.min(offset + length, (at + 1) * block);
      const part = bytes(from, to - from).subarray(0, to - from);
      if (part.length === block) return part;
      const merged = Uint8Array.from(before);
      merged.set(part, from - at * block);
      return merged;
    });
  }

  /** A call that may be answered at once, later, or with an error thrown. */
  #attempt(change: ModelChange, fua: boolean, call: () => void | Promise<void>): void {
    let answer: void | Promise<void>;
    const mark = this.#model.flushStarts();
    try {
      answer = call();
    } catch (error) {
      this.#end(change, false);
      return this.#failed(error, change.what);
    }
    if (answer !== undefined) return this.#change(change, fua, answer, mark);
    if (fua) throw new Error('FUA was answered before anything could be durable');
    this.#end(change, true);
  }

  #change(change: ModelChange, fua: boolean, answer: Promise<void>, mark = this.#model.flushStarts()): void {
    this.#task(
      change.what,
      answer,
      () => {
        if (fua) this.#model.flushed(mark);
        change.isDurable ||= fua;
        this.#end(change, true);
      },
      () => this.#end(change, false),
    );
  }

  #end(change: ModelChange, isAnswered: boolean): void {
    this.#ambiguous.push(...this.#model.end(change, isAnswered));
  }

  #task(what: string, answer: Promise<void>, onAnswer: () => void, onFailure: () => void = () => undefined): void {
    const task = answer
      .then(
        () => {
          if (!this.#isOver) onAnswer();
        },
        (error: unknown) => {
          if (this.#isOver) return;
          onFailure();
          if (!(error instanceof Aborted)) this.#failed(error, what);
        },
      )
      .catch((error: unknown) => {
        this.#broken ??= error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => this.#tasks.delete(task));
    this.#tasks.add(task);
  }

  /** Lets through what a fault explains, and nothing else. */
  #failed(error: unknown, what: string): void {
    if (this.#isOver) return;
    const isOrdinary =
      error instanceof CaissonError && (ordinaryKinds.has(error.kind) || (this.isTakenOver && isGone(error)));
    if (!isOrdinary || !this.mayFail) throw new Error(`${what} failed`, { cause: error });
    if (
      error.kind === 'closed' ||
      error.kind === 'fenced' ||
      what === 'close' ||
      this.volume.info().latched !== undefined
    )
      this.#hasFailed = true;
  }
}

/** What ends a move without any fault: the volume goes on where it was. */
function isMoveEnded(error: unknown): boolean {
  // A stalled writer that lost the volume may still hold the lock of the store that it had it in.
  const codes = [
    'cancelled',
    'timeout',
    'volume-needed',
    'volume-inherits',
    'volume-closed',
    'volume-open-elsewhere',
    'move-outrun',
  ] as const;
  return codes.some((code) => isCaissonError(error, code));
}

function isGone({ code, cause }: CaissonError): boolean {
  return code === 'object-missing' || isCaissonError(cause, 'object-missing');
}

class Aborted extends Error {}
