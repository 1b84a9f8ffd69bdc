/**
 * A virtual clock: time stands still until a test, or the simulated disk, advances it.
 *
 * Invariant: callbacks run in the order of their time, then of their registration.
 */
import type { Clock } from '../../src/lib/clock.ts';

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

export interface VirtualClockOptions {
  /** Jumps to the next timer by itself whenever this says false: for code that waits for time alone. */
  readonly isBusy?: () => boolean;
}

export class VirtualClock implements Clock {
  #now = 0;
  #timers: Timer[] = [];
  #orderCount = 0;
  readonly #isBusy: (() => boolean) | undefined;

  constructor(options: VirtualClockOptions = {}) {
    this.#isBusy = options.isBusy;
  }

  monotonic(): number {
    return this.#now;
  }

  wall(): number {
    return 1_800_000_000_000 + this.#now;
  }

  after(milliseconds: number, callback: () => void): () => void {
    const timer: Timer = { at: this.#now + Math.max(0, milliseconds), order: this.#orderCount++, callback };
    this.#timers.push(timer);
    if (this.#isBusy !== undefined) this.#jumpLater();
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  turn(): Promise<void> {
    return new Promise((resolve) => this.after(0, resolve));
  }

  get timerCount(): number {
    return this.#timers.length;
  }

  /** Moves time forward and runs what falls due, in order; a callback may add timers that fall due, too. */
  advance(milliseconds: number): void {
    const end = this.#now + milliseconds;
    for (;;) {
      const next = this.#next();
      if (next === undefined || next.at > end) break;
      this.#fire(next);
    }
    this.#now = end;
  }

  #jumpLater(): void {
    setImmediate(() => {
      const next = this.#next();
      if (next === undefined) return;
      if (this.#isBusy!()) return this.#jumpLater();
      this.#fire(next);
      if (this.#timers.length > 0) this.#jumpLater();
    });
  }

  #fire(timer: Timer): void {
    this.#now = Math.max(this.#now, timer.at);
    this.#timers = this.#timers.filter((other) => other !== timer);
    timer.callback();
  }

  #next(): Timer | undefined {
    let best: Timer | undefined;
    for (const timer of this.#timers) {
      if (best === undefined || timer.at < best.at || (timer.at === best.at && timer.order < best.order)) best = timer;
    }
    return best;
  }
}
