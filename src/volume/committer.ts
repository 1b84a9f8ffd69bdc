/**
 * Committer: what FLUSH and FUA wait for. One round at a time: everything appended is synced, the fence
 * is checked, and at level `anchored` the anchor is advanced; whoever asked before the round began is
 * answered, whoever asks meanwhile shares the next round.
 *
 * The fence: after the sync the head must still be ours. A writer that took over has changed the head
 * before it read the spool, so either it saw this data or this flush is refused; an acknowledged write
 * cannot fall between.
 */
import { isCaissonError } from '../lib/errors.ts';
import { fenced } from '../manifest/manifest.ts';
import type { Spool } from '../spool/spool.ts';
import { headKey } from '../store/paths.ts';
import type { AnchorKeeper } from './anchor-keeper.ts';
import { anchorStateOf, type VolumeCore } from './volume-core.ts';
import type { WriteLog } from './write-log.ts';

export class Committer {
  readonly #core: VolumeCore;
  readonly #log: WriteLog;
  readonly #spool: Spool;
  readonly #anchors: AnchorKeeper;
  readonly #persist: () => Promise<void>;
  #running = false;
  #waiting: PromiseWithResolvers<void>[] = [];
  /** A head swap of our own is in progress: the version read meanwhile proves nothing. */
  #swapping: Promise<unknown> | undefined;

  /** `persist` makes everything appended so far durable, at the volume's level but for the anchor, and checks the fence after it. */
  constructor(core: VolumeCore, log: WriteLog, spool: Spool, anchors: AnchorKeeper, persist: () => Promise<void>) {
    this.#core = core;
    this.#log = log;
    this.#spool = spool;
    this.#anchors = anchors;
    this.#persist = persist;
  }

  /** A round is waiting for the disk. */
  get busy(): boolean {
    return this.#running;
  }

  commit(): Promise<void> {
    const waiter = Promise.withResolvers<void>();
    this.#waiting.push(waiter);
    if (!this.#running) void this.#rounds();
    return waiter.promise;
  }

  /** Runs a swap of our own head; rounds check the fence before or after it, never in between. */
  async whileSwapping<T>(swap: () => Promise<T>): Promise<T> {
    const running = swap();
    this.#swapping = running.catch(() => undefined);
    try {
      return await running;
    } finally {
      this.#swapping = undefined;
    }
  }

  /** A writer that took over changes anchor and spool under us: then that is the failure to report. */
  async explain(error: unknown): Promise<unknown> {
    if (isCaissonError(error, 'volume-fenced')) return error;
    // The anchor is ahead of us: who took over need not have done so in this store.
    if (isCaissonError(error, 'rolled-back') || isCaissonError(error, 'forked')) return fenced(error);
    try {
      await this.checkFence();
    } catch (reason) {
      if (isCaissonError(reason, 'volume-fenced')) return fenced(error);
    }
    return error;
  }

  async #rounds(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#round();
        for (const waiter of batch) waiter.resolve();
      } catch (error) {
        const reason = await this.explain(error);
        this.#spool.fail(reason);
        for (const waiter of batch) waiter.reject(reason);
      }
    }
    this.#running = false;
  }

  async #round(): Promise<void> {
    await this.#persist();
    const state = anchorStateOf(this.#core, this.#log.durableSequence, this.#log.durableChain);
    if (this.#core.durability === 'anchored') await this.#anchors.advance(state);
    else if (state.sequence > this.#anchors.anchoredSequence) this.#anchors.advanceSoon(state);
  }

  /** Throws `volume-fenced` unless the head is still ours. */
  async checkFence(): Promise<void> {
    const { environment, prefix, published } = this.#core;
    for (;;) {
      if (this.#swapping !== undefined) await this.#swapping;
      const expected = published.headVersion;
      let version: string | undefined;
      try {
        version = await environment.store.version(headKey(prefix));
      } catch (error) {
        if (!isCaissonError(error, 'object-missing')) throw error;
      }
      if (version === expected) return;
      // Our own swap may have come between the two reads.
      if (this.#swapping === undefined && published.headVersion === expected) throw fenced(undefined);
    }
  }
}
