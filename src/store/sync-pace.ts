/**
 * SyncPace: whether the next small fdatasync of a file is worth a trip through the thread pool.
 *
 * A trip costs two wake-ups, 40 to 100 us, and wins only if other work can use the wait. A disk that
 * answers small syncs in a fraction of a millisecond is waited for in place; the first slow answer
 * sends the following ones to the pool, until as many quick ones have come back from there.
 */

/** More than this is written for longer than waiting in place is worth. */
const smallBytesMax = 256 * 1024;
const quickMillisecondsMax = 0.6;
const slowMillisecondsMin = 2;
/** Quick answers from the pool before the next wait in place. */
const quickAnswersMin = 8;
/** As many after a slow answer. */
const quickAnswersAfterSlow = 64;

export class SyncPace {
  #quickAnswersMissing = quickAnswersMin;
  #average = quickMillisecondsMax;

  isQuick(bytes: number): boolean {
    return bytes <= smallBytesMax && this.#quickAnswersMissing === 0 && this.#average <= quickMillisecondsMax;
  }

  /** A sync of `bytes` took that long, the pool's wake-ups included. */
  note(bytes: number, milliseconds: number): void {
    if (bytes > smallBytesMax) return;
    this.#average += (milliseconds - this.#average) / 8;
    if (milliseconds >= slowMillisecondsMin) this.#quickAnswersMissing = quickAnswersAfterSlow;
    else if (this.#quickAnswersMissing > 0 && milliseconds <= quickMillisecondsMax) this.#quickAnswersMissing--;
  }
}
