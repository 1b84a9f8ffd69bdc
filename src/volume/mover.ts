/**
 * Mover: takes an open volume from one store to another while it is used (docs/moving.md).
 *
 * First everything that the newest manifest names is copied, in passes, until little is missing. Then writers are held,
 * a last manifest is published and copied, and the volume goes on in the target: head there, head here, anchor. The
 * epoch decides at every moment: the target's head is one ahead of ours, whoever opens a volume whose newest manifest
 * is that of a move goes two ahead, and the anchor refuses whatever is behind it.
 *
 * Invariants:
 * - Until the head of the target may exist nothing but copies was made: a failure leaves no trace that counts.
 * - From then on writers go on only after the anchor holds an epoch beyond that of the store that was left, or that a
 *   failed move leaves unused; if that cannot be brought about, the volume latches.
 */
import { CaissonError, isCaissonError, messageOf } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { equalBytes } from '../crypto/digest.ts';
import * as limits from '../lib/limits.ts';
import { HeadState } from '../manifest/head-format.ts';
import { fenced, readHead, swapHead } from '../manifest/manifest.ts';
import type { Store, WriterLock } from '../store/store.ts';
import { InlineDigester } from './inline-digester.ts';
import { namedObjects, readStaleHead, refuseAttached, refuseSameStore } from './move-checks.ts';
import { deleteMovedSource } from './moved-source.ts';
import { StoreMirror } from './store-mirror.ts';
import { putInStore, type VolumeCore } from './volume-core.ts';
import type { MoveOptions, MoveReport } from './volume-types.ts';

export interface MoverOptions {
  readonly core: VolumeCore;
  readonly sourceLock: WriterLock;
  readonly checkpoint: () => Promise<void>;
  /** Bytes that no manifest names yet. */
  readonly unpublishedBytes: () => number;
  /** Publishes a manifest of kind `move` with all writers held, and runs `act` before they go on. */
  readonly publishHeld: (act: () => Promise<void>) => Promise<void>;
  /** Advances the anchor to the newest manifest, at this epoch. */
  readonly anchor: (epoch: number) => Promise<void>;
  /** The core has another store now; the lock is that of the volume there. */
  readonly onSwitched: (lock: WriterLock) => void;
  /** Nobody can tell any more which store the volume is in: it takes no more writes. */
  readonly latch: (error: unknown) => void;
  /** Removes objects of the store that nothing names. */
  readonly sweep: () => Promise<unknown>;
}

export class Mover {
  readonly #options: MoverOptions;
  readonly #core: VolumeCore;
  readonly #source: Store;
  readonly #target: Store;
  readonly #wanted: MoveOptions;
  readonly #stop = new AbortController();
  readonly #mirror: StoreMirror;
  #running: Promise<MoveReport> | undefined;
  #pass = 0;
  #doneBytes = 0;
  #totalBytes = 0;
  #heldMilliseconds = 0;
  #hasSwitched = false;
  #isLost = false;

  constructor(options: MoverOptions, target: Store, wanted: MoveOptions) {
    this.#options = options;
    this.#core = options.core;
    this.#source = options.core.environment.store;
    this.#target = target;
    this.#wanted = wanted;
    this.#mirror = new StoreMirror({
      source: this.#source,
      target,
      clock: options.core.environment.clock,
      onCopied: (bytes) => this.#wanted.onProgress?.((this.#doneBytes += bytes), this.#totalBytes, 'bytes'),
    });
  }

  run(): Promise<MoveReport> {
    this.#running ??= this.#run();
    return this.#running;
  }

  /** The volume is being closed: ends the work at the next step. */
  async stop(): Promise<void> {
    this.#stop.abort(new CaissonError('closed', 'volume-closed', 'the volume was closed while it was being moved'));
    await this.#running?.catch(() => undefined);
  }

  /** Slows writers that are faster than the copying: they may go on for a part of each span, less in each pass. */
  pressure(): Promise<void> | undefined {
    const slowedPasses = Math.min(this.#pass - limits.moveFreePassesMax, limits.moveBrakeStepsMax);
    if (slowedPasses <= 0 || this.#hasSwitched) return undefined;
    const span = limits.moveBrakeMilliseconds;
    const { clock } = this.#core.environment;
    const at = clock.monotonic() % span;
    if (at < span / 2 ** slowedPasses) return undefined;
    return new Promise((resolve) => clock.after(span - at, resolve));
  }

  async #run(): Promise<MoveReport> {
    const { core } = this.#options;
    const { signal } = this.#wanted;
    const onAbort = (): void => this.#stop.abort(signal!.reason);
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      this.#stop.signal.throwIfAborted();
      refuseAttached(core);
      await refuseSameStore(core, this.#target);
      const lock = await this.#target.lock(core.prefix);
      try {
        await this.#mirrorAll();
        await this.#cutOver(lock);
      } catch (error) {
        if (!this.#hasSwitched) await lock.release();
        throw error;
      }
      return await this.#leave();
    } catch (error) {
      throw this.#hasSwitched || this.#isLost ? error : this.#explained(error);
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Copies in passes until little is missing. */
  async #mirrorAll(): Promise<void> {
    await readStaleHead(this.#core, this.#target);
    await this.#mirror.look(this.#core.prefix);
    for (;;) {
      this.#pass++;
      await this.#options.checkpoint();
      this.#stop.signal.throwIfAborted();
      const missing = this.#missing();
      this.#totalBytes = this.#doneBytes + sumBytes(missing);
      await this.#mirror.copy(missing, this.#stop.signal);
      const left = sumBytes(this.#missing()) + this.#options.unpublishedBytes();
      if (left <= limits.moveDeltaBytesMax) return;
      if (this.#pass < limits.movePassesMax) continue;
      throw new CaissonError('transient', 'move-outrun', 'more is written than the target can be sent', {
        remedy: 'Move when less is written. What was copied stays there, so the next attempt is shorter.',
        details: { passes: this.#pass, missingBytes: left },
      });
    }
  }

  #missing(): ReturnType<typeof namedObjects> {
    return namedObjects(this.#core).filter(({ key }) => !this.#mirror.has(key));
  }

  async #cutOver(lock: WriterLock): Promise<void> {
    const { core, publishHeld } = this.#options;
    const { clock } = core.environment;
    const area = await this.#target.spool(core.prefix);
    // Of an earlier life of the volume there; its head is behind ours, so nothing there counts.
    for (const file of await area.list()) await area.remove(file.key);
    this.#stop.signal.throwIfAborted();
    const heldAt = clock.monotonic();
    await publishHeld(async () => {
      refuseAttached(core);
      const epoch = core.epoch + 1;
      const holder = core.environment.random.bytes(16);
      const step = { mayHaveHead: false };
      let headVersion: string;
      try {
        headVersion = await this.#withinHold((check) => this.#takeOver(epoch, holder, step, check));
      } catch (error) {
        if (step.mayHaveHead) await this.#takeBack(error);
        throw error;
      }
      const digester = this.#wanted.digester ?? new InlineDigester(this.#target, clock);
      putInStore(core, { store: this.#target, area, digester, epoch, holder, headVersion });
      this.#hasSwitched = true;
      this.#options.onSwitched(lock);
    });
    this.#heldMilliseconds = clock.monotonic() - heldAt;
  }

  /** The last objects, then the heads and the anchor. `check` throws once the time is up. Returns the head's version. */
  async #takeOver(
    epoch: number,
    holder: Uint8Array,
    step: { mayHaveHead: boolean },
    check: () => void,
  ): Promise<string> {
    const { core } = this.#options;
    await this.#mirror.copy(this.#missing(), this.#stop.signal);
    const stale = await readStaleHead(core, this.#target);
    check();
    this.#stop.signal.throwIfAborted();
    step.mayHaveHead = true;
    const head = this.#head(HeadState.open, epoch, holder);
    const version = await swapHead(this.#target, core.prefix, stale, head, core.signingKey);
    check();
    await this.#markSource();
    check();
    await this.#options.anchor(epoch);
    check();
    return version;
  }

  /** Whoever opens the source from here on is refused; whoever did so a moment ago has changed its head. */
  async #markSource(): Promise<void> {
    const { core } = this.#options;
    const head = this.#head(HeadState.moved, core.epoch, core.holder);
    try {
      await swapHead(this.#source, core.prefix, core.published.headVersion, head, core.signingKey);
    } catch (error) {
      if (isCaissonError(error, 'volume-fenced')) throw error;
      // The anchor says it, too: a source that fails is a reason to leave it.
      this.#warn('the store that was left could not be marked', error);
    }
  }

  /** The target may have a head of ours: the source takes an epoch beyond it, so that it alone is the volume. */
  async #takeBack(cause: unknown): Promise<void> {
    const { core } = this.#options;
    const epoch = core.epoch + 2;
    try {
      const found = await readHead(this.#source, core.prefix, core.volumeId);
      if (!equalBytes(found.head.holder, core.holder)) throw fenced(cause);
      const head = this.#head(HeadState.open, epoch, core.holder);
      core.published.headVersion = await swapHead(this.#source, core.prefix, found.version, head, core.signingKey);
      core.epoch = epoch;
      await this.#options.anchor(epoch);
    } catch (error) {
      this.#isLost = true;
      const isBehind = isCaissonError(error, 'rolled-back') || isCaissonError(error, 'forked');
      this.#options.latch(isBehind ? fenced(error) : error);
      throw error;
    }
  }

  async #withinHold<T>(act: (check: () => void) => Promise<T>): Promise<T> {
    const { clock } = this.#core.environment;
    const { promise, reject } = Promise.withResolvers<never>();
    let lateness: CaissonError | undefined;
    const cancel = clock.after(limits.moveHoldMillisecondsMax, () => {
      lateness = new CaissonError(
        'transient',
        'timeout',
        `the stores did not finish the last step within ${limits.moveHoldMillisecondsMax} ms`,
        { details: { limitMilliseconds: limits.moveHoldMillisecondsMax } },
      );
      reject(lateness);
    });
    const acting = act(() => {
      if (lateness !== undefined) throw lateness;
    });
    acting.catch(() => undefined);
    try {
      return await Promise.race([acting, promise]);
    } finally {
      cancel();
    }
  }

  /** The volume goes on in the target: what is left to do concerns the source alone, and space. */
  async #leave(): Promise<MoveReport> {
    const { core, sourceLock, sweep } = this.#options;
    const { keepSource = false, onProgress, onSwitched } = this.#wanted;
    await onSwitched?.();
    const named = new Set(namedObjects(core).map(({ key }) => key));
    for (const key of this.#mirror.keys())
      if (!named.has(key)) {
        await sweep().catch((error: unknown) => this.#warn('copies that were not needed could not be removed', error));
        break;
      }
    let removedObjects = 0;
    let sourceRemains = keepSource;
    try {
      const signal = this.#stop.signal;
      if (!keepSource) removedObjects = await deleteMovedSource(this.#source, core.prefix, { onProgress, signal });
    } catch (error) {
      sourceRemains = true;
      this.#warn('the objects in the store that was left could not all be removed', error);
    }
    await sourceLock.release().catch((error: unknown) => this.#warn('the lock of the source was not released', error));
    const { copiedCount, copiedBytes, presentCount } = this.#mirror;
    return {
      store: this.#target.url,
      objectsCopied: copiedCount,
      bytesCopied: copiedBytes,
      objectsPresent: presentCount,
      passes: this.#pass,
      heldMilliseconds: this.#heldMilliseconds,
      removedObjects,
      sourceRemains,
    };
  }

  #head(state: HeadState, epoch: number, holder: Uint8Array): Parameters<typeof swapHead>[3] {
    const { volumeId, published, signingKey } = this.#core;
    const { number, digest } = published;
    return { state, volumeId, epoch, number, manifestDigest: digest, holder, writerKey: signingKey.publicKey };
  }

  #explained(error: unknown): unknown {
    if (!(error instanceof CaissonError) || ['fenced', 'invalid', 'bug'].includes(error.kind)) return error;
    const remedy = error.remedy ?? 'The same command goes on where this one stopped.';
    return new CaissonError(
      error.kind,
      error.code,
      `the move stopped, and the volume goes on in ${this.#source.url}: ${error.message}`,
      { remedy, details: error.details, cause: error },
    );
  }

  #warn(message: string, error: unknown): void {
    const { environment, volumeId } = this.#core;
    environment.log?.('warn', message, { volume: toHex(volumeId), error: messageOf(error) });
  }
}

function sumBytes(objects: readonly { readonly bytes: number | undefined }[]): number {
  return objects.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
}
