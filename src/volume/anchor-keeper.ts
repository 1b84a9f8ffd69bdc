/**
 * AnchorKeeper: brings the anchor up to the newest durable state, one advance at a time; advances that
 * are asked for meanwhile share the next one.
 *
 * Invariant: a state is handed in only after it is durable in the store, so the anchor never runs ahead.
 */
import type { Anchor, AnchorState } from '../anchor/anchor.ts';
import type { Clock } from '../lib/clock.ts';

export class AnchorKeeper {
  readonly #anchor: Anchor;
  readonly #clock: Clock;
  readonly #delayMilliseconds: number;
  readonly #onFailure: (error: unknown) => void;
  #wanted: AnchorState | undefined;
  #anchored: AnchorState | undefined;
  #running: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;
  advanceCount = 0;

  constructor(anchor: Anchor, clock: Clock, delayMilliseconds: number, onFailure: (error: unknown) => void) {
    this.#anchor = anchor;
    this.#clock = clock;
    this.#delayMilliseconds = delayMilliseconds;
    this.#onFailure = onFailure;
  }

  /** Sequence of the newest anchored record. */
  get anchoredSequence(): number {
    return this.#anchored?.sequence ?? 0;
  }

  /** Resolves when the anchor holds `state` or something newer. */
  async advance(state: AnchorState): Promise<void> {
    this.#wanted = state;
    while (this.#anchored !== state && this.#wanted !== undefined) {
      this.#running ??= this.#run();
      await this.#running;
    }
  }

  /** Advances within the configured delay; nobody waits. A failure is reported and tried again next time. */
  advanceSoon(state: AnchorState): void {
    this.#wanted = state;
    this.#cancelTimer ??= this.#clock.after(this.#delayMilliseconds, () => {
      this.#cancelTimer = undefined;
      if (this.#wanted !== undefined) this.advance(this.#wanted).catch(this.#onFailure);
    });
  }

  /** Cancels the timer and waits for an advance in progress. */
  async stop(): Promise<void> {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    await this.#running?.catch(() => undefined);
  }

  async #run(): Promise<void> {
    const state = this.#wanted;
    this.#wanted = undefined;
    try {
      if (state === undefined) return;
      await this.#anchor.advance(state);
      this.#anchored = state;
      this.advanceCount++;
    } finally {
      this.#running = undefined;
    }
  }
}
