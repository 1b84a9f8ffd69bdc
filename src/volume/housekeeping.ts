/**
 * Housekeeping: what an open volume does for itself beside its users' requests: cleaning, sealing anew under a new key,
 * removing orphans. One front for the volume; the work is in cleaner.ts, rekeying.ts and orphans.ts.
 */
import { assert } from '../lib/assert.ts';
import { isCaissonError, messageOf } from '../lib/errors.ts';
import { ManifestKind } from '../manifest/manifest-format.ts';
import { PinnedNumbers } from '../manifest/pinned-numbers.ts';
import { blockBytes } from '../segment/segment-format.ts';
import { Cleaner, type CleanerOptions } from './cleaner.ts';
import { removeOrphans } from './orphans.ts';
import { beginRekey, epochsOfPins, forgetOldKeys } from './rekeying.ts';
import type { VolumeCore } from './volume-core.ts';
import type { CleanOptions, CleanReport, HousekeepingStats, Progress, RekeyOptions } from './volume-types.ts';

export interface HousekeepingOptions extends Omit<CleanerOptions, 'finishRekey'> {
  /** Publishes a manifest of this kind; `change` runs in the turn in which its state is frozen. */
  readonly publish: (kind: ManifestKind, change: () => void) => Promise<void>;
  /** Resolves when no publication is running. */
  readonly settled: () => Promise<void>;
  /** Throws unless the head is still ours. */
  readonly checkFence: () => Promise<void>;
}

export class Housekeeping {
  readonly #options: HousekeepingOptions;
  readonly #cleaner: Cleaner;
  #isStopped = false;
  #sweeping: Promise<string[]> | undefined;

  constructor(options: HousekeepingOptions) {
    this.#options = options;
    this.#cleaner = new Cleaner({ ...options, finishRekey: () => this.#finishRekey() });
  }

  /** The volume was opened for writing; `isClean`: its last writer had closed it. */
  start(isClean: boolean): void {
    if (this.#cleaner.rekey.isRunning) this.#cleaner.wake();
    this.#cleaner.wakeWhenIdle();
    if (isClean) return;
    this.sweep().catch((error: unknown) => {
      if (this.#isStopped || isCaissonError(error, 'volume-fenced')) return;
      const { log } = this.#options.core.environment;
      log?.('warn', 'orphans could not be removed; they take space and do no harm', { error: messageOf(error) });
    });
  }

  wake(): void {
    this.#cleaner.wake();
  }

  /** What writers wait for while they make garbage faster than it can be cleaned. */
  pressure(): Promise<void> | undefined {
    return this.#cleaner.pressure();
  }

  takeEmptied(): number[] {
    return this.#cleaner.takeEmptied();
  }

  async clean(options: CleanOptions = {}): Promise<CleanReport> {
    const report = await this.#cleaner.clean(options);
    return { ...report, orphansRemoved: (await this.sweep()).length };
  }

  /** Begins a rekey; the cleaner does the rest in the background, also after a restart. */
  async rekey(options: RekeyOptions = {}): Promise<void> {
    const { core, check, publish } = this.#options;
    check();
    await beginRekey(core, options.renewWith);
    check();
    await publish(ManifestKind.rekey, () => {
      core.published.rekeyBelow = core.keyring.currentKeyEpoch;
    });
    this.#cleaner.rekey.start();
    this.#cleaner.wake();
  }

  finishRekey(onProgress: Progress | undefined): Promise<void> {
    return this.#cleaner.rekeyNow(onProgress);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#cleaner.stop();
    await this.#sweeping?.catch(() => undefined);
  }

  stats(): HousekeepingStats {
    const cleaner = this.#cleaner;
    return {
      ...spaceOf(this.#options.core),
      cleanedBytes: cleaner.cleanedBytes,
      copiedBytes: cleaner.copiedBytes,
      segmentsCleaned: cleaner.segmentsCleaned,
      rekey: cleaner.rekey.info(),
    };
  }

  /** Removes what nothing names; returns the keys. */
  sweep(): Promise<string[]> {
    const { core, settled, checkFence } = this.#options;
    const check = (): void => this.#check();
    this.#sweeping ??= removeOrphans(core, { settled, checkFence, check }).finally(() => (this.#sweeping = undefined));
    return this.#sweeping;
  }

  #check(): void {
    if (!this.#isStopped) this.#options.check();
  }

  async #finishRekey(): Promise<void> {
    const { core, publish } = this.#options;
    const pinned = await epochsOfPins(core);
    let kept: readonly number[] = [];
    await publish(ManifestKind.rekeyed, () => {
      assert(this.#cleaner.rekey.isComplete, 'what is sealed after a rekey began is sealed under its key');
      kept = forgetOldKeys(core, pinned);
      core.published.rekeyBelow = 0;
    });
    core.environment.log?.('info', 'the rekey is complete', {
      keyEpoch: core.keyring.currentKeyEpoch,
      epochsThatSnapshotsNeed: kept.join(' '),
    });
  }
}

/** How the bytes of the volume's own segments divide. What a clone took over lies in its parent's space. */
function spaceOf(core: VolumeCore): Pick<HousekeepingStats, 'liveBytes' | 'deadBytes' | 'pinnedBytes'> {
  const { table, map, published } = core;
  const pins = new PinnedNumbers(published.pins);
  let deadBytes = 0;
  let pinnedBytes = table.totals().pinnedBytes;
  for (let index = 0; index < table.length; index++) {
    if (!table.isLive(index) || !table.isSegment(index) || !table.isOwn(index)) continue;
    const { bytes, birth } = table.get(index);
    const needless = Math.max(0, bytes - map.usage.blocks(index) * blockBytes);
    if (pins.anyIn(birth, Number.MAX_SAFE_INTEGER)) pinnedBytes += needless;
    else deadBytes += needless;
  }
  return { liveBytes: map.usage.totalBlocks * blockBytes, deadBytes, pinnedBytes };
}
