/**
 * Anchor: a register outside the store's reach that remembers the newest state of a volume, so that
 * an old copy of the store can be told from the newest (spec/freshness.md).
 *
 * Rules that `test/conformance/anchor.ts` checks:
 * - `advance` is durable when it resolves, and never goes backward: an older state than the one held
 *   is refused with `rolled-back`, an equal position with another digest with `forked`.
 * - "Older" compares (epoch, manifest number, sequence) in that order.
 * - `read` of a volume that was never anchored returns undefined; damage is `anchor-tampered`, never undefined.
 */
export interface AnchorState {
  readonly volumeId: Uint8Array; // 16 bytes
  readonly epoch: number; // of the writer
  readonly manifestNumber: number;
  readonly manifestDigest: Uint8Array; // 32 bytes, SHA-256 of the manifest object
  /** The last spool record known durable, counted over the volume's life; 0 before the first. */
  readonly sequence: number;
  /** The chain value after that record, 16 bytes. */
  readonly chain: Uint8Array;
}

export interface Anchor {
  /** What this anchor protects against and what not, one sentence for people. */
  readonly describe: string;
  read(volumeId: Uint8Array): Promise<AnchorState | undefined>;
  advance(state: AnchorState): Promise<void>;
  /** Forgets the volume (after its removal). Missing is not an error. */
  forget(volumeId: Uint8Array): Promise<void>;
  /** How long advances that nobody waits for should rest at least, where its memory wears out. */
  restMilliseconds?(volumeId: Uint8Array): number;
}
