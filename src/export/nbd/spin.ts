/**
 * Adaptive spin: after a small batch the event loop stays awake for some microseconds, so that the
 * next request of a client at depth one is picked up without waking a sleeping processor.
 *
 * It never spins while a flush is pending: the processor is then needed by the disk's side.
 */
import type { Clock } from '../../lib/clock.ts';

export class Spinner {
  readonly #clock: Clock;
  readonly #milliseconds: number;
  #deadline = 0;
  #spinning = false;
  #flushesPending = 0;
  readonly #turn = (): void => {
    if (this.#flushesPending > 0 || this.#clock.monotonic() >= this.#deadline) this.#spinning = false;
    else setImmediate(this.#turn);
  };

  constructor(clock: Clock, microseconds: number) {
    this.#clock = clock;
    this.#milliseconds = microseconds / 1000;
  }

  /** A batch at low depth was answered. */
  arm(): void {
    if (this.#milliseconds === 0 || this.#flushesPending > 0) return;
    this.#deadline = this.#clock.monotonic() + this.#milliseconds;
    if (this.#spinning) return;
    this.#spinning = true;
    setImmediate(this.#turn);
  }

  /** Passes `flush` on and keeps from spinning until it settles. */
  during(flush: Promise<void>): Promise<void> {
    this.#flushesPending += 1;
    return flush.finally(() => {
      this.#flushesPending -= 1;
      // The client at depth one sends its next request as soon as it has this answer.
      this.arm();
    });
  }
}
