/**
 * RangeLocks: blocks that a write in several steps (read-modify-write, or one that waits for the map)
 * has to itself. Without them a block could silently go back to what it was when the slow write read
 * it, and no tag would show it.
 *
 * Invariant: locks are granted in the order of asking among overlapping ranges, so nobody starves.
 */
interface LockedRange {
  readonly first: number;
  readonly last: number;
  readonly released: Promise<void>;
}

export class RangeLocks {
  readonly #ranges = new Set<LockedRange>();

  get size(): number {
    return this.#ranges.size;
  }

  overlaps(first: number, last: number): boolean {
    for (const range of this.#ranges) if (range.first <= last && first <= range.last) return true;
    return false;
  }

  /** Resolves with the function that releases [first, last]. */
  async acquire(first: number, last: number): Promise<() => void> {
    const earlier: Promise<void>[] = [];
    for (const range of this.#ranges) if (range.first <= last && first <= range.last) earlier.push(range.released);
    const { promise, resolve } = Promise.withResolvers<void>();
    const mine: LockedRange = { first, last, released: promise };
    this.#ranges.add(mine);
    if (earlier.length > 0) await Promise.all(earlier);
    return () => {
      this.#ranges.delete(mine);
      resolve();
    };
  }
}
