/**
 * What a process counts of its stores on other machines and of the read cache in front of them: plain numbers, which
 * cost next to nothing while nobody asks. They belong to the process: a store that is opened again goes on with its own.
 *
 * Invariants: numbers only grow, but for those that say what is held; at most `storeCountsPlacesMax` places have numbers
 * of their own, and all others share one set.
 */
import { storeCountsPlacesMax } from '../lib/limits.ts';

/** `read` takes a range of an immutable object, `get` a small object whole. */
export const storeOperations = ['get', 'read', 'head', 'put', 'delete', 'list'] as const;
export type StoreOperation = (typeof storeOperations)[number];

/**
 * How one request ended: `condition`: the object is not what the request said it must be; `throttled`: asked to come
 * later; `failed`: an error of the server's own; `unanswered`: no whole answer came.
 */
export const requestOutcomes = ['ok', 'missing', 'condition', 'refused', 'throttled', 'failed', 'unanswered'] as const;
export type RequestOutcome = (typeof requestOutcomes)[number];

/** Upper bounds of the latency histogram. */
export const latencyMilliseconds = [2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000, 60_000] as const;

/** Told by a store of what it asks and gets; each method returns at once and never throws. */
export interface StoreObserver {
  /** One request has ended; made again it is another. (A large read that is asked again at once, by node:http, is one.) */
  requested(operation: StoreOperation, outcome: RequestOutcome, milliseconds: number): void;
  /** A request is made once more. */
  retried(): void;
  /** Bytes of a request's body, as they left. */
  sent(bytes: number): void;
  /** Bytes of an answer's body, also of one that was cut off. */
  received(bytes: number): void;
}

export const noObserver: StoreObserver = {
  requested: () => undefined,
  retried: () => undefined,
  sent: () => undefined,
  received: () => undefined,
};

export interface OperationCounts {
  readonly outcomes: Record<RequestOutcome, number>;
  /** By the first bound that was not exceeded; the last is for what exceeded all. */
  readonly latencies: number[];
  milliseconds: number;
}

export class StoreTraffic implements StoreObserver {
  readonly operations: Readonly<Record<StoreOperation, OperationCounts>> = {
    get: noRequests(),
    read: noRequests(),
    head: noRequests(),
    put: noRequests(),
    delete: noRequests(),
    list: noRequests(),
  };
  retries = 0;
  sentBytes = 0;
  receivedBytes = 0;

  requested(operation: StoreOperation, outcome: RequestOutcome, milliseconds: number): void {
    const counts = this.operations[operation];
    counts.outcomes[outcome]++;
    counts.milliseconds += milliseconds;
    let bucket = 0;
    while (bucket < latencyMilliseconds.length && milliseconds > latencyMilliseconds[bucket]!) bucket++;
    counts.latencies[bucket]!++;
  }

  retried(): void {
    this.retries++;
  }

  sent(bytes: number): void {
    this.sentBytes += bytes;
  }

  received(bytes: number): void {
    this.receivedBytes += bytes;
  }
}

/** Of pieces of `readCacheChunkBytes`. */
export class ReadCacheCounts {
  hits = 0;
  /** Reads of a piece that had to wait for the store. */
  misses = 0;
  /** Pieces that made room for others. */
  evictions = 0;
  /** Disk that pieces take now, and the most they may take. */
  heldBytes = 0;
  bytesMax = 0;
}

export class StoreCounts {
  /** Of the read cache that the stores of the process share. */
  readonly readCache = new ReadCacheCounts();
  readonly #traffic = new Map<string, StoreTraffic>();

  trafficOf(storeUrl: string): StoreTraffic {
    const isNew = !this.#traffic.has(storeUrl);
    const place = isNew && this.#traffic.size >= storeCountsPlacesMax ? 'other' : storeUrl;
    const traffic = this.#traffic.get(place) ?? new StoreTraffic();
    this.#traffic.set(place, traffic);
    return traffic;
  }

  /** By the store's URL, which holds no secret. */
  traffic(): ReadonlyMap<string, StoreTraffic> {
    return this.#traffic;
  }
}

function noRequests(): OperationCounts {
  return {
    outcomes: { ok: 0, missing: 0, condition: 0, refused: 0, throttled: 0, failed: 0, unanswered: 0 },
    latencies: Array.from({ length: latencyMilliseconds.length + 1 }, () => 0),
    milliseconds: 0,
  };
}
