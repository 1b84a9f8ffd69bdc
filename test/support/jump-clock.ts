/**
 * A clock for code that talks to a real socket and waits long: each wait passes at once and moves the time by
 * its length, unless the clock was stopped.
 */
import type { Clock } from '../../src/lib/clock.ts';

export class JumpClock implements Clock {
  isStopped = false;
  #now = 0;

  monotonic(): number {
    return this.#now;
  }

  wall(): number {
    return Date.now();
  }

  after(milliseconds: number, callback: () => void): () => void {
    const timer = setImmediate(() => {
      if (this.isStopped) return;
      this.#now += milliseconds;
      callback();
    });
    return () => clearImmediate(timer);
  }

  turn(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }
}
