/**
 * Hashed volumes in the caller's own process; `api.ts` is the door (docs/api.md, docs/hashed-volumes.md).
 * An image is opened by its root alone: no key, no anchor, no lock.
 */
import { systemRandom } from './crypto/random.ts';
import type { BlockDevice, Extent } from './export/block-device.ts';
import { createHashed } from './hashed/hashed-builder.ts';
import type { BuildReport } from './hashed/hashed-builder.ts';
import { parseRoot } from './hashed/hashed-format.ts';
import { verifyHashed } from './hashed/hashed-verify.ts';
import type { HashedVerifyReport } from './hashed/hashed-verify.ts';
import { openHashed } from './hashed/hashed-volume.ts';
import type { HashedInfo, HashedStats, HashedVolume } from './hashed/hashed-volume.ts';
import { systemClock } from './lib/clock.ts';
import { CaissonError } from './lib/errors.ts';
import { Region } from './lib/region.ts';
import { openStore } from './store/open-store.ts';
import type { Store } from './store/store.ts';
import { withImageOf } from './sys/erofs-image.ts';
import { openImageFile } from './sys/image-file.ts';

export type { BuildReport, HashedInfo, HashedStats, HashedVerifyReport };

export interface HashedPlace {
  /** `dir:/srv/volumes`, or a plain path; `s3://bucket/prefix?endpoint=https://host`. */
  readonly store: string;
  /** Needed for a store on another machine (`s3://`), as for other volumes; nothing is put there for an image. */
  readonly spoolFolder?: string;
}

export interface CreateHashedVolumeOptions extends HashedPlace {
  /** A directory (needs mkfs.erofs), an image file or a block device. */
  readonly from: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number, unit: string) => void;
}

export interface OpenHashedVolumeOptions extends HashedPlace {
  /** `sha256:` and 64 hexadecimal digits. */
  readonly root: string;
}

export interface VerifyHashedVolumeOptions extends OpenHashedVolumeOptions {
  readonly onProgress?: (done: number, total: number, unit: string) => void;
}

/** Makes the store too where there is none. The root is in the answer; the same content has the same one. */
export async function createHashedVolume(options: CreateHashedVolumeOptions): Promise<BuildReport> {
  const { from, signal, onProgress } = options;
  return withImageOf(from, systemClock, signal, async (imagePath) => {
    const source = await openImageFile(imagePath);
    try {
      return await withStore(options, true, (store) =>
        createHashed(store, { source, random: systemRandom, signal, onProgress }),
      );
    } finally {
      await source.close();
    }
  });
}

export async function openHashedVolume(options: OpenHashedVolumeOptions): Promise<OpenHashedVolume> {
  const root = parseRoot(options.root);
  const store = await openPlace(options, false);
  try {
    return new OpenHashedVolume(await openHashed(store, root), store);
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Reads and checks everything. What is damaged is in the report. */
export async function verifyHashedVolume(options: VerifyHashedVolumeOptions): Promise<HashedVerifyReport> {
  const root = parseRoot(options.root);
  return withStore(options, false, (store) => verifyHashed(store, root, { onProgress: options.onProgress }));
}

/** An image that is open in this process. Any number of processes may have it open. */
export class OpenHashedVolume {
  readonly #volume: HashedVolume;
  readonly #store: Store;

  constructor(volume: HashedVolume, store: Store) {
    this.#volume = volume;
    this.#store = store;
  }

  get root(): string {
    return this.#volume.root;
  }

  /** Bytes; the image's length, up to a multiple of 4096. */
  get size(): number {
    return this.#volume.size;
  }

  /** The same image as the exports see it, for callers that bring their own buffers. */
  get device(): BlockDevice {
    return this.#volume;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const isRange = Number.isSafeInteger(offset) && offset >= 0 && Number.isSafeInteger(length) && length >= 0;
    // Before anything is allocated for the range.
    if (!isRange || offset + length > this.size) {
      throw new CaissonError('invalid', 'range-outside', `the range ${offset} + ${length} is not inside the volume`, {
        details: { offset, length, size: this.size },
      });
    }
    if (length === 0) return new Uint8Array(0);
    const target = new Region(length);
    await this.#volume.read(offset, length, target, 0);
    return target.bytes;
  }

  async extents(offset: number, length: number, countMax = 1024): Promise<Extent[]> {
    return this.#volume.extents(offset, length, countMax);
  }

  info(): HashedInfo {
    return this.#volume.info();
  }

  stats(): HashedStats {
    return this.#volume.stats();
  }

  /** Idempotent. */
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
}

function openPlace({ store, spoolFolder }: HashedPlace, create: boolean): Promise<Store> {
  const remote =
    spoolFolder === undefined ? {} : { remote: { spoolFolder, environment: process.env, random: systemRandom } };
  return openStore(store, { create, ...remote });
}

async function withStore<Result>(
  place: HashedPlace,
  create: boolean,
  use: (store: Store) => Promise<Result>,
): Promise<Result> {
  const store = await openPlace(place, create);
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}
