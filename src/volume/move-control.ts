/**
 * MoveControl: an open volume's end of a move (mover.ts): one at a time, and the moment in which writers are held.
 *
 * Invariant: while the volume is held nothing is appended to its log and no FLUSH is answered; whoever asks waits.
 */
import { CaissonError } from '../lib/errors.ts';
import type { Store, WriterLock } from '../store/store.ts';
import { Mover, type MoverOptions } from './mover.ts';
import type { RangeLocks } from './range-locks.ts';
import type { MoveOptions, MoveReport } from './volume-types.ts';

export interface MoveControlOptions extends Omit<MoverOptions, 'publishHeld' | 'sourceLock'> {
  readonly locks: RangeLocks;
  readonly lock: () => WriterLock;
  /** Throws when the volume takes no writes. */
  readonly check: () => void;
  /** Publishes a manifest of kind `move`, then runs `act` before anything else is published; neither fails for `act`. */
  readonly publish: (act: () => Promise<void>) => Promise<void>;
}

export class MoveControl {
  readonly #options: MoveControlOptions;
  #mover: Mover | undefined;
  #held: Promise<void> | undefined;

  constructor(options: MoveControlOptions) {
    this.#options = options;
  }

  /** What writers and FLUSH wait for while the volume is between two stores. */
  get held(): Promise<void> | undefined {
    return this.#held;
  }

  async move(target: Store, wanted: MoveOptions = {}): Promise<MoveReport> {
    const { check, lock } = this.#options;
    check();
    if (this.#mover !== undefined)
      throw new CaissonError('transient', 'volume-busy', 'the volume is being moved already');
    const publishHeld = (act: () => Promise<void>): Promise<void> => this.#publishHeld(act);
    this.#mover = new Mover({ ...this.#options, sourceLock: lock(), publishHeld }, target, wanted);
    try {
      return await this.#mover.run();
    } finally {
      this.#mover = undefined;
    }
  }

  pressure(): Promise<void> | undefined {
    return this.#held ?? this.#mover?.pressure();
  }

  async stop(): Promise<void> {
    await this.#mover?.stop();
  }

  async #publishHeld(act: () => Promise<void>): Promise<void> {
    const { locks, publish } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#held = promise;
    // For everybody else the whole volume is one write in several steps.
    const release = await locks.acquire(0, Number.MAX_SAFE_INTEGER);
    let failure: { readonly error: unknown } | undefined;
    try {
      await publish(() =>
        act().catch((error: unknown) => {
          failure = { error };
        }),
      );
    } finally {
      release();
      this.#held = undefined;
      resolve();
    }
    if (failure !== undefined) throw failure.error;
  }
}
