/**
 * What was used lately, by name, so many and no more: the one that has been idle longest makes room.
 *
 * Invariant: never more than `entriesMax` entries. A map keeps the order of insertion, so that the first of it is the idle one.
 */
import { assert } from './assert.ts';

export class RecentlyUsed<Value> {
  readonly #entriesMax: number;
  readonly #entries = new Map<string, Value>();

  constructor(entriesMax: number) {
    assert(Number.isSafeInteger(entriesMax) && entriesMax > 0, 'a cache holds at least one entry');
    this.#entriesMax = entriesMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(name: string): Value | undefined {
    const value = this.#entries.get(name);
    if (value === undefined) return undefined;
    this.#entries.delete(name);
    this.#entries.set(name, value);
    return value;
  }

  put(name: string, value: Value): void {
    this.#entries.delete(name);
    if (this.#entries.size >= this.#entriesMax) {
      const [idle] = this.#entries.keys();
      if (idle !== undefined) this.#entries.delete(idle);
    }
    this.#entries.set(name, value);
  }

  clear(): void {
    this.#entries.clear();
  }
}
