/**
 * SealedVolume: an open volume. It joins map, log, committer and publisher, and is the BlockDevice that
 * exports see.
 *
 * Invariants:
 * - One event loop owns it; there are no locks but those of slow writes on their blocks.
 * - After the first failure of the spool, the fence or a publication it is latched: reads go on, every
 *   write and flush fails with that failure, and nothing claims to be durable any more.
 */
import type { BlockWrite, Extent } from '../export/block-device.ts';
import type { KeySource } from '../keys/key-source.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import * as limits from '../lib/limits.ts';
import type { Region } from '../lib/region.ts';
import { HeadState } from '../manifest/head-format.ts';
import { fenced } from '../manifest/manifest.ts';
import { ManifestKind, PinKind } from '../manifest/manifest-format.ts';
import type { ManifestState } from '../manifest/state-format.ts';
import { blockBytes } from '../segment/segment-format.ts';
import { Spool } from '../spool/spool.ts';
import { segmentKey, spoolName } from '../store/paths.ts';
import type { Store, WriterLock } from '../store/store.ts';
import { AnchorKeeper } from './anchor-keeper.ts';
import { Committer } from './committer.ts';
import { keySlotsOf, publicInfoOf } from './describe.ts';
import { createClone } from './clone.ts';
import { findLivingClones, unpinOtherClones } from './clone-pins.ts';
import { MoveControl } from './move-control.ts';
import { readPinned } from './pinned-state.ts';
import { Housekeeping } from './housekeeping.ts';
import { Publisher, type FinishedSegment, type PublishRequest } from './publisher.ts';
import { ReadPath } from './read-path.ts';
import { findSnapshot, pinNextAsSnapshot, snapshotsOf, unpinSnapshot } from './snapshots.ts';
import { anchorStateOf, swapCoreHead, type VolumeCore } from './volume-core.ts';
import type {
  CleanOptions,
  CleanReport,
  CloneOptions,
  HousekeepingStats,
  KeySlotInfo,
  Progress,
  MoveOptions,
  MoveReport,
  PublicVolumeInfo,
  RecoveryReport,
  RekeyOptions,
  SnapshotInfo,
  Volume,
  VolumeInfo,
  VolumeStats,
} from './volume-types.ts';
import { Uploader } from './uploader.ts';
import { WriteLog, type LogPosition, type OpenSegment } from './write-log.ts';
import { PieceWrite, WritePath } from './write-path.ts';

export interface SealedVolumeOptions {
  readonly core: VolumeCore;
  readonly lock: WriterLock;
  readonly readOnly: boolean;
  readonly start: LogPosition;
  readonly recovery: RecoveryReport;
}

/** What a publication says besides the state. */
type PublishExtras = Pick<PublishRequest, 'released' | 'mapKeyEpoch'>;

export class SealedVolume implements Volume {
  readonly id: string;
  readonly readOnly: boolean;
  readonly blockSize = blockBytes;
  readonly #core: VolumeCore;
  #lock: WriterLock;
  readonly #recovery: RecoveryReport;
  readonly #spool: Spool;
  readonly #log: WriteLog;
  readonly #reader: ReadPath;
  readonly #writer: WritePath;
  readonly #anchors: AnchorKeeper;
  readonly #committer: Committer;
  /** For stores beyond this machine. */
  #uploader: Uploader | undefined;
  readonly #publisher: Publisher;
  readonly #housekeeping: Housekeeping;
  readonly #moves: MoveControl;
  readonly #resizeListeners = new Set<(size: number) => void>();
  #finished: FinishedSegment[] = [];
  #unpublishedBytes = 0;
  #checkpointing: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;
  #cancelIdle: (() => void) | undefined;
  #closing: Promise<void> | undefined;
  #failure: CaissonError | undefined;
  #reads = 0;
  #writes = 0;
  #flushes = 0;
  #trims = 0;
  #bytesRead = 0;
  #bytesWritten = 0;
  #checkpoints = 0;

  constructor(options: SealedVolumeOptions) {
    const { core } = options;
    this.#core = core;
    this.#lock = options.lock;
    this.#recovery = options.recovery;
    this.readOnly = options.readOnly;
    this.id = core.prefix.substring(0, 32);
    this.#spool = new Spool({ create: (name) => core.area.create(name) });
    this.#log = new WriteLog({
      spool: this.#spool,
      table: core.table,
      handles: core.handles,
      keys: core.keys,
      random: core.environment.random,
      volumeId: core.volumeId,
      epoch: () => core.epoch,
      segmentBytesMax: core.tuning.segmentBytesMax,
      zeroAheadBytes: Math.min(core.tuning.zeroAheadBytes, limits.zeroAheadBytesMax),
      start: options.start,
      onFinished: (segment) => this.#segmentFinished(segment),
    });
    this.#reader = new ReadPath(core.map, core.handles, (segment) => this.#nameOf(segment));
    this.#writer = new WritePath({
      map: core.map,
      log: this.#log,
      reader: this.#reader,
      check: () => this.#checkWritable(),
    });
    this.#anchors = new AnchorKeeper(
      core.environment.anchor,
      core.environment.clock,
      core.tuning.anchorMilliseconds,
      (error) => this.#anchorFailed(error),
    );
    this.#uploader = core.environment.store.isRemote ? new Uploader(this.#spool) : undefined;
    const persist = (): Promise<void> => {
      const uploader = core.durability === 'local' ? undefined : this.#uploader;
      return uploader === undefined ? this.#log.commit() : this.#log.commitByUpload(() => uploader.all());
    };
    this.#committer = new Committer(core, this.#log, this.#spool, this.#anchors, persist);
    this.#publisher = new Publisher(core);
    core.mapRoom.makeRoom = () => this.checkpoint();
    this.#housekeeping = new Housekeeping({
      core,
      log: this.#log,
      locks: this.#writer.locks,
      check: () => this.#checkWritable(),
      checkpoint: () => this.checkpoint(),
      publish: (kind, change) =>
        this.#publishWith(kind, () => {
          change();
          return {};
        }),
      settled: () => this.#settled(),
      checkFence: () => this.#committer.checkFence(),
      pressure: () => this.#diskPressure(),
      activity: () => ({ requests: this.#requests, bytesWritten: this.#bytesWritten }),
      unpublishedBytes: () => this.#unpublishedBytes + this.#log.openBytes,
      explain: (error) => this.#committer.explain(error),
    });
    this.#moves = this.#moveControl();
    if (!options.readOnly) this.#housekeeping.start(options.recovery.clean);
  }

  get size(): number {
    return this.#core.map.blockCount * blockBytes;
  }

  read(offset: number, length: number, target: Region, targetOffset: number): void | Promise<void> {
    this.#checkOpen();
    this.#checkRange(offset, length);
    this.#reads++;
    this.#bytesRead += length;
    if (length === 0) return;
    if (offset % blockBytes === 0 && length % blockBytes === 0)
      return this.#reader.readBlocks(offset / blockBytes, length / blockBytes, target, targetOffset);
    return this.#readParts(offset, length, target, targetOffset);
  }

  write(offset: number, length: number, source: Region, sourceOffset: number, fua: boolean): void | Promise<void> {
    this.#checkWritable();
    this.#checkRange(offset, length);
    this.#noteWrite(length);
    return this.#then(this.#writer.write(offset, length, source, sourceOffset), fua);
  }

  beginWrite(offset: number, length: number): BlockWrite {
    this.#checkWritable();
    this.#checkRange(offset, length);
    this.#noteWrite(length);
    const piece = new PieceWrite(this.#writer, offset, length);
    return {
      push: (source, sourceOffset, pieceLength) => {
        this.#checkWritable();
        piece.push(source, sourceOffset, pieceLength);
      },
      finish: (fua) => this.#then(piece.finish(), fua),
      abort: () => piece.abort(),
    };
  }

  zero(offset: number, length: number, mayPunch: boolean, fua: boolean): void | Promise<void> {
    this.#checkWritable();
    this.#checkRange(offset, length);
    this.#noteWrite(0);
    return this.#then(this.#writer.zero(offset, length, !mayPunch), fua);
  }

  trim(offset: number, length: number, fua: boolean): void | Promise<void> {
    this.#checkWritable();
    this.#checkRange(offset, length);
    this.#trims++;
    this.#noteWrite(0);
    return this.#then(this.#writer.trim(offset, length), fua);
  }

  async flush(): Promise<void> {
    this.#checkOpen();
    this.#flushes++;
    if (this.readOnly) return;
    if (this.#failure !== undefined) throw this.#latchedError();
    await this.#commit();
  }

  extents(offset: number, length: number, countMax: number): Extent[] | Promise<Extent[]> {
    this.#checkOpen();
    this.#checkRange(offset, length);
    const first = Math.floor(offset / blockBytes);
    const count = Math.ceil((offset + length) / blockBytes) - first;
    if (count === 0) return [];
    const found = this.#core.map.extents(first, count, countMax);
    return found.length > 0
      ? this.#clip(found, offset, length)
      : this.#extentsSlowly(first, count, countMax, offset, length);
  }

  async resize(size: number): Promise<void> {
    this.#checkWritable();
    checkSize(size);
    await this.#writer.resize(size / blockBytes);
    this.#armTimer();
    await this.#commit();
    for (const listener of this.#resizeListeners) listener(size);
  }

  pressure(): Promise<void> | undefined {
    return this.#diskPressure() ?? this.#housekeeping.pressure();
  }

  #diskPressure(): Promise<void> | undefined {
    const { tuning } = this.#core;
    if (this.#spool.bufferedBytes > tuning.spoolBufferBytesMax)
      return this.#spool.drained(tuning.spoolBufferBytesMax / 2);
    if (this.#core.durability !== 'local' && (this.#uploader?.pendingBytes ?? 0) > limits.uploadPendingBytesMax)
      return this.#uploader!.next();
    if (this.#unpublishedBytes > tuning.unpublishedBytesMax && this.#checkpointing !== undefined)
      return this.#checkpointing.catch(() => undefined);
    return this.#moves.pressure();
  }

  onResize(listener: (size: number) => void): () => void {
    this.#resizeListeners.add(listener);
    return () => this.#resizeListeners.delete(listener);
  }

  async checkpoint(): Promise<void> {
    this.#checkWritable();
    while (this.#checkpointing !== undefined) await this.#checkpointing;
    await this.#startCheckpoint(ManifestKind.checkpoint, HeadState.open);
  }

  info(): VolumeInfo {
    const core = this.#core;
    return {
      ...publicInfoOf(core),
      size: this.size,
      durability: core.durability,
      readOnly: this.readOnly,
      latched: this.#failure?.message,
      sealer: core.keys.sealerName,
      spoolBytes: this.#unpublishedBytes + this.#log.openBytes,
      anchoredSequence: this.#anchors.anchoredSequence,
      sequence: this.#log.sequence,
      keyEpoch: core.keys.keyEpoch,
      recovery: this.#recovery,
    };
  }

  housekeeping(): HousekeepingStats {
    return this.#housekeeping.stats();
  }

  clean(options?: CleanOptions): Promise<CleanReport> {
    return this.#housekeeping.clean(options);
  }

  rekey(options?: RekeyOptions): Promise<void> {
    return this.#housekeeping.rekey(options);
  }

  finishRekey(onProgress?: Progress): Promise<void> {
    return this.#housekeeping.finishRekey(onProgress);
  }

  stats(): VolumeStats {
    return {
      reads: this.#reads,
      writes: this.#writes,
      flushes: this.#flushes,
      trims: this.#trims,
      bytesRead: this.#bytesRead,
      bytesWritten: this.#bytesWritten,
      bytesSealed: this.#log.bytesSealed + this.#log.openBytes,
      syncs: this.#spool.syncCount,
      checkpoints: this.#checkpoints,
      anchorAdvances: this.#anchors.advanceCount,
      mapBytesResident: this.#core.map.residentBytes,
      mapLeavesLoaded: this.#core.map.pool.residentCount,
      unanchoredRecords: Math.max(0, this.#log.sequence - this.#anchors.anchoredSequence),
    };
  }

  addKey(source: KeySource): Promise<KeySlotInfo> {
    return this.#changeKeyring(async (keyring) => keyring.addSlot(source));
  }

  async removeKey(slot: number): Promise<void> {
    await this.#changeKeyring((keyring) => {
      keyring.removeSlot(slot);
      return Promise.resolve(-1);
    });
  }

  changeKey(slot: number, source: KeySource): Promise<KeySlotInfo> {
    return this.#changeKeyring(async (keyring) => {
      await keyring.changeSlot(slot, source);
      return slot;
    });
  }

  async snapshot(name: string): Promise<SnapshotInfo> {
    await this.#publishWith(ManifestKind.snapshot, () => {
      pinNextAsSnapshot(this.#core, name);
      return {};
    });
    return this.snapshots().find((snapshot) => snapshot.name === name)!;
  }

  async removeSnapshot(name: string): Promise<void> {
    await this.#publishWith(ManifestKind.snapshot, () => ({ released: [unpinSnapshot(this.#core, name)] }));
  }

  snapshots(): readonly SnapshotInfo[] {
    return snapshotsOf(this.#core.published);
  }

  async clone(options: CloneOptions): Promise<PublicVolumeInfo> {
    this.#checkWritable();
    return createClone(
      this.#core,
      options,
      (change) => this.#publishWith(ManifestKind.snapshot, change),
      () => this.#committer.checkFence(),
    );
  }

  async restore(name: string): Promise<void> {
    this.#checkWritable();
    const pin = findSnapshot(this.#core.published, name);
    const pinned = await readPinned(this.#core.environment.store, this.#core.volumeId, this.#core.keyring, pin);
    await this.checkpoint();
    this.#closing ??= this.#close(() => this.#rollBackTo({ number: pin.number, state: pinned.state }));
    await this.#closing;
  }

  move(target: Store, options?: MoveOptions): Promise<MoveReport> {
    return this.#moves.move(target, options);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close(() => this.#closeCleanly());
    return this.#closing;
  }

  /** Pins of clones that are gone keep nothing any more; for openings, nobody waits. */
  async releaseGoneClones(): Promise<void> {
    const { published, environment } = this.#core;
    const cloneCount = published.pins.filter((pin) => pin.kind === PinKind.clone).length;
    if (cloneCount === 0) return;
    const living = await findLivingClones(environment.store, published.pins);
    if (living.length === cloneCount) return;
    await this.#publishWith(ManifestKind.snapshot, () => {
      unpinOtherClones(this.#core, living);
      return {};
    });
  }

  /** Publishes with changed pins; `change` runs in the turn in which the state is frozen. */
  async #publishWith(kind: ManifestKind, change: () => PublishExtras): Promise<void> {
    this.#checkWritable();
    while (this.#checkpointing !== undefined) await this.#checkpointing;
    this.#checkWritable();
    await this.#startCheckpoint(kind, HeadState.open, change());
  }

  #moveControl(): MoveControl {
    const core = this.#core;
    return new MoveControl({
      core,
      locks: this.#writer.locks,
      lock: () => this.#lock,
      check: () => this.#checkWritable(),
      checkpoint: () => this.checkpoint(),
      unpublishedBytes: () => this.#unpublishedBytes + this.#log.openBytes,
      publish: async (act) => {
        // Asked again after the wait: whoever waited beside us may have begun one.
        while (this.#checkpointing !== undefined) await this.#settled();
        this.#checkWritable();
        await this.#startCheckpoint(ManifestKind.move, HeadState.open, {}, () => this.#commitNow().then(act));
      },
      anchor: (epoch) =>
        this.#anchors.advance({ ...anchorStateOf(core, this.#log.durableSequence, this.#log.durableChain), epoch }),
      onSwitched: (lock) => {
        this.#lock = lock;
        this.#uploader = core.environment.store.isRemote ? new Uploader(this.#spool) : undefined;
      },
      latch: (error) => this.#latch(error),
      sweep: () => this.#housekeeping.sweep(),
    });
  }

  async #rollBackTo(pinned: { readonly number: number; readonly state: ManifestState }): Promise<void> {
    while (this.#checkpointing !== undefined) await this.#checkpointing;
    // Writes that were answered after the last checkpoint end here, as the owner wants it.
    this.#log.rotate();
    await this.#commitNow();
    for (const segment of this.#finished) segment.release();
    await this.#publisher.publishRollback(this.#requestOf(ManifestKind.rollback, HeadState.closed, []), pinned);
  }

  async #changeKeyring(change: (keyring: VolumeCore['keyring']) => Promise<number>): Promise<KeySlotInfo> {
    this.#checkWritable();
    const id = await change(this.#core.keyring);
    // The keyring lives in the manifest: publish one, with whatever else is due.
    while (this.#checkpointing !== undefined) await this.#checkpointing;
    await this.#startCheckpoint(ManifestKind.keyring, HeadState.open);
    const slots = keySlotsOf(this.#core.keyring.encode());
    return slots.find((slot) => slot.slot === id) ?? slots[0]!;
  }

  async #settled(): Promise<void> {
    while (this.#checkpointing !== undefined) await this.#checkpointing.catch(() => undefined);
  }

  /** Publishes what is finished plus the open segment; the caller made sure that none is running. */
  #startCheckpoint(
    kind: ManifestKind,
    headState: HeadState,
    extras: PublishExtras = {},
    act: () => Promise<void> = () => Promise.resolve(),
  ): Promise<void> {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#cancelIdle?.();
    this.#cancelIdle = undefined;
    this.#log.rotate();
    const segments = this.#finished;
    this.#finished = [];
    const running = this.#publisher
      .publish({ ...this.#requestOf(kind, headState, segments), emptied: this.#housekeeping.takeEmptied(), ...extras })
      .then(() => {
        this.#checkpoints++;
        for (const segment of segments) this.#unpublishedBytes -= segment.bytes;
        this.#housekeeping.wake();
      })
      .catch(async (error: unknown) => {
        const reason = await this.#committer.explain(error);
        this.#latch(reason);
        throw this.#failure ?? reason;
      })
      .then(act)
      .finally(() => {
        if (this.#checkpointing === running) this.#checkpointing = undefined;
      });
    this.#checkpointing = running;
    return running;
  }

  #requestOf(kind: ManifestKind, headState: HeadState, segments: readonly FinishedSegment[]): PublishRequest {
    return {
      kind,
      headState,
      position: this.#log.position,
      segments,
      commit: () => this.#commitNow(),
      swap: (swap) => this.#committer.whileSwapping(swap),
      anchor: () => this.#anchors.advance(anchorStateOf(this.#core, this.#log.durableSequence, this.#log.durableChain)),
    };
  }

  get #requests(): number {
    return this.#reads + this.#writes + this.#flushes;
  }

  #segmentFinished(segment: OpenSegment): void {
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
      release: () => this.#releaseSegment(segment),
    });
    this.#unpublishedBytes += bytes;
    const { checkpointBytes, unpublishedBytesMax } = core.tuning;
    // In a turn of its own: a segment fills up in the middle of a write.
    if (this.#unpublishedBytes >= unpublishedBytesMax / 2) queueMicrotask(() => this.#checkpointInBackground());
    else if (this.#unpublishedBytes >= checkpointBytes) this.#checkpointWhenIdle();
    this.#housekeeping.wake();
  }

  #upload(segment: OpenSegment, bytes: number): { readonly uploaded?: Promise<void> } {
    if (this.#uploader === undefined) return {};
    const { area, prefix } = this.#core;
    const { segmentId } = segment.writer;
    const uploaded = this.#uploader.add(segment.entry, bytes, () =>
      area.publish(spoolName(segmentId), segmentKey(prefix, segmentId)),
    );
    uploaded.catch(() => undefined); // told to whoever needs the segment on the store
    return { uploaded };
  }

  /**
   * Hashing what is published costs about as much processor time as writing it did: it waits for a
   * second without requests, or until so much has gathered that recovery would take long.
   */
  #checkpointWhenIdle(): void {
    const { clock } = this.#core.environment;
    const requestsBefore = this.#requests;
    this.#cancelIdle ??= clock.after(limits.idleMilliseconds, () => {
      this.#cancelIdle = undefined;
      if (this.#requests === requestsBefore) this.#checkpointInBackground();
      else if (this.#closing === undefined) this.#checkpointWhenIdle();
    });
  }

  #releaseSegment(segment: OpenSegment): void {
    this.#spool.forget(segment.entry);
    this.#core.handles.release(segment.handle);
  }

  #checkpointInBackground(): void {
    if (this.#checkpointing !== undefined || this.#failure !== undefined || this.#closing !== undefined) return;
    this.#startCheckpoint(ManifestKind.checkpoint, HeadState.open).catch(() => undefined);
  }

  /** The first change starts the clock of the next checkpoint. */
  #armTimer(): void {
    const { environment, tuning } = this.#core;
    this.#cancelTimer ??= environment.clock.after(tuning.checkpointMilliseconds, () => {
      this.#cancelTimer = undefined;
      this.#checkpointInBackground();
    });
  }

  #commit(): Promise<void> {
    const { held } = this.#moves;
    return held === undefined ? this.#commitNow() : held.then(() => this.#commit());
  }

  async #commitNow(): Promise<void> {
    try {
      await this.#committer.commit();
    } catch (error) {
      this.#latch(error);
      throw this.#failure ?? error;
    }
  }

  async #close(last: () => Promise<void>): Promise<void> {
    this.#cancelTimer?.();
    this.#cancelIdle?.();
    const isLatched = this.#failure !== undefined;
    try {
      await this.#moves.stop();
      await this.#housekeeping.stop();
      // What failed while these ended has not been told to anybody yet.
      if (this.#failure !== undefined && !isLatched) throw this.#failure;
      if (!this.readOnly && !isLatched) await last();
    } finally {
      await this.#anchors.stop();
      await this.#core.handles.closeAll();
      await this.#core.mapLoader.closeAll();
      this.#core.keyring.wipe();
      await this.#lock.release();
    }
  }

  async #closeCleanly(): Promise<void> {
    while (this.#checkpointing !== undefined) await this.#checkpointing;
    const changed = this.#finished.length > 0 || this.#log.openBytes > 0;
    if (changed) await this.#startCheckpoint(ManifestKind.close, HeadState.closed);
    else
      await this.#committer.whileSwapping(() =>
        swapCoreHead(this.#core, HeadState.closed, this.#core.published.number, this.#core.published.digest),
      );
  }

  async #readParts(offset: number, length: number, target: Region, targetOffset: number): Promise<void> {
    const stepBlocks = 256;
    const scratch = this.#reader.acquire();
    try {
      let done = 0;
      while (done < length) {
        const at = offset + done;
        const first = Math.floor(at / blockBytes);
        const inBlock = at - first * blockBytes;
        const count = Math.min(length - done, stepBlocks * blockBytes - inBlock);
        await this.#reader.readBlocks(first, Math.ceil((inBlock + count) / blockBytes), scratch, 0);
        target.bytes.set(scratch.bytes.subarray(inBlock, inBlock + count), targetOffset + done);
        done += count;
      }
    } finally {
      this.#reader.release(scratch);
    }
  }

  async #extentsSlowly(
    first: number,
    count: number,
    countMax: number,
    offset: number,
    length: number,
  ): Promise<Extent[]> {
    const preparing = this.#core.map.prepare(first, 1, false);
    if (preparing !== undefined) await preparing;
    return this.#clip(this.#core.map.extents(first, count, countMax), offset, length);
  }

  /** Block extents cut to the bytes asked for. */
  #clip(
    found: readonly { readonly blocks: number; readonly kind: 'data' | 'hole' | 'zero' }[],
    offset: number,
    length: number,
  ): Extent[] {
    const result: Extent[] = [];
    let at = Math.floor(offset / blockBytes) * blockBytes;
    for (const extent of found) {
      const end = Math.min(at + extent.blocks * blockBytes, offset + length);
      const start = Math.max(at, offset);
      if (end > start) result.push({ length: end - start, hole: extent.kind === 'hole', zero: extent.kind !== 'data' });
      at += extent.blocks * blockBytes;
    }
    return result;
  }

  #then(done: void | Promise<void>, fua: boolean): void | Promise<void> {
    if (!fua) return done;
    return done === undefined ? this.#commit() : done.then(() => this.#commit());
  }

  #noteWrite(length: number): void {
    this.#writes++;
    this.#bytesWritten += length;
    if (this.#cancelTimer === undefined) this.#armTimer();
  }

  #anchorFailed(error: unknown): void {
    const message = 'the anchor could not be advanced; it is tried again';
    this.#core.environment.log?.('warn', message, { error: String(error) });
    // Somebody is ahead of us there, maybe in another store.
    if (isCaissonError(error, 'rolled-back') || isCaissonError(error, 'forked')) this.#latch(fenced(error));
  }

  #nameOf(segment: number): string {
    return toHex(this.#core.table.get(segment).id);
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw new CaissonError('closed', 'volume-closed', 'the volume is closed');
  }

  #checkWritable(): void {
    this.#checkOpen();
    if (this.readOnly) throw new CaissonError('denied', 'volume-read-only', 'the volume is open read-only');
    if (this.#spool.failure !== undefined && this.#failure === undefined) this.#latch(this.#spool.failure);
    if (this.#failure !== undefined) throw this.#latchedError();
  }

  #checkRange(offset: number, length: number): void {
    if (offset >= 0 && length >= 0 && offset + length <= this.size) return;
    throw new CaissonError(
      'invalid',
      'range-outside',
      `bytes ${offset} to ${offset + length} reach beyond the volume's ${this.size}`,
    );
  }

  #latch(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure =
      error instanceof CaissonError ? error : new CaissonError('io', 'store-io', 'the volume failed', { cause: error });
    this.#spool.fail(this.#failure);
    this.#core.environment.log?.('error', 'the volume is latched read-only', {
      error: this.#failure.message,
      code: this.#failure.code,
    });
  }

  #latchedError(): CaissonError {
    const failure = this.#failure!;
    if (failure.kind === 'fenced') return failure;
    return new CaissonError(
      failure.kind,
      failure.kind === 'full' ? failure.code : 'volume-latched',
      `the volume takes no more writes: ${failure.message}`,
      {
        remedy: 'Mend the cause, then close and open the volume again; everything that was flushed is safe.',
        cause: failure,
      },
    );
  }
}

export function checkSize(size: number): void {
  if (!Number.isSafeInteger(size) || size <= 0 || size % blockBytes !== 0 || size > limits.volumeBytesMax) {
    throw new CaissonError('invalid', 'size-invalid', `a volume of ${size} bytes is impossible`, {
      remedy: `Give a positive multiple of ${blockBytes} bytes, at most ${limits.volumeBytesMax}.`,
      details: { size, blockBytes, limit: limits.volumeBytesMax },
    });
  }
}
