/**
 * Space: which units of the device are free. A bitmap (one bit a unit, 20 MB for 10 TiB), rebuilt from the
 * index when the device is opened; nothing of it lies on the device.
 *
 * Invariant: a unit is free, or belongs to one holder, or waits to be trimmed; whoever gives units back is
 * the one that has them.
 */
import { assert } from '../../lib/assert.ts';
import type { Extents } from './journal-format.ts';

const wordUnits = 32;
const fullWord = 0xffff_ffff;

export class Space {
  readonly unitCount: number;
  readonly #taken: Uint32Array;
  #freeUnits: number;
  /** Where the last search ended: units are handed out around the device in turn. */
  #cursor = 0;

  constructor(unitCount: number) {
    this.unitCount = unitCount;
    this.#freeUnits = unitCount;
    this.#taken = new Uint32Array(Math.ceil(unitCount / wordUnits));
    for (let unit = unitCount; unit < this.#taken.length * wordUnits; unit++) this.#set(unit);
  }

  get freeUnits(): number {
    return this.#freeUnits;
  }

  /** Marks units as taken; false, with nothing changed, when one of them is taken already. */
  claim(extents: Extents): boolean {
    for (let index = 0; index < extents.length; index += 2) {
      const [first, count] = [extents[index]!, extents[index + 1]!];
      for (let unit = first; unit < first + count; unit++) {
        if (!this.#isTaken(unit)) {
          this.#set(unit);
          continue;
        }
        this.#clear(first, unit - first);
        for (let undo = 0; undo < index; undo += 2) this.#clear(extents[undo]!, extents[undo + 1]!);
        return false;
      }
    }
    for (let index = 1; index < extents.length; index += 2) this.#freeUnits -= extents[index]!;
    return true;
  }

  free(first: number, count: number): void {
    for (let unit = first; unit < first + count; unit++) assert(this.#isTaken(unit), `unit ${unit} is free already`);
    this.#clear(first, count);
    this.#freeUnits += count;
  }

  /**
   * Takes `count` units, in one piece where there is such a piece: first what follows unit `after`, then the
   * next free run that is long enough, then whatever there is. Undefined when there are not so many.
   */
  allocate(count: number, after = -1): number[] | undefined {
    assert(count > 0, 'units are taken one by one at least');
    if (count > this.#freeUnits) return undefined;
    const extents: number[] = [];
    let missing = count;
    if (after >= 0) missing -= this.#takeRun(extents, after, missing);
    if (missing > 0) {
      const run = this.#findRun(missing);
      if (run !== undefined) missing -= this.#takeRun(extents, run, missing);
    }
    while (missing > 0) missing -= this.#takeRun(extents, this.#nextFree(this.#cursor), missing);
    this.#freeUnits -= count;
    return extents;
  }

  /** The parts of [first, first + count) that are free now, taken. */
  claimFree(first: number, count: number): number[] {
    const extents: number[] = [];
    for (let unit = first; unit < first + count; unit++) {
      if (this.#isTaken(unit)) continue;
      this.#set(unit);
      this.#freeUnits--;
      appendExtent(extents, unit, 1);
    }
    return extents;
  }

  /** Takes free units from `first` on, at most `countMax`; returns how many. */
  #takeRun(extents: number[], first: number, countMax: number): number {
    let count = 0;
    while (count < countMax && first + count < this.unitCount && !this.#isTaken(first + count)) {
      this.#set(first + count);
      count++;
    }
    if (count > 0) {
      appendExtent(extents, first, count);
      this.#cursor = (first + count) % this.unitCount;
    }
    return count;
  }

  /** The first unit of `count` free ones in a row, looking once around the device. */
  #findRun(count: number): number | undefined {
    for (const [from, to] of [
      [this.#cursor, this.unitCount],
      [0, Math.min(this.unitCount, this.#cursor + count - 1)],
    ] as const) {
      let start = from;
      for (let unit = from; unit < to;) {
        const word = this.#taken[unit >>> 5]!;
        if (word === fullWord) {
          unit = ((unit >>> 5) + 1) * wordUnits;
          start = unit;
        } else if (word === 0 && unit % wordUnits === 0 && unit + wordUnits <= to) {
          unit += wordUnits;
        } else if (this.#isTaken(unit)) {
          start = ++unit;
        } else {
          unit++;
        }
        if (unit - start >= count && unit <= to) return start;
      }
    }
    return undefined;
  }

  #nextFree(from: number): number {
    for (let step = 0, unit = from; step <= this.#taken.length * wordUnits;) {
      if (unit >= this.unitCount) unit = 0;
      if (this.#taken[unit >>> 5] === fullWord) {
        const next = ((unit >>> 5) + 1) * wordUnits;
        step += next - unit;
        unit = next;
        continue;
      }
      if (!this.#isTaken(unit)) return unit;
      unit++;
      step++;
    }
    throw new Error('unreachable: free units were counted');
  }

  #isTaken(unit: number): boolean {
    return ((this.#taken[unit >>> 5]! >>> (unit & 31)) & 1) === 1;
  }

  #set(unit: number): void {
    this.#taken[unit >>> 5]! |= 1 << (unit & 31);
  }

  #clear(first: number, count: number): void {
    for (let unit = first; unit < first + count; unit++) this.#taken[unit >>> 5]! &= ~(1 << (unit & 31));
  }
}

/** Adds to the end of a list, as one extent with the last one where they touch. */
export function appendExtent(extents: number[], first: number, count: number): void {
  const last = extents.length - 2;
  if (last >= 0 && first === extents[last]! + extents[last + 1]!) extents[last + 1]! += count;
  else extents.push(first, count);
}

/** The first `count` units of a list, and the rest. */
export function splitExtents(extents: Extents, count: number): { readonly kept: number[]; readonly cut: number[] } {
  const kept: number[] = [];
  const cut: number[] = [];
  let missing = count;
  for (let index = 0; index < extents.length; index += 2) {
    const [first, length] = [extents[index]!, extents[index + 1]!];
    const here = Math.min(missing, length);
    if (here > 0) appendExtent(kept, first, here);
    if (here < length) appendExtent(cut, first + here, length - here);
    missing -= here;
  }
  return { kept, cut };
}
