/**
 * CleaningPace: keeps cleaning out of the way of requests. While there are any it may copy so many bytes a second and
 * twice what they write: that much it needs to keep up with random overwrites. Without requests nothing holds it back,
 * nor when there is so much garbage that space runs away.
 */
import type { Clock } from '../lib/clock.ts';
import * as limits from '../lib/limits.ts';

export interface CleaningPaceOptions {
  readonly clock: Clock;
  readonly bytesPerSecond: number;
  readonly activity: () => { readonly requests: number; readonly bytesWritten: number };
  /** What writers wait for when they are faster than the disk. */
  readonly pressure: () => Promise<void> | undefined;
  /** Throws when cleaning is to end. */
  readonly check: () => void;
}

/** Unused budget that is kept, seconds. */
const burstSeconds = 0.25;

export class CleaningPace {
  readonly #options: CleaningPaceOptions;
  #requests = -1;
  #lastRequestAt: number;
  #lookedAt: number;
  #written: number;
  /** Bytes that may be copied now. */
  #budget = 0;
  #wakeUp: (() => void) | undefined;
  /** Space runs away: cleaning comes first. */
  isUrgent = false;
  /** It runs away although cleaning does: writers wait for its steps. */
  isBehind = false;
  readonly #waiters = new Set<() => void>();
  /** Callers that wait for the end. */
  hurries = 0;

  constructor(options: CleaningPaceOptions) {
    this.#options = options;
    this.#lastRequestAt = options.clock.monotonic();
    this.#lookedAt = this.#lastRequestAt;
    this.#written = options.activity().bytesWritten;
  }

  /** Whether nobody has asked anything of the volume for a while. */
  isIdle(): boolean {
    const now = this.#options.clock.monotonic();
    const { requests } = this.#options.activity();
    if (requests !== this.#requests) {
      this.#requests = requests;
      this.#lastRequestAt = now;
    }
    return now - this.#lastRequestAt >= limits.idleMilliseconds;
  }

  /** Lets others run. */
  async turn(): Promise<void> {
    this.#stepped();
    await this.#options.clock.turn();
    this.#options.check();
  }

  /** `bytes` were copied: waits until that is within the budget. */
  async spend(bytes: number): Promise<void> {
    await this.turn();
    for (let pressure = this.#options.pressure(); pressure !== undefined; pressure = this.#options.pressure()) {
      await pressure;
      this.#options.check();
    }
    this.#budget -= bytes;
    while (this.hurries === 0 && !this.isUrgent && !this.isIdle() && this.#refill() < 0) {
      await this.#pause();
      this.#options.check();
    }
  }

  /** Ends a pause. */
  wake(): void {
    this.#wakeUp?.();
  }

  /** Resolves when some more was cleaned, and in any case before long. */
  nextStep(): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(limits.cleaningPressureMillisecondsMax, () => done());
      const done = (): void => {
        cancel();
        this.#waiters.delete(done);
        resolve();
      };
      this.#waiters.add(done);
    });
  }

  /** Cleaning ended, for whatever reason: nobody waits for it any more. */
  rest(): void {
    this.isBehind = false;
    this.isUrgent = false;
    this.#stepped();
  }

  #stepped(): void {
    for (const done of [...this.#waiters]) done();
  }

  #refill(): number {
    const { clock, bytesPerSecond, activity } = this.#options;
    const now = clock.monotonic();
    const { bytesWritten } = activity();
    this.#budget += ((now - this.#lookedAt) / 1000) * bytesPerSecond + 2 * (bytesWritten - this.#written);
    this.#budget = Math.min(this.#budget, bytesPerSecond * burstSeconds);
    this.#lookedAt = now;
    this.#written = bytesWritten;
    return this.#budget;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(limits.cleaningPauseMilliseconds, resolve);
      this.#wakeUp = () => {
        cancel();
        resolve();
      };
    });
  }
}
