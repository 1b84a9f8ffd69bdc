/**
 * Cleaner: gives space back while the volume is in use (docs/cleaning-and-rekey.md). It chooses segments with little
 * live data, has what is live of them sealed anew (segment-mover.ts) and hands the emptied ones to the next checkpoint,
 * whose manifest drops them; they are deleted once that manifest is anchored.
 *
 * Invariants:
 * - Counts of live blocks only choose. A segment counts as emptied when its own authenticated directory was compared
 *   with the map unit by unit, and then only for a checkpoint that froze the map afterwards.
 * - A segment that cannot be read or authenticated is kept, and reported.
 * - What it writes are ordinary records: a crash at any time leaves copies that replay like any other write.
 */
import { recountUsage, rewritePages } from '../block-map/map-scan.ts';
import { CaissonError, messageOf } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import * as limits from '../lib/limits.ts';
import { PinnedNumbers } from '../manifest/pinned-numbers.ts';
import {
  blockBytes,
  directoryEntryBytes,
  recordEntriesMax,
  recordHeaderBytes,
  tagBytes,
} from '../segment/segment-format.ts';
import { firstBatch, planAll, planCleaning, type CleaningPlan, type SegmentFacts } from './cleaning-plan.ts';
import { CleaningPace } from './cleaning-pace.ts';
import { RekeyProgress } from './rekey-progress.ts';
import { SegmentMover } from './segment-mover.ts';
import type { RangeLocks } from './range-locks.ts';
import type { VolumeCore } from './volume-core.ts';
import type { CleanOptions, CleanReport, Progress, VerifyFinding } from './volume-types.ts';
import type { WriteLog } from './write-log.ts';

export interface CleanerOptions {
  readonly core: VolumeCore;
  readonly log: WriteLog;
  readonly locks: RangeLocks;
  /** Throws when the volume takes no writes. */
  readonly check: () => void;
  /** Publishes everything written so far, emptied segments included. */
  readonly checkpoint: () => Promise<void>;
  readonly pressure: () => Promise<void> | undefined;
  /** Requests of the volume's users so far, and what they wrote. */
  readonly activity: () => { readonly requests: number; readonly bytesWritten: number };
  /** Bytes of segments that no manifest names yet. */
  readonly unpublishedBytes: () => number;
  /** What an error comes from, if another writer has the volume by now. */
  readonly explain: (error: unknown) => Promise<unknown>;
  /** Nothing live is sealed under a key older than the epoch asked for: says so in a manifest. */
  readonly finishRekey: () => Promise<void>;
}

/** What a live block takes in a segment: sealed, with its share of record header and directory. */
const blockCostBytes = blockBytes + tagBytes + directoryEntryBytes + Math.ceil(recordHeaderBytes / recordEntriesMax);

export class Cleaner {
  readonly #options: CleanerOptions;
  readonly #core: VolumeCore;
  readonly #mover: SegmentMover;
  readonly #pace: CleaningPace;
  /** Nothing points at these any more; the next checkpoint drops them. */
  #emptied: number[] = [];
  /** Emptied already. By entry, because indexes are used again. */
  readonly #settled = new WeakSet<object>();
  /** Kept because they could not be read or did not authenticate; tried again when somebody asks. */
  #refused = new WeakSet<object>();
  #findings: VerifyFinding[] = [];
  #running: Promise<void> | undefined;
  #isStopped = false;
  #wokenMeanwhile = false;
  #cancelTimer: (() => void) | undefined;
  readonly rekey: RekeyProgress;
  segmentsCleaned = 0;
  /** Of the segments that were given up. */
  cleanedBytes = 0;
  /** Of the blocks that were sealed anew. */
  copiedBytes = 0;

  constructor(options: CleanerOptions) {
    this.#options = options;
    this.#core = options.core;
    this.rekey = new RekeyProgress(options.core);
    this.#pace = new CleaningPace({
      clock: options.core.environment.clock,
      bytesPerSecond: options.core.tuning.cleaningBytesPerSecond,
      activity: options.activity,
      pressure: options.pressure,
      check: () => this.#check(),
    });
    this.#mover = new SegmentMover({
      core: options.core,
      log: options.log,
      locks: options.locks,
      check: () => this.#check(),
      pace: (bytes) => this.#pace.spend(bytes),
    });
  }

  /** Something changed: looks in the background whether there is work. Cheap when there is none. */
  wake(): void {
    if (this.#isStopped) return;
    if (this.#running !== undefined) this.#wokenMeanwhile = true;
    else if (this.#isAutomatic || this.rekey.isRunning) void this.#start(() => this.#runInBackground());
  }

  /** Looks once the volume has been idle for a while: after an opening, or when only the quiet goal is missed. */
  wakeWhenIdle(): void {
    if (this.#isStopped || !this.#isAutomatic) return;
    this.#cancelTimer ??= this.#core.environment.clock.after(limits.idleMilliseconds, () => {
      this.#cancelTimer = undefined;
      this.wake();
    });
  }

  /** What writers wait for while space runs away. */
  pressure(): Promise<void> | undefined {
    return this.#running === undefined || !this.#pace.isBehind ? undefined : this.#pace.nextStep();
  }

  /** For the checkpoint that freezes the map in this very turn. */
  takeEmptied(): number[] {
    const emptied = this.#emptied;
    this.#emptied = [];
    return emptied;
  }

  /** Cleans now and to the end; with `all` every segment that holds garbage at this moment. */
  async clean(options: CleanOptions = {}): Promise<Omit<CleanReport, 'orphansRemoved'>> {
    const before = { segments: this.segmentsCleaned, bytes: this.cleanedBytes, copied: this.copiedBytes };
    await this.#inForeground(() => this.#runOnDemand(options));
    return {
      segmentsCleaned: this.segmentsCleaned - before.segments,
      cleanedBytes: this.cleanedBytes - before.bytes,
      copiedBytes: this.copiedBytes - before.copied,
      findings: this.#findings,
    };
  }

  /** Does now what is left of a rekey. */
  async rekeyNow(onProgress: Progress | undefined): Promise<void> {
    const { bytesAtStart = 0 } = this.rekey.info() ?? {};
    await this.#inForeground(() => this.#runRekey(onProgress));
    if (!this.rekey.isRunning) onProgress?.(bytesAtStart, bytesAtStart, 'bytes');
    const finding = this.#findings[0];
    if (!this.rekey.isRunning || finding === undefined) return;
    throw new CaissonError(
      'integrity',
      'unit-tampered',
      `the rekey cannot be completed: segment ${finding.object} could not be sealed anew: ${finding.message}`,
      {
        remedy:
          'All else is sealed under the new key. Run `caisson volume verify`, restore the object named, then rekey again.',
        details: { object: finding.object, findings: this.#findings.length },
      },
    );
  }

  /** Somebody waits for `work`, and so for what is running. */
  async #inForeground(work: () => Promise<void>): Promise<void> {
    this.#pace.hurries++;
    this.#pace.wake();
    try {
      while (this.#running !== undefined) await this.#running.catch(() => undefined);
      this.#check();
      this.#findings = [];
      this.#refused = new WeakSet();
      await this.#start(work);
    } finally {
      this.#pace.hurries--;
    }
  }

  /** Ends what is running at the next step; nothing begins any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelTimer?.();
    this.#pace.wake();
    await this.#running?.catch(() => undefined);
    this.#emptied = [];
  }

  get #isAutomatic(): boolean {
    return this.#core.tuning.cleaningBytesPerSecond > 0;
  }

  #start(work: () => Promise<void>): Promise<void> {
    this.#wokenMeanwhile = false;
    // Not at once: what the work begins with may wake us, and must find that something is running.
    const running = Promise.resolve()
      .then(work)
      .catch((error: unknown) => {
        if (this.#isStopped) return;
        this.#warn('cleaning was interrupted; it goes on later', error);
        throw error;
      })
      .finally(() => {
        this.#running = undefined;
        this.#mover.rest();
        this.#pace.rest();
        if (this.#wokenMeanwhile) this.wake();
      });
    running.catch(() => undefined); // in the background nobody waits
    this.#running = running;
    return running;
  }

  #check(): void {
    if (this.#isStopped) throw new CaissonError('closed', 'volume-closed', 'the volume is being closed');
    this.#options.check();
  }

  async #runInBackground(): Promise<void> {
    // In a turn of its own: a segment fills up in the middle of a write.
    await this.#core.environment.clock.turn();
    await this.#runRekey();
    if (!this.#isAutomatic) return;
    for (;;) {
      this.#check();
      const isIdle = this.#pace.isIdle();
      if (this.#needsRecount()) await this.#recount();
      const plan = this.#plan(isIdle);
      this.#pace.isUrgent = plan.isUrgent;
      this.#pace.isBehind = plan.isBehind;
      if (plan.publish) await this.#options.checkpoint();
      else if (plan.segments.length > 0) await this.#empty(plan.segments);
      else if (isIdle && (await this.#cleanMap())) continue;
      else {
        if (!isIdle && hasWork(this.#plan(true))) this.wakeWhenIdle();
        return;
      }
    }
  }

  async #runOnDemand({ all = false, onProgress }: CleanOptions): Promise<void> {
    await this.#options.checkpoint();
    if (all || this.#core.map.usage.uncountedLeaves > 0) await this.#recount();
    const wanted = new Set(all ? planAll(this.#facts()).map(({ index }) => this.#core.table.get(index)) : []);
    let done = 0;
    for (;;) {
      this.#check();
      const left = this.#facts().filter(({ index }) => wanted.has(this.#core.table.get(index)));
      const plan = all ? { segments: firstBatch(left, this.#batchBytesMax()), publish: false } : this.#plan(true);
      if (plan.publish) await this.#options.checkpoint();
      if (plan.segments.length === 0) {
        if (!plan.publish) break;
        continue;
      }
      const total = done + sumBytes(all ? left : plan.segments);
      for (const segment of plan.segments) {
        await this.#emptyOne(segment);
        onProgress?.((done += segment.bytes), total, 'bytes');
      }
      await this.#options.checkpoint();
    }
    await this.#cleanMap();
  }

  #plan(isIdle: boolean): CleaningPlan {
    const { tuning } = this.#core;
    return planCleaning({
      segments: this.#facts(),
      unpublished: { bytes: this.#options.unpublishedBytes(), liveBytes: this.#unpublishedLiveBytes() },
      isIdle,
      slackBytes: tuning.cleaningSlackBytes,
      segmentBytesMax: tuning.segmentBytesMax,
      batchBytesMax: this.#batchBytesMax(),
      burstBytesMax: tuning.unpublishedBytesMax / 8,
    });
  }

  /** What cleaning may take in space, and how far apart its checkpoints are: each writes the changed part of the map. */
  #batchBytesMax(): number {
    const { tuning, map } = this.#core;
    const live = map.usage.totalBlocks * blockBytes * limits.cleaningBatchShare;
    return Math.max(2 * tuning.segmentBytesMax, Math.min(live, tuning.unpublishedBytesMax / 4));
  }

  /**
   * Own segments that no snapshot and no clone needs, and those of which nothing is live: to empty any other frees
   * nothing, and these cost nothing but a look.
   */
  #facts(): SegmentFacts[] {
    const { table, published, map } = this.#core;
    const pins = new PinnedNumbers(published.pins);
    const facts: SegmentFacts[] = [];
    for (let index = 0; index < table.length; index++) {
      const entry = table.find(index);
      if (entry === undefined || !table.isSegment(index) || !table.isLive(index) || !table.isOwn(index)) continue;
      const blocks = map.usage.blocks(index);
      if (this.#isPassed(entry)) continue;
      if (blocks > 0 && pins.anyIn(entry.birth, Number.MAX_SAFE_INTEGER)) continue;
      facts.push({ index, bytes: entry.bytes, liveBytes: this.#liveBytes(entry.bytes, blocks) });
    }
    return facts;
  }

  #isPassed(entry: object): boolean {
    return this.#settled.has(entry) || this.#refused.has(entry);
  }

  #liveBytes(bytes: number, blocks: number): number {
    return Math.min(bytes, blocks * blockCostBytes);
  }

  #unpublishedLiveBytes(): number {
    const { table, map } = this.#core;
    let blocks = 0;
    for (let index = 0; index < table.length; index++)
      if (table.find(index)?.published === false && table.isSegment(index)) blocks += map.usage.blocks(index);
    return Math.min(blocks * blockCostBytes, this.#options.unpublishedBytes());
  }

  /** Empties the segments and has them dropped. */
  async #empty(segments: readonly SegmentFacts[]): Promise<void> {
    for (const segment of segments) await this.#emptyOne(segment);
    if (this.#emptied.length > 0) await this.#options.checkpoint();
  }

  async #emptyOne({ index }: Pick<SegmentFacts, 'index'>): Promise<void> {
    this.#check();
    const { table, map } = this.#core;
    const entry = table.find(index);
    if (entry === undefined || !table.isLive(index)) return;
    try {
      this.copiedBytes += await this.#mover.move(index);
    } catch (error) {
      this.#check();
      const reason = await this.#options.explain(error);
      if (reason instanceof CaissonError && (reason.kind === 'fenced' || reason.kind === 'full')) throw reason;
      this.#refuse(index, reason);
      return;
    }
    // Fail-closed: exact counts that find something where the directory named nothing mean that one of them is wrong.
    if (map.usage.isExact && map.usage.blocks(index) > 0) {
      this.#refuse(
        index,
        new CaissonError('integrity', 'unit-tampered', 'the map names blocks that its directory does not'),
      );
      return;
    }
    this.#emptied.push(index);
    this.#settled.add(entry);
    this.segmentsCleaned++;
    this.cleanedBytes += entry.bytes;
  }

  #refuse(index: number, error: unknown): void {
    const entry = this.#core.table.get(index);
    this.#refused.add(entry);
    const object = toHex(entry.id);
    const code = error instanceof CaissonError ? error.code : 'store-io';
    if (this.#findings.length < limits.cleaningFindingsMax)
      this.#findings.push({ code, object, message: messageOf(error) });
    this.#core.environment.log?.('error', 'a segment could not be cleaned and is kept', {
      segment: object,
      code,
      error: messageOf(error),
    });
  }

  /** Counts that are too high hide garbage: past a twentieth of the data it pays to read the map once. */
  #needsRecount(): boolean {
    const { usage } = this.#core.map;
    return usage.uncountedLeaves > 0 && usage.uncountedLeaves * 1024 * 20 > usage.totalBlocks;
  }

  async #recount(): Promise<void> {
    const { map, mapLoader } = this.#core;
    await recountUsage(map, mapLoader, () => this.#pace.turn());
  }

  /** Map objects with few live pages: their pages are written anew. False when there is nothing to gain. */
  async #cleanMap(): Promise<boolean> {
    const { table, pageCounts, published } = this.#core;
    const pins = new PinnedNumbers(published.pins);
    const sparse = new Set<number>();
    let bytes = 0;
    let liveBytes = 0;
    for (const [index, pages] of pageCounts) {
      const entry = table.find(index);
      if (entry?.published !== true || !table.isOwn(index) || pins.anyIn(entry.birth, Number.MAX_SAFE_INTEGER))
        continue;
      const live = Math.min(entry.bytes, pages * 8208);
      bytes += entry.bytes;
      liveBytes += live;
      if (live < entry.bytes / 2) sparse.add(index);
    }
    if (sparse.size === 0 || bytes < (liveBytes * limits.mapCleaningPercent) / 100 + limits.mapCleaningSlackBytes)
      return false;
    const pages = await rewritePages(this.#core.map, sparse, () => this.#pace.turn());
    await this.#options.checkpoint();
    return pages > 0;
  }

  /** Seals anew what older keys sealed: segments first, then what is left of the map, then the manifest that says so. */
  async #runRekey(onProgress?: Progress): Promise<void> {
    while (this.rekey.isRunning) {
      this.#check();
      this.rekey.report(onProgress);
      const old = this.rekey.oldSegments();
      const segments = old.filter((index) => !this.#isPassed(this.#core.table.get(index)));
      if (segments.length > 0) {
        const facts = segments.map((index) => this.#factsOf(index));
        await this.#empty(firstBatch(facts, this.#batchBytesMax()));
        continue;
      }
      if (old.length > 0) {
        // What could not be read keeps its key, and the rekey stays open: the finding was reported. Nothing is published
        // for it: the end of a checkpoint brings us here again.
        if (this.#emptied.length === 0) return;
        await this.#options.checkpoint();
        continue;
      }
      const pages = this.rekey.oldMapObjects();
      if (pages.size > 0) {
        await rewritePages(this.#core.map, pages, () => this.#pace.turn());
        await this.#options.checkpoint();
        continue;
      }
      if (this.rekey.hasUnpublished()) {
        await this.#options.checkpoint();
        continue;
      }
      await this.#options.finishRekey();
    }
  }

  #factsOf(index: number): SegmentFacts {
    const { bytes } = this.#core.table.get(index);
    return { index, bytes, liveBytes: this.#liveBytes(bytes, this.#core.map.usage.blocks(index)) };
  }

  #warn(message: string, error: unknown): void {
    this.#core.environment.log?.('warn', message, { error: messageOf(error) });
  }
}

function hasWork(plan: CleaningPlan): boolean {
  return plan.publish || plan.segments.length > 0;
}

function sumBytes(segments: readonly SegmentFacts[]): number {
  return segments.reduce((total, segment) => total + segment.bytes, 0);
}
