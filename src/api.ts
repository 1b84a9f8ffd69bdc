/**
 * The package's front door: sealed volumes in the caller's own process, without daemon, socket or
 * kernel device (docs/api.md). For a Node program inside an enclave this is the whole of Caisson.
 *
 * Invariants: bytes that come in are copied before a call returns, bytes that go out belong to the
 * caller; every failure is a CaissonError; a store that was opened here is closed with its volume.
 */
import { chooseSealer } from './crypto/choose-sealer.ts';
import { systemRandom } from './crypto/random.ts';
import { openFileAnchor } from './anchor/file-anchor.ts';
import type { BlockDevice, Extent } from './export/block-device.ts';
import { createKeyFileSource } from './keys/key-file.ts';
import type { KeySource } from './keys/key-source.ts';
import { noneSource } from './keys/none.ts';
import { openKeySource } from './keys/open-key-source.ts';
import { createPassphraseSource, passphraseFromBytes } from './keys/passphrase.ts';
import { patientClock, systemClock } from './lib/clock.ts';
import { CaissonError } from './lib/errors.ts';
import { fromHex } from './lib/hex.ts';
import { Region } from './lib/region.ts';
import { nodeFileSystem } from './store/node-file-system.ts';
import { CachedStore } from './store/cached-store.ts';
import { openStore, parseStoreUrl } from './store/open-store.ts';
import { createReadCache } from './store/read-cache-file.ts';
import * as engine from './volume/volume.ts';
import type {
  ChangedExtent,
  Durability,
  EraseReceipt,
  InspectedVolume,
  KeySlotInfo,
  Progress,
  Protection,
  PublicVolumeInfo,
  SnapshotInfo,
  VerifyReport,
  Volume,
  VolumeEnvironment,
  VolumeInfo,
  VolumeLog,
  VolumeStats,
  VolumeTuning,
} from './volume/volume-types.ts';

export { CaissonError, isCaissonError } from './lib/errors.ts';
export type { ErrorCode, ErrorKind } from './lib/errors.ts';
export { Region } from './lib/region.ts';
export { createHashedVolume, openHashedVolume, OpenHashedVolume, verifyHashedVolume } from './hashed-api.ts';
export type {
  BuildReport,
  CreateHashedVolumeOptions,
  HashedInfo,
  HashedPlace,
  HashedStats,
  HashedVerifyReport,
  OpenHashedVolumeOptions,
  VerifyHashedVolumeOptions,
} from './hashed-api.ts';
export type {
  BlockDevice,
  ChangedExtent,
  Durability,
  EraseReceipt,
  Extent,
  InspectedVolume,
  KeySlotInfo,
  KeySource,
  Protection,
  PublicVolumeInfo,
  SnapshotInfo,
  VerifyReport,
  VolumeInfo,
  VolumeLog,
  VolumeStats,
  VolumeTuning,
};

/** Where a volume lies, and where its newest state is remembered. */
export interface Place {
  /** `dir:/srv/volumes`, or a plain path; `s3://bucket/prefix?endpoint=https://host`. */
  readonly store: string;
  /** A folder outside the store and out of its operator's reach: it makes a rollback visible. */
  readonly anchorFolder: string;
  /** Where a store on another machine (`s3://`) keeps on this one what is acknowledged and not yet published. */
  readonly spoolFolder?: string;
  /** Where sealed pieces that were fetched from such a store are kept; without it each read goes to the store. */
  readonly readCacheFolder?: string;
  readonly tuning?: Partial<VolumeTuning>;
  readonly log?: VolumeLog;
}

/** What opens a volume. Copied; the caller may wipe its own. `none` goes with protection `none` alone. */
export type Key =
  | { readonly passphrase: string | Uint8Array }
  | { readonly keyFile: Uint8Array }
  | { readonly source: KeySource }
  /** A source outside this process, as `--key` of the command takes it (docs/key-sources.md); it holds no secret. */
  | { readonly url: string }
  | 'none';

export interface CreateVolumeOptions extends Place {
  /** Bytes, a multiple of 4096. */
  readonly size: number;
  readonly key: Key;
  /** `sealed` unless it says otherwise. */
  readonly protection?: Protection;
  /** `remote` on a store of another machine, else `local`, unless it says otherwise (docs/durability.md). */
  readonly durability?: Durability;
}

export interface OpenVolumeOptions extends Place {
  /** 32 hexadecimal digits. */
  readonly id: string;
  readonly key: Key;
  readonly readOnly?: boolean;
  /** Opens although this anchor has never seen the volume: on purpose, as on a new machine. */
  readonly acceptMissingAnchor?: boolean;
}

export interface VerifyVolumeOptions extends Place {
  readonly id: string;
  /** Without it only what is public is checked: every object's digest and the signed chain. */
  readonly key?: Key;
  readonly onProgress?: Progress;
}

export interface SnapshotOptions extends Place {
  readonly id: string;
  readonly key: Key;
  /** Its name or id. */
  readonly snapshot: string;
  readonly acceptMissingAnchor?: boolean;
}

export interface DiffSnapshotsOptions extends Place {
  readonly id: string;
  readonly key: Key;
  /** Name or id of the earlier snapshot. */
  readonly from: string;
  /** Of the later one; the newest published state when absent. */
  readonly to?: string;
}

export interface EraseVolumeOptions extends Place {
  readonly id: string;
  readonly key: Key;
  /** Leaves the sealed bytes where they are; nobody can read them any more. */
  readonly keepObjects?: boolean;
  readonly acceptMissingAnchor?: boolean;
  readonly onProgress?: Progress;
}

/** Makes the store too where there is none. The volume's id is in the answer. */
export async function createVolume(options: CreateVolumeOptions): Promise<PublicVolumeInfo> {
  const { size, key, protection = 'sealed' } = options;
  return withEnvironment(options, true, (environment) => {
    const durability = options.durability ?? (environment.store.isRemote ? 'remote' : 'local');
    return withKey(key, (keySource) => engine.createVolume(environment, { size, protection, durability, keySource }));
  });
}

export async function openVolume(options: OpenVolumeOptions): Promise<OpenVolume> {
  const { id, key, readOnly = false, acceptMissingAnchor = false } = options;
  const volumeId = parseId(id);
  const environment = await openEnvironment(options, false);
  try {
    const volume = await withKey(key, (keySource) =>
      engine.openVolume(environment, { volumeId, keySource, readOnly, acceptMissingAnchor }),
    );
    return new OpenVolume(volume, environment);
  } catch (error) {
    await environment.store.close();
    throw error;
  }
}

/** Checks every object. It never throws for what it finds: the report lists the findings. */
export async function verifyVolume(options: VerifyVolumeOptions): Promise<VerifyReport> {
  const { id, key, onProgress } = options;
  const common = { volumeId: parseId(id), ...(onProgress === undefined ? {} : { onProgress }) };
  return withEnvironment(options, false, (environment) => {
    if (key === undefined) return engine.verifyVolume(environment, common);
    return withKey(key, (keySource) => engine.verifyVolume(environment, { ...common, keySource }));
  });
}

/** What the store shows to anybody. */
export async function inspectVolume(place: Place & { readonly id: string }): Promise<InspectedVolume> {
  const volumeId = parseId(place.id);
  return withEnvironment(place, false, (environment) => engine.inspectVolume(environment, volumeId));
}

/** The ids of the volumes in a store. */
export async function listVolumes(place: Place): Promise<string[]> {
  return withEnvironment(place, false, (environment) => engine.listVolumes(environment.store));
}

/** Removes every object of the volume, and what the anchor remembers of it. There is no way back. */
export async function removeVolume(place: Place & { readonly id: string }): Promise<{ removedObjects: number }> {
  const volumeId = parseId(place.id);
  return withEnvironment(place, false, (environment) => engine.removeVolume(environment, volumeId));
}

/** The volume as it was, read-only, beside whoever writes it now; any number at once. */
export async function openSnapshot(options: SnapshotOptions): Promise<OpenVolume> {
  const { id, key, snapshot, acceptMissingAnchor = false } = options;
  const volumeId = parseId(id);
  const environment = await openEnvironment(options, false);
  try {
    const volume = await withKey(key, (keySource) =>
      engine.openSnapshot(environment, { volumeId, keySource, snapshot, acceptMissingAnchor }),
    );
    return new OpenVolume(volume, environment);
  } catch (error) {
    await environment.store.close();
    throw error;
  }
}

/** Oldest first; of a volume that may be open elsewhere. */
export async function listSnapshots(
  place: Place & { readonly id: string; readonly key: Key },
): Promise<SnapshotInfo[]> {
  const volumeId = parseId(place.id);
  return withEnvironment(place, false, (environment) =>
    withKey(place.key, (keySource) => engine.listSnapshots(environment, { volumeId, keySource })),
  );
}

/** What changed between two snapshots: ascending extents of the later one, as they are found. */
export async function* diffSnapshots(options: DiffSnapshotsOptions): AsyncGenerator<ChangedExtent> {
  const { id, key, from, to } = options;
  const volumeId = parseId(id);
  const environment = await openEnvironment(options, false);
  const { source, wipe } = await sourceOf(key);
  try {
    yield* engine.diffSnapshots(environment, {
      ...{ volumeId, keySource: source, from },
      ...(to === undefined ? {} : { to }),
    });
  } finally {
    wipe();
    await environment.store.close();
  }
}

/**
 * Destroys the keys: nobody can open the volume again, neither here nor from a copy of its store (docs/erase.md).
 * The answer proves it to anybody. There is no way back. What an interrupted erasure left is removed by the next.
 */
export async function eraseVolume(options: EraseVolumeOptions): Promise<EraseReceipt> {
  const { id, key, keepObjects = false, acceptMissingAnchor = false, onProgress } = options;
  const common = { volumeId: parseId(id), keepObjects, acceptMissingAnchor };
  const progress = onProgress === undefined ? {} : { onProgress };
  return withEnvironment(options, false, (environment) =>
    withKey(key, (keySource) => engine.eraseVolume(environment, { ...common, ...progress, keySource })),
  );
}

/** Checks the signed bytes of a receipt with nothing else; `manifest-tampered` when they prove nothing. */
export function checkReceipt(manifest: Uint8Array, id: string): EraseReceipt {
  return engine.checkReceipt(Uint8Array.from(manifest), parseId(id));
}

/** The receipt as it lies in the store; undefined where nothing was erased. */
export async function readReceipt(place: Place & { readonly id: string }): Promise<EraseReceipt | undefined> {
  const volumeId = parseId(place.id);
  return withEnvironment(place, false, (environment) => engine.readReceipt(environment, volumeId));
}

/** A volume that is open in this process. Offsets and lengths are bytes; whole 4 KiB blocks are fastest. */
export class OpenVolume {
  readonly #volume: Volume;
  readonly #environment: VolumeEnvironment;

  constructor(volume: Volume, environment: VolumeEnvironment) {
    this.#volume = volume;
    this.#environment = environment;
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

  /** Flushes, publishes and frees the volume for the next writer. Idempotent. */
  async close(): Promise<void> {
    try {
      await this.#volume.close();
    } finally {
      await this.#environment.store.close();
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

async function openEnvironment(place: Place, create: boolean): Promise<VolumeEnvironment> {
  const { sealer } = chooseSealer();
  checkAnchorFolder(place);
  const { spoolFolder, readCacheFolder } = place;
  const remote =
    spoolFolder === undefined ? undefined : { spoolFolder, environment: process.env, random: systemRandom };
  const opened = await openStore(place.store, { create, ...(remote === undefined ? {} : { remote }) });
  const store =
    opened.isRemote && readCacheFolder !== undefined
      ? new CachedStore(opened, createReadCache(readCacheFolder, undefined, systemRandom), true)
      : opened;
  try {
    return {
      ...{ store, sealer, clock: systemClock, random: systemRandom },
      anchor: await openFileAnchor(nodeFileSystem, place.anchorFolder),
      ...(place.tuning === undefined ? {} : { tuning: place.tuning }),
      ...(place.log === undefined ? {} : { log: place.log }),
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function withEnvironment<Result>(
  place: Place,
  create: boolean,
  use: (environment: VolumeEnvironment) => Promise<Result>,
): Promise<Result> {
  const environment = await openEnvironment(place, create);
  try {
    return await use(environment);
  } finally {
    await environment.store.close();
  }
}

/** An anchor inside the store would be rolled back with it. */
function checkAnchorFolder({ store, anchorFolder }: Place): void {
  const { location } = parseStoreUrl(store);
  if (!anchorFolder.startsWith('/')) {
    throw new CaissonError(
      'invalid',
      'argument-invalid',
      `the anchor's folder ${JSON.stringify(anchorFolder)} is not absolute`,
      {
        remedy: 'Give a path that begins with "/".',
      },
    );
  }
  if (`${anchorFolder}/`.startsWith(`${location}/`)) {
    throw new CaissonError('invalid', 'argument-invalid', `the anchor's folder ${anchorFolder} lies in the store`, {
      remedy: 'Choose a folder outside the store and out of reach of whoever operates it.',
    });
  }
}

/** The source lives as long as the call that needs it; what this file made from a secret is wiped. */
async function withKey<Result>(key: Key, use: (source: KeySource) => Promise<Result>): Promise<Result> {
  const { source, wipe } = await sourceOf(key);
  try {
    return await use(source);
  } finally {
    wipe();
  }
}

async function sourceOf(key: Key): Promise<{ readonly source: KeySource; readonly wipe: () => void }> {
  if (key === 'none') return { source: noneSource, wipe: () => undefined };
  if ('source' in key) return { source: key.source, wipe: () => undefined };
  if ('url' in key) {
    const context = { clock: patientClock, random: systemRandom, environment: process.env };
    const source = await openKeySource(key.url, context);
    return { source, wipe: () => source.wipe() };
  }
  const source =
    'keyFile' in key
      ? createKeyFileSource({ content: key.keyFile, random: systemRandom })
      : passphraseSource(key.passphrase);
  return { source, wipe: () => source.wipe() };
}

function passphraseSource(text: string | Uint8Array): ReturnType<typeof createPassphraseSource> {
  const passphrase = passphraseFromBytes(typeof text === 'string' ? new TextEncoder().encode(text) : text);
  try {
    return createPassphraseSource({ passphrase, random: systemRandom });
  } finally {
    passphrase.fill(0);
  }
}

function parseId(text: string): Uint8Array {
  const volumeIdBytes = 16;
  const id = fromHex(text, volumeIdBytes);
  if (id !== undefined) return id;
  throw new CaissonError('invalid', 'argument-invalid', `${JSON.stringify(text)} is not the id of a volume`, {
    remedy: 'An id has 32 hexadecimal digits, as createVolume and listVolumes give it.',
  });
}
