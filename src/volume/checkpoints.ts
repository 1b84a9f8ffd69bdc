/**
 * Checkpoints: when an open volume publishes what it wrote, and one publication at a time. It keeps the finished
 * segments that no manifest names yet, sends them ahead to stores beyond this machine, and decides when the next
 * manifest is due: by bytes once the volume is idle, by bytes in any case, by time since the first change.
 *
 * Invariant: what a publication states is frozen in the turn in which it starts; changes of pins and keys that
 * belong to it are made in that very turn.
 */
import { isCaissonError, type CaissonError } from '../lib/errors.ts';
import * as limits from '../lib/limits.ts';
import { HeadState } from '../manifest/head-format.ts';
import { ManifestKind } from '../manifest/manifest-format.ts';
import type { ManifestState } from '../manifest/state-format.ts';
import type { Spool } from '../spool/spool.ts';
import { segmentKey, spoolName } from '../store/paths.ts';
import type { AnchorKeeper } from './anchor-keeper.ts';
import type { Committer } from './committer.ts';
import { Publisher, type FinishedSegment, type PublishRequest } from './publisher.ts';
import { Uploader } from './uploader.ts';
import { anchorStateOf, swapCoreHead, type VolumeCore } from './volume-core.ts';
import type { OpenSegment, WriteLog } from './write-log.ts';

/** What a publication says besides the state. */
export type PublishExtras = Pick<PublishRequest, 'released' | 'mapKeyEpoch' | 'onBuilt'>;

export interface CheckpointsOptions {
  readonly core: VolumeCore;
  readonly spool: Spool;
  readonly log: WriteLog;
  readonly anchors: AnchorKeeper;
  readonly committer: Committer;
  /** Makes everything appended so far durable, whatever holds flushes back. */
  readonly commitNow: () => Promise<void>;
  /** Requests so far: a volume without new ones is idle. */
  readonly requests: () => number;
  /** Throws when the volume takes no writes. */
  readonly check: () => void;
  /** The volume is closing, or its first failure has latched it. */
  readonly isOver: () => boolean;
  readonly isClosing: () => boolean;
  /** Latches the volume; returns what it is latched by. */
  readonly latch: (error: unknown) => CaissonError;
  /** Segments that cleaning has emptied, for the publication that starts in this turn. */
  readonly takeEmptied: () => readonly number[];
  /** Cleaning looks again: something was finished or published. */
  readonly onChange: () => void;
}

export class Checkpoints {
  readonly #options: CheckpointsOptions;
  readonly #core: VolumeCore;
  readonly #publisher: Publisher;
  #uploader: Uploader | undefined;
  #finished: FinishedSegment[] = [];
  #running: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;
  #cancelIdle: (() => void) | undefined;
  /** Of finished segments that no manifest names yet. */
  unpublishedBytes = 0;
  count = 0;

  constructor(options: CheckpointsOptions) {
    this.#options = options;
    this.#core = options.core;
    this.#publisher = new Publisher(options.core);
    this.storeChanged();
  }

  /** For stores beyond this machine. */
  get uploader(): Uploader | undefined {
    return this.#uploader;
  }

  get running(): Promise<void> | undefined {
    return this.#running;
  }

  /** The volume goes on in another store; everything so far is published. */
  storeChanged(): void {
    this.#uploader = this.#core.environment.store.isRemote ? new Uploader(this.#options.spool) : undefined;
  }

  /** Resolves when none is running, however it ended. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => undefined);
  }

  /** Publishes once the one that is running has ended well; `change` runs in the turn in which the state is frozen. */
  async publish(kind: ManifestKind, change: () => PublishExtras = () => ({})): Promise<void> {
    this.#options.check();
    while (this.#running !== undefined) await this.#running;
    this.#options.check();
    await this.#start(kind, HeadState.open, change());
  }

  /** Publishes, then acts before anything else is published. */
  async publishAnd(kind: ManifestKind, act: () => Promise<void>): Promise<void> {
    // Asked again after the wait: whoever waited beside us may have begun one.
    while (this.#running !== undefined) await this.settled();
    this.#options.check();
    await this.#start(kind, HeadState.open, {}, act);
  }

  /** The last word of a writer: a manifest if anything changed, and in any case a head that says closed. */
  async close(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    const { log, committer } = this.#options;
    if (this.#finished.length > 0 || log.openBytes > 0) return this.#start(ManifestKind.close, HeadState.closed);
    const { published } = this.#core;
    await committer.whileSwapping(() => swapCoreHead(this.#core, HeadState.closed, published.number, published.digest));
  }

  /** The newest state becomes a pinned one; the volume is closed with it. */
  async rollBackTo(pinned: { readonly number: number; readonly state: ManifestState }): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    // Writes that were answered after the last checkpoint end here, as the owner wants it.
    this.#options.log.rotate();
    await this.#options.commitNow();
    for (const segment of this.#finished) segment.release();
    await this.#publisher.publishRollback(this.#requestOf(ManifestKind.rollback, HeadState.closed, []), pinned);
  }

  /** A segment is complete in memory. */
  segmentFinished(segment: OpenSegment): void {
    const core = this.#core;
    const bytes = segment.writer.position;
    const name = spoolName(segment.writer.segmentId);
    this.#finished.push({
      index: segment.index,
      segmentId: segment.writer.segmentId,
      spoolName: name,
      bytes,
      ...this.#upload(segment, bytes),
      digest: () => core.digester.digest(core.prefix, name, bytes),
      release: () => {
        this.#options.spool.forget(segment.entry);
        core.handles.release(segment.handle);
      },
    });
    this.unpublishedBytes += bytes;
    const { checkpointBytes, unpublishedBytesMax } = core.tuning;
    // In a turn of its own: a segment fills up in the middle of a write.
    if (this.unpublishedBytes >= unpublishedBytesMax / 2) queueMicrotask(() => this.#startInBackground());
    else if (this.unpublishedBytes >= checkpointBytes) this.#startWhenIdle();
    this.#options.onChange();
  }

  /** Something changed: the first change starts the clock of the next checkpoint. */
  noteChange(): void {
    if (this.#cancelTimer !== undefined) return;
    const { environment, tuning } = this.#core;
    this.#cancelTimer = environment.clock.after(tuning.checkpointMilliseconds, () => {
      this.#cancelTimer = undefined;
      this.#startInBackground();
    });
  }

  /** No checkpoint is due any more by time or idleness. */
  stopTimers(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#cancelIdle?.();
    this.#cancelIdle = undefined;
  }

  /** Publishes what is finished plus the open segment; the caller made sure that none is running. */
  #start(
    kind: ManifestKind,
    headState: HeadState,
    extras: PublishExtras = {},
    act: () => Promise<void> = () => Promise.resolve(),
  ): Promise<void> {
    const { log, committer, takeEmptied, latch, onChange } = this.#options;
    this.stopTimers();
    log.rotate();
    const segments = this.#finished;
    this.#finished = [];
    const running = this.#publisher
      .publish({ ...this.#requestOf(kind, headState, segments), emptied: takeEmptied(), ...extras })
      .then(() => {
        this.count++;
        for (const segment of segments) this.unpublishedBytes -= segment.bytes;
        onChange();
      })
      .catch(async (error: unknown) => {
        throw latch(await committer.explain(error));
      })
      .then(act)
      .finally(() => {
        if (this.#running === running) this.#running = undefined;
      });
    this.#running = running;
    return running;
  }

  #requestOf(kind: ManifestKind, headState: HeadState, segments: readonly FinishedSegment[]): PublishRequest {
    const { log, committer, anchors, commitNow } = this.#options;
    return {
      kind,
      headState,
      position: log.position,
      segments,
      // With nothing to make durable there is nothing to ask the store: the swap of the head is the fence then.
      commit: () => (segments.length === 0 && log.sequence === log.durableSequence ? Promise.resolve() : commitNow()),
      swap: (swap) => committer.whileSwapping(swap),
      anchor: () => anchors.advance(anchorStateOf(this.#core, log.durableSequence, log.durableChain)),
    };
  }

  #upload(segment: OpenSegment, bytes: number): { readonly uploaded?: Promise<void> } {
    if (this.#uploader === undefined) return {};
    const { area, prefix, durability } = this.#core;
    const { segmentId } = segment.writer;
    const uploaded = this.#uploader.add(segment.entry, bytes, async () => {
      // At level `local` this disk answers for the bytes: it is asked before anybody else touches the file.
      if (durability === 'local') await this.#options.spool.commit();
      await area.publish(spoolName(segmentId), segmentKey(prefix, segmentId));
    });
    uploaded.catch((error: unknown) => {
      // A file that failed once may have lost what a later sync says it has. All else is told to whoever needs the segment there.
      if (isCaissonError(error) && error.kind === 'io') this.#options.latch(error);
    });
    return { uploaded };
  }

  /**
   * Hashing what is published costs about as much processor time as writing it did: it waits for a
   * second without requests, or until so much has gathered that recovery would take long.
   */
  #startWhenIdle(): void {
    const { requests, isClosing } = this.#options;
    const requestsBefore = requests();
    this.#cancelIdle ??= this.#core.environment.clock.after(limits.idleMilliseconds, () => {
      this.#cancelIdle = undefined;
      if (requests() === requestsBefore) this.#startInBackground();
      else if (!isClosing()) this.#startWhenIdle();
    });
  }

  #startInBackground(): void {
    if (this.#running !== undefined || this.#options.isOver()) return;
    this.#start(ManifestKind.checkpoint, HeadState.open).catch(() => undefined);
  }
}
