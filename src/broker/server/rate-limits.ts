/** Token buckets by name, such as a client's address; a bounded number of them. */
import { CaissonError } from '../../lib/errors.ts';
import { brokerRateEntriesMax } from '../../lib/broker-limits.ts';

export interface RateLimit {
  /** What comes back in a second. */
  readonly perSecond: number;
  /** What may be used at once after a pause. */
  readonly burst: number;
}

interface Bucket {
  tokens: number;
  at: number; // monotonic milliseconds
}

export class RateLimiter {
  readonly #limit: RateLimit;
  readonly #monotonic: () => number;
  readonly #buckets = new Map<string, Bucket>();

  constructor(limit: RateLimit, monotonic: () => number) {
    this.#limit = limit;
    this.#monotonic = monotonic;
  }

  /** Takes one token; `rate-limited` where there is none, with the seconds until there is. */
  take(name: string): void {
    const now = this.#monotonic();
    const bucket = this.#bucket(name, now);
    const { perSecond, burst } = this.#limit;
    bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) / 1000) * perSecond);
    bucket.at = now;
    if (bucket.tokens >= 1) {
      bucket.tokens--;
      return;
    }
    const seconds = Math.ceil((1 - bucket.tokens) / perSecond);
    throw new CaissonError('transient', 'rate-limited', 'too many requests', {
      remedy: `Try again in ${seconds} s.`,
      details: { seconds },
    });
  }

  /** The bucket used last is the last of the map, so the first is the one that has been idle longest. */
  #bucket(name: string, now: number): Bucket {
    const found = this.#buckets.get(name);
    const bucket = found ?? { tokens: this.#limit.burst, at: now };
    if (found !== undefined) this.#buckets.delete(name);
    else if (this.#buckets.size >= brokerRateEntriesMax) {
      const [idle] = this.#buckets.keys();
      if (idle !== undefined) this.#buckets.delete(idle);
    }
    this.#buckets.set(name, bucket);
    return bucket;
  }
}

/** At most so many at one time, and so many that wait for their turn. */
export class Gate {
  readonly #runningMax: number;
  readonly #waitingMax: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(runningMax: number, waitingMax: number) {
    this.#runningMax = runningMax;
    this.#waitingMax = waitingMax;
  }

  async run<Value>(work: () => Promise<Value>): Promise<Value> {
    await this.#enter();
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  async #enter(): Promise<void> {
    if (this.#running < this.#runningMax) {
      this.#running++;
      return;
    }
    if (this.#waiting.length >= this.#waitingMax) {
      throw new CaissonError('transient', 'rate-limited', 'this broker has as many releases under way as it takes', {
        remedy: 'Try again in a second.',
        details: { seconds: 1 },
      });
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** The place is handed over, not given back. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#running--;
    else next();
  }
}
