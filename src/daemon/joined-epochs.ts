/**
 * The capability epochs of volumes, joined with those that brokers keep (spec/capability-format.md, section 5).
 *
 * Invariants: what is known of an epoch only rises; of a volume with a broker nothing is known before the broker has
 * answered, nor when it has not answered for long.
 */
import type { Clock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import { capabilityEpochFreshMilliseconds, capabilityEpochStaleMilliseconds } from '../lib/limits.ts';
import type { CapabilityEpochs } from './capability-epochs.ts';

/** Of one broker: raises the epoch to what is known here where it is lower, and tells it. */
export type AskBroker = (volumeId: string, atLeast: number) => Promise<number>;

export interface JoinedEpochsOptions {
  readonly files: Pick<CapabilityEpochs, 'of' | 'raise' | 'raiseTo'>;
  /** Undefined where no broker has to do with the volume. */
  readonly brokerOf: (volumeId: string) => AskBroker | undefined;
  readonly clock: Pick<Clock, 'monotonic'>;
}

export class JoinedEpochs {
  readonly #options: JoinedEpochsOptions;
  readonly #answeredAt = new Map<string, number>();
  readonly #asking = new Map<string, Promise<void>>();

  constructor(options: JoinedEpochsOptions) {
    this.#options = options;
  }

  of(volumeId: string): number {
    const { files, brokerOf } = this.#options;
    if (brokerOf(volumeId) !== undefined && this.#age(volumeId) > capabilityEpochStaleMilliseconds)
      throw new CaissonError('transient', 'broker-unreachable', 'the broker has not said which capabilities hold', {
        remedy: 'Bring the broker back.',
      });
    return files.of(volumeId);
  }

  /** Asks the broker, where there is one and it was not asked just now. */
  async refresh(volumeId: string): Promise<void> {
    if (this.#age(volumeId) > capabilityEpochFreshMilliseconds) await this.#ask(volumeId);
  }

  /** `isTold` is false where the broker did not hear of it; it will with the next question. */
  async raise(volumeId: string): Promise<{ readonly epoch: number; readonly isTold: boolean }> {
    const { files } = this.#options;
    const raised = files.raise(volumeId);
    try {
      // What is under way may have left before.
      await this.#asking.get(volumeId);
      await this.#ask(volumeId);
    } catch {
      return { epoch: raised, isTold: false };
    }
    return { epoch: files.of(volumeId), isTold: true };
  }

  #age(volumeId: string): number {
    return this.#options.clock.monotonic() - (this.#answeredAt.get(volumeId) ?? Number.NEGATIVE_INFINITY);
  }

  async #ask(volumeId: string): Promise<void> {
    const ask = this.#options.brokerOf(volumeId);
    if (ask === undefined) return;
    const pending = this.#asking.get(volumeId) ?? this.#askOnce(volumeId, ask);
    this.#asking.set(volumeId, pending);
    try {
      await pending;
    } finally {
      if (this.#asking.get(volumeId) === pending) this.#asking.delete(volumeId);
    }
  }

  async #askOnce(volumeId: string, ask: AskBroker): Promise<void> {
    const { files, clock } = this.#options;
    const askedAt = clock.monotonic();
    files.raiseTo(volumeId, await ask(volumeId, files.of(volumeId)));
    this.#answeredAt.set(volumeId, askedAt);
  }
}
