/**
 * A volume that a caller of `api.ts` holds open (docs/api.md).
 *
 * Invariant: the store that the volume is in is closed with it; one that it has left, or never came to, with the move.
 */
import { openPlacedStore, withKey, type Key, type Place } from './api-place.ts';
import type { BlockDevice, Extent } from './export/block-device.ts';
import { CaissonError } from './lib/errors.ts';
import { Region } from './lib/region.ts';
import type { Store } from './store/store.ts';
import type {
  CleanOptions,
  CleanReport,
  HousekeepingStats,
  KeySlotInfo,
  MoveOptions,
  MoveReport,
  Progress,
  PublicVolumeInfo,
  SnapshotInfo,
  Volume,
  VolumeInfo,
  VolumeStats,
} from './volume/volume-types.ts';

/** `keepSource` leaves the objects where they were; `signal` stops the move, and the volume stays where it was. */
export interface MoveVolumeOptions extends Pick<MoveOptions, 'keepSource' | 'onProgress' | 'signal'> {
  readonly store: string;
  /** Those of the place that the volume was opened in, unless it says otherwise. */
  readonly spoolFolder?: string;
  readonly readCacheFolder?: string;
}

/** A volume that is open in this process. Offsets and lengths are bytes; whole 4 KiB blocks are fastest. */
export class OpenVolume {
  readonly #volume: Volume;
  readonly #place: Place;
  /** Where the volume is now. */
  #store: Store;

  constructor(volume: Volume, store: Store, place: Place) {
    this.#volume = volume;
    this.#store = store;
    this.#place = place;
  }

  get id(): string {
    return this.#volume.id;
  }

  get size(): number {
    return this.#volume.size;
  }

  get readOnly(): boolean {
    return this.#volume.readOnly;
  }

  /** The same volume as the exports see it, for callers that bring their own buffers and want no copy. */
  get device(): BlockDevice {
    return this.#volume;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    this.#checkRange(offset, length);
    if (length === 0) return new Uint8Array(0);
    const target = new Region(length);
    await this.#volume.read(offset, length, target, 0);
    return target.bytes;
  }

  /** Durable after the next `flush`, or with `durable` when it resolves. */
  async write(offset: number, bytes: Uint8Array, options: { readonly durable?: boolean } = {}): Promise<void> {
    this.#checkRange(offset, bytes.length);
    if (bytes.length === 0) return;
    const source = Region.from(bytes);
    await this.#volume.pressure();
    await this.#volume.write(offset, bytes.length, source, 0, options.durable ?? false);
  }

  /** Makes the range read as zeros and keeps its space. */
  async zero(offset: number, length: number): Promise<void> {
    await this.#volume.zero(offset, length, false, false);
  }

  /** Gives the range back; it reads as zeros. */
  async trim(offset: number, length: number): Promise<void> {
    await this.#volume.trim(offset, length, false);
  }

  /** Resolves when every write that was answered before the call is durable. */
  async flush(): Promise<void> {
    await this.#volume.flush();
  }

  async extents(offset: number, length: number, countMax = 1024): Promise<Extent[]> {
    return this.#volume.extents(offset, length, countMax);
  }

  async resize(size: number): Promise<void> {
    await this.#volume.resize(size);
  }

  info(): VolumeInfo {
    return this.#volume.info();
  }

  stats(): VolumeStats {
    return this.#volume.stats();
  }

  /** Publishes what was written as a signed state and advances the anchor. */
  async checkpoint(): Promise<void> {
    await this.#volume.checkpoint();
  }

  async addKey(key: Key): Promise<KeySlotInfo> {
    return withKey(key, (source) => this.#volume.addKey(source));
  }

  async removeKey(slot: number): Promise<void> {
    await this.#volume.removeKey(slot);
  }

  async changeKey(slot: number, key: Key): Promise<KeySlotInfo> {
    return withKey(key, (source) => this.#volume.changeKey(slot, source));
  }

  /** Keeps the state of this moment under a name, whatever the size of the volume. */
  async snapshot(name: string): Promise<SnapshotInfo> {
    return this.#volume.snapshot(name);
  }

  /** Oldest first. */
  snapshots(): readonly SnapshotInfo[] {
    return this.#volume.snapshots();
  }

  /** `snapshot-needed` while a clone starts from it. */
  async removeSnapshot(name: string): Promise<void> {
    const hasClones = this.snapshots().some((snapshot) => snapshot.name === name && snapshot.clones.length > 0);
    if (hasClones) await this.#volume.releaseGoneClones();
    await this.#volume.removeSnapshot(name);
  }

  /**
   * A new volume in the same store that starts from the state of now, or from a snapshot. `isolate` is on unless it
   * says otherwise: whoever has the clone's key can then read nothing that is written here later.
   */
  async clone(options: {
    readonly key: Key;
    readonly snapshot?: string;
    readonly isolate?: boolean;
  }): Promise<PublicVolumeInfo> {
    const { key, ...more } = options;
    return withKey(key, (keySource) => this.#volume.clone({ ...more, keySource }));
  }

  /** Makes the state of a snapshot the newest again and closes the volume: all must be read anew. */
  async restore(name: string): Promise<void> {
    await this.#volume.restore(name);
    await this.close();
  }

  /**
   * A new data key from here on; what older ones sealed is sealed anew in the background, or by `finishRekey`. `renewWith`
   * becomes the only key of the volume, which shuts out whoever knows one that was removed.
   */
  async rekey({ renewWith }: { readonly renewWith?: Key } = {}): Promise<void> {
    if (renewWith === undefined) return this.#volume.rekey();
    return withKey(renewWith, (source) => this.#volume.rekey({ renewWith: source }));
  }

  async finishRekey(onProgress?: Progress): Promise<void> {
    await this.#volume.finishRekey(onProgress);
  }

  /** Gives back the space of what was overwritten or trimmed, and removes orphans. */
  async clean(options: CleanOptions = {}): Promise<CleanReport> {
    return this.#volume.clean(options);
  }

  housekeeping(): HousekeepingStats {
    return this.#volume.housekeeping();
  }

  /**
   * Takes the volume to another store, made where there is none, while it is used; it goes on there (docs/moving.md). A
   * failure, or the signal, leaves it where it was, and the next attempt finds what was copied.
   */
  async move(options: MoveVolumeOptions): Promise<MoveReport> {
    const { store: _, spoolFolder, readCacheFolder, ...wanted } = options;
    const source = this.#store;
    const target = await openPlacedStore(
      {
        ...this.#place,
        ...(spoolFolder === undefined ? {} : { spoolFolder }),
        ...(readCacheFolder === undefined ? {} : { readCacheFolder }),
        store: options.store,
      },
      true,
    );
    try {
      if (target.url === source.url) throw thereAlready(target.url);
      return await this.#volume.move(target, { ...wanted, onSwitched: () => void (this.#store = target) });
    } finally {
      // The one that the volume is in is closed with the volume.
      await (this.#store === target ? source : target).close();
    }
  }

  /** Flushes, publishes and frees the volume for the next writer. Idempotent. */
  async close(): Promise<void> {
    try {
      await this.#volume.close();
    } finally {
      await this.#store.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Before anything is allocated for the range. */
  #checkRange(offset: number, length: number): void {
    const isRange = Number.isSafeInteger(offset) && offset >= 0 && Number.isSafeInteger(length) && length >= 0;
    if (isRange && offset + length <= this.size) return;
    throw new CaissonError('invalid', 'range-outside', `the range ${offset} + ${length} is not inside the volume`, {
      details: { offset, length, size: this.size },
    });
  }
}

function thereAlready(store: string): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', `the volume is in ${store} already`, { details: { store } });
}
