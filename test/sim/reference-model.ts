/**
 * What a volume must hold, block by block, with enough of the past to judge a crash.
 *
 * Changes are grouped into phases: all that was in flight together is one phase, whose order nobody
 * promised; phases follow each other. `bound` is the last phase that a FLUSH (or a checkpoint, a close, a
 * recovery) acknowledged. After a crash there must be one phase p >= bound such that every phase up to
 * p is there, phase p + 1 perhaps in part, and nothing later: a prefix of the write order.
 */
import { assert } from '../../src/lib/assert.ts';

export const modelBlockBytes = 4096;
export const zeroBlock = new Uint8Array(modelBlockBytes);
/** Operations on one block in one phase; their orders are enumerated. */
export const overlapMax = 3;

/** A change in flight. `blocks` are those known to hold something that it may change, `touches` says it of any, `apply` what it makes of one. */
export interface ModelChange {
  readonly what: string;
  readonly blocks: ReadonlySet<number>;
  readonly touches: (block: number) => boolean;
  readonly apply: (block: number, before: Uint8Array) => Uint8Array;
  state: 'flying' | 'answered' | 'failed';
  /** A FLUSH or FUA that was acknowledged covers it. */
  isDurable: boolean;
}

interface PastChange {
  readonly phase: number;
  /** What a part of the phase may have left. */
  readonly possible: readonly Uint8Array[];
  readonly after: Uint8Array;
}

interface BlockHistory {
  settled: Uint8Array;
  changes: PastChange[];
}

interface SizeChange {
  readonly phase: number;
  readonly before: number;
  readonly after: number;
}

/** What a FLUSH that starts now will have covered when it is acknowledged. */
export interface FlushMark {
  readonly phase: number;
  readonly answered: readonly ModelChange[];
}

export class ReferenceModel {
  #blocks = new Map<number, BlockHistory>();
  #changed = new Set<number>();
  #sizes: SizeChange[] = [];
  #size: number;
  #phase = 0;
  #bound = 0;
  #flying: ModelChange[] = [];
  #flyingCount = 0;

  constructor(size: number) {
    this.#size = size;
  }

  get size(): number {
    return this.#size;
  }

  get phase(): number {
    return this.#phase;
  }

  get isQuiet(): boolean {
    return this.#flyingCount === 0;
  }

  /** Blocks that ever held data, ascending. */
  knownBlocks(): number[] {
    return [...this.#blocks.keys()].sort((left, right) => left - right);
  }

  /** The blocks from `first` to `last` that hold something, for changes of huge extents. */
  knownBetween(first: number, last: number): Set<number> {
    const found = new Set<number>();
    for (const block of this.#blocks.keys()) if (block >= first && block <= last) found.add(block);
    return found;
  }

  /** How many changes in flight touch the block. */
  overlapOf(blocks: Iterable<number>): number {
    let most = 0;
    for (const block of blocks) most = Math.max(most, this.#flying.filter((change) => change.touches(block)).length);
    return most;
  }

  begin(
    what: string,
    blocks: ReadonlySet<number>,
    apply: ModelChange['apply'],
    touches: ModelChange['touches'] = (block) => blocks.has(block),
  ): ModelChange {
    if (this.#flyingCount++ === 0) this.#phase++;
    const change: ModelChange = { what, blocks, touches, apply, state: 'flying', isDurable: false };
    this.#flying.push(change);
    return change;
  }

  /** Returns the blocks whose content must be read, because the order was nobody's promise; then call `resolve`. */
  end(change: ModelChange, isAnswered: boolean): number[] {
    change.state = isAnswered ? 'answered' : 'failed';
    if (--this.#flyingCount > 0) return [];
    const ambiguous: number[] = [];
    for (const block of this.#flyingBlocks()) {
      const changes = this.#flying.filter((one) => one.touches(block));
      if (changes.length > 1 || changes[0]!.state === 'failed') ambiguous.push(block);
      else this.#note(block, [this.current(block)], changes[0]!.apply(block, this.current(block)));
    }
    if (ambiguous.length === 0) this.#finishPhase();
    return ambiguous;
  }

  /** What was read of an ambiguous block; it must be an outcome of some order. */
  resolve(found: ReadonlyMap<number, Uint8Array>): void {
    for (const [block, content] of found) {
      const outcomes = this.#outcomes(block, (change) => change.state === 'answered');
      if (!includes(outcomes, content))
        throw new Error(`block ${block} holds ${describe(content)}, no order of ${this.#whatOf(block)} gives that`);
      this.#note(
        block,
        this.#outcomes(block, (change) => change.isDurable),
        content,
      );
    }
    this.#finishPhase();
  }

  flushStarts(): FlushMark {
    if (this.#flying.length === 0) return { phase: this.#phase, answered: [] };
    return { phase: this.#phase - 1, answered: this.#flying.filter((change) => change.state === 'answered') };
  }

  flushed(mark: FlushMark): void {
    for (const change of mark.answered) change.isDurable = true;
    this.#bound = Math.max(this.#bound, mark.phase);
    for (const block of this.#changed) this.#prune(block);
    this.#sizes = this.#sizes.filter((change) => change.phase > this.#bound);
  }

  current(block: number): Uint8Array {
    const history = this.#blocks.get(block);
    return history?.changes.at(-1)?.after ?? history?.settled ?? zeroBlock;
  }

  /** What a read of the block may show now, changes in flight included. */
  readable(block: number): Uint8Array[] {
    return this.#flying.length === 0 ? [this.current(block)] : this.#outcomes(block, () => false);
  }

  resizeBegins(size: number): ModelChange {
    assert(this.isQuiet, 'a change of size is a phase of its own');
    const gone =
      size < this.#size ? this.knownBetween(size / modelBlockBytes, Number.MAX_SAFE_INTEGER) : new Set<number>();
    const change = this.begin(`resize to ${size}`, gone, () => zeroBlock);
    this.#sizes.push({ phase: this.#phase, before: this.#size, after: size });
    return change;
  }

  resizeEnds(change: ModelChange, isAnswered: boolean, size: number): void {
    // What lies beyond the end cannot be read: the change is taken as said, the crash will judge it.
    for (const block of change.blocks) this.#note(block, [this.current(block), zeroBlock], zeroBlock);
    change.state = isAnswered ? 'answered' : 'failed';
    this.#flyingCount--;
    this.#flying = [];
    this.#size = size;
  }

  /** A copy of the present, to judge an old copy of the disk by later. */
  copy(): ReferenceModel {
    const copy = new ReferenceModel(this.#size);
    copy.#blocks = new Map(
      [...this.#blocks].map(([block, { settled, changes }]) => [block, { settled, changes: [...changes] }]),
    );
    copy.#changed = new Set(this.#changed);
    copy.#sizes = [...this.#sizes];
    copy.#phase = this.#phase;
    copy.#bound = this.#bound;
    return copy;
  }

  /** The writer died: what was in flight may be there in part. */
  crash(): void {
    for (const block of this.#flyingBlocks()) {
      const possible = this.#outcomes(block, (change) => change.isDurable);
      this.#note(block, possible, possible.at(-1)!);
    }
    this.#flying = [];
    this.#flyingCount = 0;
  }

  /** The owner went back to an older state: it is all there is, durable. */
  replaceWith(size: number, blocks: ReadonlyMap<number, Uint8Array>): void {
    assert(this.isQuiet, 'a restore happens while nothing is in flight');
    const all = new Map([...this.#blocks.keys()].map((block) => [block, zeroBlock] as const));
    for (const [block, content] of blocks) all.set(block, content as Uint8Array<ArrayBuffer>);
    this.#blocks = new Map([...all].map(([block, content]) => [block, { settled: content, changes: [] }]));
    this.#changed.clear();
    this.#sizes = [];
    this.#size = size;
    this.#phase++;
    this.#bound = this.#phase;
  }

  /** Compares a block of an open volume on which nothing is in flight. */
  check(block: number, content: Uint8Array): void {
    if (!equal(this.current(block), content))
      throw new Error(`block ${block} holds ${describe(content)}, not ${describe(this.current(block))}`);
  }

  /** Judges what was found after a crash and goes on from it. `found` holds every known block below `size`. */
  accept(size: number, found: ReadonlyMap<number, Uint8Array>): void {
    const allowed = new Set<number>();
    for (let phase = this.#bound; phase <= this.#phase; phase++) if (this.#sizeAllows(phase, size)) allowed.add(phase);
    if (allowed.size === 0)
      throw new Error(`the size is ${size} after a crash, which it had at no time since the last flush`);
    for (const [block, content] of found) {
      const history = this.#blocks.get(block) ?? { settled: zeroBlock, changes: [] };
      for (const phase of allowed) if (!allows(history, phase, content)) allowed.delete(phase);
      if (allowed.size === 0) throw new Error(this.#judgement(block, history, content));
    }
    this.#blocks = new Map([...found].map(([block, content]) => [block, { settled: content, changes: [] }]));
    this.#changed.clear();
    this.#sizes = [];
    this.#size = size;
    this.#bound = this.#phase;
  }

  #judgement(block: number, history: BlockHistory, content: Uint8Array): string {
    const past = history.changes.map((change) => `${change.phase}: ${describe(change.after)}`).join(', ');
    return (
      `block ${block} holds ${describe(content)} after a crash, which fits no prefix of the write order: ` +
      `flushed up to phase ${this.#bound} of ${this.#phase}, settled ${describe(history.settled)}, then ${past || 'nothing'}`
    );
  }

  /** A phase of nothing but durable changes is durable. */
  #finishPhase(): void {
    const isDurable = this.#flying.every((change) => change.isDurable);
    this.#flying = [];
    if (isDurable) this.flushed({ phase: this.#phase, answered: [] });
  }

  #sizeAllows(phase: number, size: number): boolean {
    const inPart = this.#sizes.find((change) => change.phase === phase + 1);
    if (inPart !== undefined) return size === inPart.before || size === inPart.after;
    const before = this.#sizes.filter((change) => change.phase <= phase).at(-1);
    const next = this.#sizes.find((change) => change.phase > phase);
    return size === (before?.after ?? next?.before ?? this.#size);
  }

  #note(block: number, possible: readonly Uint8Array[], after: Uint8Array): void {
    let history = this.#blocks.get(block);
    if (history === undefined) this.#blocks.set(block, (history = { settled: zeroBlock, changes: [] }));
    history.changes.push({ phase: this.#phase, possible: [...possible, after], after });
    this.#changed.add(block);
  }

  #prune(block: number): void {
    const history = this.#blocks.get(block)!;
    while (history.changes.length > 0 && history.changes[0]!.phase <= this.#bound)
      history.settled = history.changes.shift()!.after;
    if (history.changes.length === 0) this.#changed.delete(block);
  }

  #flyingBlocks(): Set<number> {
    const blocks = new Set<number>();
    for (const change of this.#flying) for (const block of change.blocks) blocks.add(block);
    return blocks;
  }

  /** Every outcome of the block over all orders of all subsets that hold each change that `must` names. */
  #outcomes(block: number, must: (change: ModelChange) => boolean): Uint8Array[] {
    const changes = this.#flying.filter((change) => change.touches(block));
    const outcomes: Uint8Array[] = [];
    const extend = (content: Uint8Array, left: readonly ModelChange[]): void => {
      if (!left.some(must) && !includes(outcomes, content)) outcomes.push(content);
      for (const change of left) {
        extend(
          change.apply(block, content),
          left.filter((other) => other !== change),
        );
      }
    };
    extend(this.current(block), changes);
    return outcomes;
  }

  #whatOf(block: number): string {
    const changes = this.#flying.filter((change) => change.touches(block));
    return changes.map((change) => `${change.what} (${change.state})`).join(' and ');
  }
}

function allows(history: BlockHistory, phase: number, content: Uint8Array): boolean {
  let before = history.settled;
  for (const change of history.changes) {
    if (change.phase === phase + 1) return includes(change.possible, content);
    if (change.phase > phase) break;
    before = change.after;
  }
  return equal(before, content);
}

function includes(contents: readonly Uint8Array[], content: Uint8Array): boolean {
  return contents.some((one) => equal(one, content));
}

function equal(left: Uint8Array, right: Uint8Array): boolean {
  return left === right || Buffer.compare(left, right) === 0;
}

/** The writes that the stamps name (workload.ts), each with where its bytes begin. */
function describe(content: Uint8Array): string {
  const view = new DataView(content.buffer, content.byteOffset);
  const parts: string[] = [];
  let last = -1;
  for (let at = 0; at < modelBlockBytes; at += 8) {
    const write = view.getUint32(at, true);
    if (write !== last) parts.push(`${write === 0 ? 'zeroes' : `write ${write}`} from ${at}`);
    last = write;
  }
  return parts.length > 6 ? `${parts.slice(0, 6).join(', ')} and so on` : parts.join(', ');
}
