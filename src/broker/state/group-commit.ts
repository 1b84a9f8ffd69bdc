/**
 * Group commit: commits that wait while a transaction runs share the next one. Owns the queue and the
 * counters; what a transaction does is given.
 *
 * Invariants: one transaction at a time; commits enter in the order in which they came; each is answered
 * once, after the transaction that holds it is durable or gone.
 */
import { CaissonError } from '../../lib/errors.ts';
import { brokerCommitsWaitingMax, brokerGroupCommitsMax } from '../../lib/limits.ts';
import type { Commit, CommitReceipt, DatabaseCounters } from './broker-database.ts';
import { isAlone } from './commit-plan.ts';
import type { Outcome } from './commit-plan.ts';

export interface GroupResult {
  /** One for each commit of the group, in their order. */
  readonly outcomes: readonly Outcome[];
  readonly logSize: number;
}

interface Waiting {
  readonly change: Commit;
  readonly resolve: (receipt: CommitReceipt) => void;
  readonly reject: (reason: unknown) => void;
}

export class GroupCommit {
  readonly #transaction: (group: readonly Commit[]) => Promise<GroupResult>;
  readonly #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #isClosed = false;
  #commits = 0;
  #refusals = 0;
  #groups = 0;
  #groupCommitsLargest = 0;
  #logSize: number;
  #groupSeconds = 0;

  /** `transaction` throws only when none of the group is there, or nobody knows. */
  constructor(logSize: number, transaction: (group: readonly Commit[]) => Promise<GroupResult>) {
    this.#logSize = logSize;
    this.#transaction = transaction;
  }

  get counters(): DatabaseCounters {
    return {
      commits: this.#commits,
      refusals: this.#refusals,
      groups: this.#groups,
      groupCommitsLargest: this.#groupCommitsLargest,
      commitsWaiting: this.#waiting.length,
      logSize: this.#logSize,
      groupSeconds: this.#groupSeconds,
    };
  }

  commit(change: Commit): Promise<CommitReceipt> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw databaseClosed();
      if (this.#waiting.length >= brokerCommitsWaitingMax) throw queueFull();
      this.#waiting.push({ change, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Resolves once everything that was asked for before is answered. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      // Requests that arrived with this one are still being read: they get into the same group.
      await new Promise((resolve) => setImmediate(resolve));
      await this.#runGroup(this.#takeGroup());
    }
    this.#running = undefined;
  }

  #takeGroup(): Waiting[] {
    const alone = this.#waiting.findIndex(({ change }) => isAlone(change));
    const before = alone < 0 ? this.#waiting.length : Math.max(alone, 1);
    return this.#waiting.splice(0, Math.min(before, brokerGroupCommitsMax));
  }

  async #runGroup(group: readonly Waiting[]): Promise<void> {
    const started = performance.now();
    try {
      const { outcomes, logSize } = await this.#transaction(group.map(({ change }) => change));
      this.#logSize = logSize;
      this.#groups++;
      this.#groupCommitsLargest = Math.max(this.#groupCommitsLargest, group.length);
      for (const [index, { resolve, reject }] of group.entries()) {
        const outcome = outcomes[index]!;
        if ('receipt' in outcome) {
          this.#commits++;
          resolve(outcome.receipt);
        } else {
          this.#refusals++;
          reject(outcome.refusal);
        }
      }
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
    this.#groupSeconds += (performance.now() - started) / 1000;
  }
}

export function databaseClosed(): CaissonError {
  return new CaissonError('closed', 'store-closed', "the broker's database was closed");
}

function queueFull(): CaissonError {
  return new CaissonError(
    'transient',
    'rate-limited',
    `${brokerCommitsWaitingMax} changes wait for the database already`,
    { remedy: 'Try again in a moment.', details: { commitsWaitingMax: brokerCommitsWaitingMax } },
  );
}
