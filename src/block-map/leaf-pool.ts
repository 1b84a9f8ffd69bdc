/**
 * LeafPool: the memory of resident leaves, in slabs of one typed array each; no object per leaf.
 *
 * Invariants: a leaf that is dirty or pending (frozen for a checkpoint and not yet written) is never
 * evicted; the number of slots never exceeds the cap, so resident memory is a configured figure. Only
 * recovery may raise the cap (volume/recovery.ts): what it replays cannot be written out before it is known to be whole.
 * Eviction is the second-chance clock.
 */
import { assert } from '../lib/assert.ts';
import { leafBytes, leafWords } from './map-format.ts';

const slabLeavesShift = 9;
const slabLeaves = 1 << slabLeavesShift;
const slabLeavesMin = 16;
const slabLeafMask = slabLeaves - 1;

export const LeafFlag = { dirty: 1, pending: 2, referenced: 4 } as const;

export class LeafPool {
  /** Leaves that may be resident. */
  capacity: number;
  readonly #slabs: Uint32Array[] = [];
  readonly #free: number[] = [];
  /** Leaf index of each slot, -1 when free. */
  #owners = new Int32Array(slabLeaves).fill(-1);
  #flags = new Uint8Array(slabLeaves);
  #slotCount = 0;
  #hand = 0;
  dirtyCount = 0;
  pendingCount = 0;

  constructor(bytesMax: number) {
    this.capacity = Math.max(16, Math.floor(bytesMax / leafBytes));
  }

  get residentBytes(): number {
    return this.#slabs.reduce((sum, slab) => sum + slab.byteLength, 0);
  }

  get residentCount(): number {
    return this.#slotCount - this.#free.length;
  }

  /** The slab that holds `slot`; word 0 of the leaf is at `offset(slot)`. */
  slab(slot: number): Uint32Array {
    return this.#slabs[slot >> slabLeavesShift]!;
  }

  offset(slot: number): number {
    return (slot & slabLeafMask) * leafWords;
  }

  words(slot: number): Uint32Array {
    const at = this.offset(slot);
    return this.slab(slot).subarray(at, at + leafWords);
  }

  owner(slot: number): number {
    return this.#owners[slot]!;
  }

  touch(slot: number): void {
    this.#flags[slot]! |= LeafFlag.referenced;
  }

  isDirty(slot: number): boolean {
    return (this.#flags[slot]! & LeafFlag.dirty) !== 0;
  }

  isPending(slot: number): boolean {
    return (this.#flags[slot]! & LeafFlag.pending) !== 0;
  }

  markDirty(slot: number): void {
    const flags = this.#flags[slot]!;
    if ((flags & LeafFlag.dirty) !== 0) return;
    this.#flags[slot] = flags | LeafFlag.dirty | LeafFlag.referenced;
    this.dirtyCount++;
  }

  /** Dirty becomes pending; called for every dirty leaf when a checkpoint freezes the map. */
  freeze(slot: number): void {
    assert(this.isDirty(slot) && !this.isPending(slot), 'only a dirty leaf is frozen');
    this.#flags[slot] = (this.#flags[slot]! & ~LeafFlag.dirty) | LeafFlag.pending;
    this.dirtyCount--;
    this.pendingCount++;
  }

  clearPending(slot: number): void {
    if (!this.isPending(slot)) return;
    this.#flags[slot]! &= ~LeafFlag.pending;
    this.pendingCount--;
  }

  /** Calls `visit` for every resident slot. */
  forEach(visit: (slot: number) => void): void {
    for (let slot = 0; slot < this.#slotCount; slot++) if (this.#owners[slot]! >= 0) visit(slot);
  }

  /**
   * A slot for `leaf`, its words undefined. When the cap is reached a clean leaf is evicted and
   * `onEvict` told its leaf index, which may keep it by answering false; -1 when no leaf can go.
   */
  allocate(leaf: number, onEvict: (leaf: number) => boolean): number {
    let slot = this.#free.pop();
    if (slot === undefined) slot = this.#slotCount < this.capacity ? this.#grow() : this.#evict(onEvict);
    if (slot < 0) return -1;
    this.#owners[slot] = leaf;
    this.#flags[slot] = LeafFlag.referenced;
    return slot;
  }

  /** Gives a slot back; it must not be pending. */
  release(slot: number): void {
    assert(!this.isPending(slot), 'a pending leaf is written before it goes');
    if (this.isDirty(slot)) this.dirtyCount--;
    this.#owners[slot] = -1;
    this.#flags[slot] = 0;
    this.#free.push(slot);
  }

  #grow(): number {
    const slot = this.#slotCount++;
    this.#growSlab(slot);
    if (slot >= this.#owners.length) {
      const owners = new Int32Array(this.#owners.length * 2).fill(-1);
      owners.set(this.#owners);
      this.#owners = owners;
      const flags = new Uint8Array(this.#flags.length * 2);
      flags.set(this.#flags);
      this.#flags = flags;
    }
    return slot;
  }

  /** The first slab starts small and doubles: most volumes never fill it. */
  #growSlab(slot: number): void {
    const index = slot >> slabLeavesShift;
    const slab = this.#slabs[index];
    const needed = this.offset(slot) + leafWords;
    if (slab !== undefined && needed <= slab.length) return;
    const leaves = index > 0 ? slabLeaves : slab === undefined ? slabLeavesMin : (slab.length / leafWords) * 2;
    const grown = new Uint32Array(leaves * leafWords);
    if (slab !== undefined) grown.set(slab);
    this.#slabs[index] = grown;
  }

  #evict(onEvict: (leaf: number) => boolean): number {
    for (let step = 0; step < this.#slotCount * 2; step++) {
      const slot = this.#hand;
      this.#hand = slot + 1 === this.#slotCount ? 0 : slot + 1;
      const flags = this.#flags[slot]!;
      if ((flags & (LeafFlag.dirty | LeafFlag.pending)) !== 0) continue;
      if ((flags & LeafFlag.referenced) !== 0) {
        this.#flags[slot] = flags & ~LeafFlag.referenced;
        continue;
      }
      if (onEvict(this.#owners[slot]!)) return slot;
    }
    return -1;
  }
}
