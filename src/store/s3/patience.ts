/**
 * How long and in which rhythm a request is made again: pauses by full jitter, up to a bound after
 * which the caller hears of the last failure. One Patience belongs to one step (one page, one
 * object), so that what was done before is not done again.
 */
import type { Clock } from '../../lib/clock.ts';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { s3PauseMilliseconds, s3PauseMillisecondsMax } from '../../lib/limits.ts';
import type { Random } from '../../lib/random.ts';
import type { StoreObserver } from '../store-counts.ts';

export interface PatienceParts {
  readonly clock: Clock;
  readonly random: Random;
  /** The bound, as it is at the moment. */
  readonly millisecondsMax: () => number;
  readonly closing: Closing;
  readonly observer: StoreObserver;
}

/** Ends all pauses of a store when it is closed. */
export class Closing {
  #isClosed = false;
  readonly #wakes = new Set<() => void>();

  get isClosed(): boolean {
    return this.#isClosed;
  }

  close(): void {
    this.#isClosed = true;
    for (const wake of this.#wakes) wake();
  }

  pause(clock: Clock, milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#wakes.delete(wake);
        cancel();
        resolve();
      };
      const cancel = clock.after(milliseconds, wake);
      this.#wakes.add(wake);
    });
  }
}

export class Patience {
  readonly #parts: PatienceParts;
  readonly #started: number;
  #attempts = 0;

  constructor(parts: PatienceParts) {
    this.#parts = parts;
    this.#started = parts.clock.monotonic();
  }

  /** Returns after a pause, or throws what the caller is to hear. */
  async afterFailure(failure: unknown): Promise<void> {
    const { clock, random, millisecondsMax, closing, observer } = this.#parts;
    this.#attempts++;
    const bound = Math.min(s3PauseMilliseconds * 2 ** Math.min(this.#attempts - 1, 20), s3PauseMillisecondsMax);
    const [low = 0, high = 0] = random.bytes(2);
    const pause = (bound * (low + 256 * high)) / 65_536;
    const waited = clock.monotonic() - this.#started;
    if (closing.isClosed) throw closed();
    if (waited + pause > millisecondsMax()) throw this.#exhausted(failure, waited);
    await closing.pause(clock, pause);
    if (closing.isClosed) throw closed();
    observer.retried();
  }

  #exhausted(failure: unknown, waited: number): CaissonError {
    const seconds = Math.round(waited / 1000);
    return new CaissonError(
      'transient',
      'store-unreachable',
      `the store gave no usable answer for ${seconds} s, ${this.#attempts} times: ${messageOf(failure)}`,
      {
        remedy: 'Check the endpoint, the network and the server; then try again.',
        details: { seconds, attempts: this.#attempts },
        cause: failure,
      },
    );
  }
}

export function closed(): CaissonError {
  return new CaissonError('closed', 'store-closed', 'the store was closed');
}
