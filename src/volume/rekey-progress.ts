/**
 * RekeyProgress: what of a volume is still sealed under an older key than it should be. In a clone that is also
 * everything that it took over from its parent, which lies under copies of the parent's keys.
 *
 * It is computed from the object table, so it is right after a restart, too.
 */
import type { VolumeCore } from './volume-core.ts';
import type { Progress, RekeyInfo } from './volume-types.ts';

export class RekeyProgress {
  readonly #core: VolumeCore;
  /** When this process first looked: the whole way, as far as it knows. */
  #bytesAtStart = 0;

  constructor(core: VolumeCore) {
    this.#core = core;
    if (this.isRunning) this.start();
  }

  get isRunning(): boolean {
    return this.#core.published.rekeyBelow > 0;
  }

  start(): void {
    this.#bytesAtStart = this.#bytesLeft();
  }

  /** Nothing is left, written or being written. */
  get isComplete(): boolean {
    return this.#old(() => true).length === 0 && !this.hasUnpublished();
  }

  /** Something under an older key that no manifest names yet. */
  hasUnpublished(): boolean {
    const { table, published } = this.#core;
    for (let index = 0; index < table.length; index++) {
      const entry = table.find(index);
      if (entry?.published === false && entry.keyEpoch < published.rekeyBelow) return true;
    }
    return false;
  }

  /** Segments of the newest state under older keys. */
  oldSegments(): number[] {
    return this.#old((index) => this.#core.table.isSegment(index));
  }

  /** Map objects of the newest state under older keys. */
  oldMapObjects(): Set<number> {
    return new Set(this.#old((index) => this.#core.table.isMapObject(index)));
  }

  info(): RekeyInfo | undefined {
    if (!this.isRunning) return undefined;
    const bytesLeft = this.#bytesLeft();
    return {
      keyEpoch: this.#core.published.rekeyBelow,
      bytesLeft,
      bytesAtStart: Math.max(this.#bytesAtStart, bytesLeft),
    };
  }

  report(onProgress: Progress | undefined): void {
    const info = onProgress === undefined ? undefined : this.info();
    if (info !== undefined) onProgress!(info.bytesAtStart - info.bytesLeft, info.bytesAtStart, 'bytes');
  }

  #bytesLeft(): number {
    return this.#old(() => true).reduce((total, index) => total + this.#core.table.get(index).bytes, 0);
  }

  #old(isWanted: (index: number) => boolean): number[] {
    const { table, published } = this.#core;
    const found: number[] = [];
    for (let index = 0; index < table.length; index++) {
      if (!table.isLive(index) || !isWanted(index)) continue;
      if (!table.isOwn(index) || table.get(index).keyEpoch < published.rekeyBelow) found.push(index);
    }
    return found;
  }
}
