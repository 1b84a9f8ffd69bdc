/**
 * Directories: 1024 leaves each. `states` is the present; `objects`, `slots` and `tags` say where the
 * newest manifest (or the one being written) has each leaf's page, whatever the present is.
 */
import { directoryLeaves, Reference, type PageReference } from './map-format.ts';

/** State of a leaf when it is not a slot (>= 0) of the pool. */
export const LeafState = { hole: -1, zero: -2, stored: -3 } as const;

export class MapDirectory {
  readonly index: number;
  readonly states: Int32Array;
  /** Where each leaf's page lies in the newest manifest; `Reference.hole` without page. */
  readonly objects: Uint32Array;
  readonly slots: Uint32Array;
  readonly tags: Uint8Array;
  dirty = false;

  constructor(index: number, state: number) {
    this.index = index;
    this.states = new Int32Array(directoryLeaves).fill(state);
    this.objects = new Uint32Array(directoryLeaves).fill(Reference.hole);
    this.slots = new Uint32Array(directoryLeaves);
    this.tags = new Uint8Array(directoryLeaves * 16);
  }

  setReference(leaf: number, reference: PageReference): void {
    this.objects[leaf] = reference.object;
    this.slots[leaf] = reference.slot;
    this.tags.set(reference.tag, leaf * 16);
  }

  clearReference(leaf: number): void {
    this.objects[leaf] = Reference.hole;
    this.slots[leaf] = 0;
    this.tags.fill(0, leaf * 16, leaf * 16 + 16);
  }

  reference(leaf: number): PageReference {
    return { object: this.objects[leaf]!, slot: this.slots[leaf]!, tag: this.tags.subarray(leaf * 16, leaf * 16 + 16) };
  }
}

export const directoryMemoryBytes = directoryLeaves * (4 + 4 + 4 + 16);
