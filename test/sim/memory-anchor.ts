/** Anchor in memory, for tests: it remembers as long as its object lives. */
import type { Anchor, AnchorState } from '../../src/anchor/anchor.ts';
import { checkAdvance } from '../../src/anchor/anchor-order.ts';

export class MemoryAnchor implements Anchor {
  readonly describe = 'Remembers in memory: for tests.';
  readonly #states = new Map<string, AnchorState>();

  async read(volumeId: Uint8Array): Promise<AnchorState | undefined> {
    return this.#states.get(nameOf(volumeId));
  }

  async advance(state: AnchorState): Promise<void> {
    const name = nameOf(state.volumeId);
    const held = this.#states.get(name);
    if (held !== undefined) checkAdvance(held, state);
    this.#states.set(name, copyOf(state));
  }

  async forget(volumeId: Uint8Array): Promise<void> {
    this.#states.delete(nameOf(volumeId));
  }
}

function copyOf(state: AnchorState): AnchorState {
  return {
    ...state,
    volumeId: new Uint8Array(state.volumeId),
    manifestDigest: new Uint8Array(state.manifestDigest),
    chain: new Uint8Array(state.chain),
  };
}

function nameOf(volumeId: Uint8Array): string {
  return Buffer.from(volumeId).toString('hex');
}
