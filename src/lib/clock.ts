/** Time, injected: the simulator replaces it, nothing else in lib..volume asks the system. */
export interface Clock {
  /** Milliseconds that only go forward; the origin is arbitrary. */
  monotonic(): number;
  /** Milliseconds since 1970, for people only; no decision may rest on it. */
  wall(): number;
  /** Calls back once after `milliseconds`; returns the function that cancels it. Does not keep the process alive. */
  after(milliseconds: number, callback: () => void): () => void;
  /** Resolves once other work that is ready had its turn: long loops await it now and then. */
  turn(): Promise<void>;
}

export const systemClock: Clock = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
  after(milliseconds, callback) {
    const timer = setTimeout(callback, milliseconds);
    timer.unref();
    return () => clearTimeout(timer);
  },
  turn: () => new Promise((resolve) => setImmediate(resolve)),
};

/** As `systemClock`, but its waits keep the process alive: for pauses inside work that somebody waits for. */
export const patientClock: Clock = {
  ...systemClock,
  after(milliseconds, callback) {
    const timer = setTimeout(callback, milliseconds);
    return () => clearTimeout(timer);
  },
};
