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
import { fenced } from '../manifest/manifest.ts';
import { ManifestKind, PinKind } from '../manifest/manifest-format.ts';
import { blockBytes } from '../segment/segment-format.ts';
import { Spool } from '../spool/spool.ts';
import type { Store, WriterLock } from '../store/store.ts';
import type { CapabilityGrant } from '../wire/capability-format.ts';
import { mintCapability } from '../wire/capability.ts';
import { AnchorKeeper } from './anchor-keeper.ts';
import { Checkpoints } from './checkpoints.ts';
import { Committer } from './committer.ts';
import { keySlotsOf, publicInfoOf } from './describe.ts';
import { checkRange, checkSize, extentsOf, readParts } from './device-ranges.ts';
import { createClone } from './clone.ts';
import { findLivingClones, unpinOtherClones } from './clone-pins.ts';
import { MoveControl } from './move-control.ts';
import { readPinned } from './pinned-state.ts';
import { Housekeeping } from './housekeeping.ts';
import { ReadPath } from './read-path.ts';
import { findSnapshot, pinNextAsSnapshot, snapshotsOf, unpinSnapshot } from './snapshots.ts';
import { anchorStateOf, type VolumeCore } from './volume-core.ts';
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
import { WriteLog, type LogPosition } from './write-log.ts';
import { PieceWrite, WritePath } from './write-path.ts';

export interface SealedVolumeOptions {
  readonly core: VolumeCore;
  readonly lock: WriterLock;
  readonly readOnly: boolean;
  readonly start: LogPosition;
  readonly recovery: RecoveryReport;
}

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
  readonly #checkpoints: Checkpoints;
  readonly #housekeeping: Housekeeping;
  readonly #moves: MoveControl;
  readonly #resizeListeners = new Set<(size: number) => void>();
  #closing: Promise<void> | undefined;
  #failure: CaissonError | undefined;
  #reads = 0;
  #writes = 0;
  #flushes = 0;
  #trims = 0;
  #bytesRead = 0;
  #bytesWritten = 0;

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
      syncFinished: () => this.#commitsBySync(),
      checkFence: () => this.#committer.checkFence(),
      onFinished: (segment) => this.#checkpoints.segmentFinished(segment),
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
      Math.max(core.tuning.anchorMilliseconds, core.environment.anchor.restMilliseconds?.(core.volumeId) ?? 0),
      (error) => this.#anchorFailed(error),
    );
    const persist = (): Promise<void> => {
      const { uploader } = this.#checkpoints;
      return uploader === undefined || this.#commitsBySync()
        ? this.#log.commit()
        : this.#log.commitByUpload(() => uploader.all());
    };
    this.#committer = new Committer(core, this.#log, this.#spool, this.#anchors, persist);
    this.#checkpoints = this.#createCheckpoints();
    core.mapRoom.makeRoom = () => this.checkpoint();
    this.#housekeeping = new Housekeeping({
      core,
      log: this.#log,
      locks: this.#writer.locks,
      check: () => this.#checkWritable(),
      checkpoint: () => this.checkpoint(),
      publish: (kind, change) =>
        this.#checkpoints.publish(kind, () => {
          change();
          return {};
        }),
      settled: () => this.#checkpoints.settled(),
      checkFence: () => this.#committer.checkFence(),
      pressure: () => this.#diskPressure(),
      activity: () => ({ requests: this.#requests, bytesWritten: this.#bytesWritten }),
      unpublishedBytes: () => this.#checkpoints.unpublishedBytes + this.#log.openBytes,
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
    checkRange(offset, length, this.size);
    this.#reads++;
    this.#bytesRead += length;
    if (length === 0) return;
    if (offset % blockBytes === 0 && length % blockBytes === 0)
      return this.#reader.readBlocks(offset / blockBytes, length / blockBytes, target, targetOffset);
    return readParts(this.#reader, offset, length, target, targetOffset);
  }

  write(offset: number, length: number, source: Region, sourceOffset: number, fua: boolean): void | Promise<void> {
    this.#checkWritable();
    checkRange(offset, length, this.size);
    this.#noteWrite(length);
    return this.#then(this.#writer.write(offset, length, source, sourceOffset), fua);
  }

  beginWrite(offset: number, length: number): BlockWrite {
    this.#checkWritable();
    checkRange(offset, length, this.size);
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
    checkRange(offset, length, this.size);
    this.#noteWrite(0);
    return this.#then(this.#writer.zero(offset, length, !mayPunch), fua);
  }

  trim(offset: number, length: number, fua: boolean): void | Promise<void> {
    this.#checkWritable();
    checkRange(offset, length, this.size);
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
    checkRange(offset, length, this.size);
    return extentsOf(this.#core.map, offset, length, countMax);
  }

  async resize(size: number): Promise<void> {
    this.#checkWritable();
    checkSize(size);
    await this.#writer.resize(size / blockBytes);
    this.#checkpoints.noteChange();
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
    const { uploader, unpublishedBytes, running } = this.#checkpoints;
    if (this.#core.durability !== 'local' && (uploader?.pendingBytes ?? 0) > limits.uploadPendingBytesMax)
      return uploader!.next();
    if (unpublishedBytes > tuning.unpublishedBytesMax && running !== undefined) return running.catch(() => undefined);
    return this.#moves.pressure();
  }

  onResize(listener: (size: number) => void): () => void {
    this.#resizeListeners.add(listener);
    return () => this.#resizeListeners.delete(listener);
  }

  async checkpoint(): Promise<void> {
    await this.#checkpoints.publish(ManifestKind.checkpoint);
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
      spoolBytes: this.#checkpoints.unpublishedBytes + this.#log.openBytes,
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
      checkpoints: this.#checkpoints.count,
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
    await this.#checkpoints.publish(ManifestKind.snapshot, () => {
      pinNextAsSnapshot(this.#core, name);
      return {};
    });
    return this.snapshots().find((snapshot) => snapshot.name === name)!;
  }

  async removeSnapshot(name: string): Promise<void> {
    await this.#checkpoints.publish(ManifestKind.snapshot, () => ({ released: [unpinSnapshot(this.#core, name)] }));
  }

  snapshots(): readonly SnapshotInfo[] {
    return snapshotsOf(this.#core.published);
  }

  mintCapability(epoch: number, grant: CapabilityGrant): Uint8Array {
    this.#checkOpen();
    return mintCapability(this.#core.signingKey, epoch, grant);
  }

  async clone(options: CloneOptions): Promise<PublicVolumeInfo> {
    this.#checkWritable();
    return createClone(
      this.#core,
      options,
      (change) => this.#checkpoints.publish(ManifestKind.snapshot, change),
      () => this.#committer.checkFence(),
    );
  }

  async restore(name: string): Promise<void> {
    this.#checkWritable();
    const pin = findSnapshot(this.#core.published, name);
    const pinned = await readPinned(this.#core.environment.store, this.#core.volumeId, this.#core.keyring, pin);
    await this.checkpoint();
    this.#closing ??= this.#close(() => this.#checkpoints.rollBackTo({ number: pin.number, state: pinned.state }));
    await this.#closing;
  }

  move(target: Store, options?: MoveOptions): Promise<MoveReport> {
    return this.#moves.move(target, options);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close(() => this.#checkpoints.close());
    return this.#closing;
  }

  /** Pins of clones that are gone keep nothing any more; for openings, nobody waits. */
  async releaseGoneClones(): Promise<void> {
    const { published, environment } = this.#core;
    const cloneCount = published.pins.filter((pin) => pin.kind === PinKind.clone).length;
    if (cloneCount === 0) return;
    const living = await findLivingClones(environment.store, published.pins);
    if (living.length === cloneCount) return;
    await this.#checkpoints.publish(ManifestKind.snapshot, () => {
      unpinOtherClones(this.#core, living);
      return {};
    });
  }

  #createCheckpoints(): Checkpoints {
    return new Checkpoints({
      core: this.#core,
      spool: this.#spool,
      log: this.#log,
      anchors: this.#anchors,
      committer: this.#committer,
      commitNow: () => this.#commitNow(),
      requests: () => this.#requests,
      check: () => this.#checkWritable(),
      isOver: () => this.#failure !== undefined || this.#closing !== undefined,
      isClosing: () => this.#closing !== undefined,
      latch: (error) => this.#latch(error),
      takeEmptied: () => this.#housekeeping.takeEmptied(),
      onChange: () => this.#housekeeping.wake(),
    });
  }

  #moveControl(): MoveControl {
    const core = this.#core;
    return new MoveControl({
      core,
      locks: this.#writer.locks,
      lock: () => this.#lock,
      check: () => this.#checkWritable(),
      checkpoint: () => this.checkpoint(),
      unpublishedBytes: () => this.#checkpoints.unpublishedBytes + this.#log.openBytes,
      publish: (act) => this.#checkpoints.publishAnd(ManifestKind.move, () => this.#commitNow().then(act)),
      anchor: (epoch) =>
        this.#anchors.advance({ ...anchorStateOf(core, this.#log.durableSequence, this.#log.durableChain), epoch }),
      onSwitched: (lock) => {
        this.#lock = lock;
        this.#checkpoints.storeChanged();
      },
      latch: (error) => void this.#latch(error),
      sweep: () => this.#housekeeping.sweep(),
    });
  }

  async #changeKeyring(change: (keyring: VolumeCore['keyring']) => Promise<number>): Promise<KeySlotInfo> {
    this.#checkWritable();
    const id = await change(this.#core.keyring);
    // The keyring lives in the manifest: publish one, with whatever else is due.
    await this.#checkpoints.publish(ManifestKind.keyring);
    const slots = keySlotsOf(this.#core.keyring.encode());
    return slots.find((slot) => slot.slot === id) ?? slots[0]!;
  }

  get #requests(): number {
    return this.#reads + this.#writes + this.#flushes;
  }

  #commit(): Promise<void> {
    const { held } = this.#moves;
    return held === undefined ? this.#commitNow() : held.then(() => this.#commit());
  }

  async #commitNow(): Promise<void> {
    try {
      await this.#committer.commit();
    } catch (error) {
      throw this.#latch(error);
    }
  }

  async #close(last: () => Promise<void>): Promise<void> {
    this.#checkpoints.stopTimers();
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

  #then(done: void | Promise<void>, fua: boolean): void | Promise<void> {
    if (!fua) return done;
    return done === undefined ? this.#commit() : done.then(() => this.#commit());
  }

  #noteWrite(length: number): void {
    this.#writes++;
    this.#bytesWritten += length;
    this.#checkpoints.noteChange();
  }

  #anchorFailed(error: unknown): void {
    const message = 'the anchor could not be advanced; it is tried again';
    this.#core.environment.log?.('warn', message, { error: String(error) });
    // Somebody is ahead of us there, maybe in another store.
    if (isCaissonError(error, 'rolled-back') || isCaissonError(error, 'forked')) this.#latch(fenced(error));
  }

  /** What makes a write durable is a sync of the spool, not an object on the store. */
  #commitsBySync(): boolean {
    return this.#core.durability === 'local' || this.#checkpoints.uploader === undefined;
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

  /** The first failure stays; returns it. */
  #latch(error: unknown): CaissonError {
    if (this.#failure !== undefined) return this.#failure;
    this.#failure =
      error instanceof CaissonError ? error : new CaissonError('io', 'store-io', 'the volume failed', { cause: error });
    this.#spool.fail(this.#failure);
    this.#core.environment.log?.('error', 'the volume is latched read-only', {
      error: this.#failure.message,
      code: this.#failure.code,
    });
    return this.#failure;
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
