/**
 * Reads a backup stream into a store (spec/backup-format.md, "Reading"). No key is asked for: what is checked
 * are digests, and the signatures of the writer that the volume id names.
 *
 * Invariants: a payload is read only when its frame is expected and its length known; nothing enters the store
 * before its digest was checked; the head is swapped last, after the end of the stream was checked, so that
 * before it nothing has changed for anybody; nothing is ever deleted.
 */
import { equalBytes, sha256 } from '../crypto/digest.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { backupObjectBytesMax } from '../lib/limits.ts';
import { catalogPageBytesMax } from '../manifest/catalog-format.ts';
import { headBytesMax, HeadState } from '../manifest/head-format.ts';
import { manifestBytesMax } from '../manifest/manifest-format.ts';
import { checkHead, checkManifest, readHead, type ReadManifest } from '../manifest/manifest.ts';
import type { ObjectTable } from '../manifest/object-table.ts';
import { headKey, manifestKey, volumePrefix } from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import { readCatalog } from '../volume/opening.ts';
import {
  backupEndBytes,
  backupFrameHeaderBytes,
  backupStartBytes,
  decodeBackupEnd,
  decodeBackupStart,
  decodeFrameHeader,
  FrameKind,
  isBackupEnd,
  type BackupEnd,
  type BackupStart,
  type FrameHeader,
} from './backup-format.ts';
import { BackupInput } from './backup-input.ts';
import type { ContentSource } from './content.ts';
import { olderManifests } from './exporter.ts';
import { isGone, listedObjects, manifestBytes, pageObject, type ViewObject } from './manifest-view.ts';
import { ObjectWrites } from './object-writes.ts';
import { swapExact } from './swap-exact.ts';

export interface ImportOptions {
  readonly store: Store;
  readonly source: ContentSource;
  readonly onProgress: ((done: number, total: number, unit: string) => void) | undefined;
  readonly signal: AbortSignal | undefined;
}

export interface ImportReport {
  readonly volumeId: Uint8Array;
  readonly manifestNumber: number;
  readonly manifestDigest: Uint8Array;
  /** Number of the base, in an incremental stream. */
  readonly baseNumber: number | undefined;
  readonly createdCount: number;
  /** Objects that were there already: of an import that broke off, or of a clone. */
  readonly presentCount: number;
  readonly streamBytes: number;
  /** The store stood at this very state before. */
  readonly wasPresent: boolean;
}

export async function importBackup(options: ImportOptions): Promise<ImportReport> {
  const { store, source, signal } = options;
  const input = new BackupInput(source, signal);
  try {
    const start = await decoded(input, backupStartBytes, decodeBackupStart);
    const lock = await store.lock(volumePrefix(start.volumeId));
    try {
      return await new Importer(options, input, start).run();
    } finally {
      await lock.release();
    }
  } finally {
    await input.settle();
  }
}

/** What the target store showed before the stream: the version its head had, and what it named. */
interface Target {
  readonly version: string | null;
  readonly number: number;
  readonly manifestDigest: Uint8Array | undefined;
  readonly isClosed: boolean;
}

class Importer {
  readonly #options: ImportOptions;
  readonly #store: Store;
  readonly #input: BackupInput;
  readonly #start: BackupStart;
  readonly #prefix: string;
  readonly #writes: ObjectWrites;
  #newest: ReadManifest | undefined;
  /** Named by the newest manifest's catalog references, then by the pages themselves. */
  #expected = new Map<string, ViewObject>();
  #table: ObjectTable | undefined;
  /** Digests of older manifests that a newer one names. */
  #olderDigests = new Set<string>();
  #older: ReadManifest[] = [];
  #head: Uint8Array | undefined;
  #frameCount = 0;

  constructor(options: ImportOptions, input: BackupInput, start: BackupStart) {
    this.#options = options;
    this.#store = options.store;
    this.#input = input;
    this.#start = start;
    this.#prefix = volumePrefix(start.volumeId);
    this.#writes = new ObjectWrites(options.store);
  }

  async run(): Promise<ImportReport> {
    const target = await readTarget(this.#store, this.#prefix, this.#start.volumeId);
    try {
      for (;;) {
        const header = await this.#input.take(backupFrameHeaderBytes);
        if (isBackupEnd(header)) {
          await this.#takeEnd(header);
          break;
        }
        await this.#takeFrame(
          decodedHere(() => decodeFrameHeader(header)),
          target,
        );
        this.#frameCount++;
        this.#options.onProgress?.(this.#input.position, this.#input.size ?? 0, 'bytes');
      }
      return await this.#finish(target);
    } finally {
      await this.#writes.settle();
    }
  }

  async #takeFrame(header: FrameHeader, target: Target): Promise<void> {
    if (this.#head !== undefined && header.kind !== FrameKind.newest) throw invalid('a frame follows the head');
    switch (header.kind) {
      case FrameKind.newest:
        return this.#takeNewest(await this.#payload(header, manifestBytesMax), target);
      case FrameKind.manifest:
        return this.#takeOlder(header, await this.#payload(header, manifestBytesMax));
      case FrameKind.head:
        return this.#takeHead(header, await this.#payload(header, headBytesMax));
      case FrameKind.segment:
      case FrameKind.map:
      case FrameKind.catalog:
        return this.#takeObject(header);
    }
  }

  /** Replaces an earlier one: the writer went on while it was exported. */
  #takeNewest(bytes: Uint8Array, target: Target): void {
    const { volumeId, base } = this.#start;
    const newest = checkManifest(bytes, sha256(bytes), volumeId, 'in the backup');
    const { number } = newest.manifest;
    if (number <= (this.#newest?.manifest.number ?? -1)) throw invalid('an older manifest replaces a newer one');
    if (base !== undefined && number < base.number) throw invalid('its manifest is older than its base');
    checkTarget(target, this.#start, newest);
    this.#newest = newest;
    this.#table = undefined;
    this.#head = undefined;
    this.#older = [];
    this.#olderDigests = new Set(newest.manifest.pins.map(({ digest }) => toHex(digest)));
    this.#expectOlderThan(newest);
    this.#expected = new Map(newest.manifest.catalog.map(pageObject).map((page) => [nameOf(page), page]));
  }

  async #takeObject(header: FrameHeader): Promise<void> {
    const object = this.#expected.get(nameOf(header)) ?? (await this.#listed()).get(nameOf(header));
    if (object === undefined) throw invalid(`the manifest names no such object: ${toHex(header.id)}`);
    this.#expected.delete(nameOf(header));
    if (header.length !== object.bytes)
      throw invalid(`${object.key} is said to have ${header.length} bytes, not ${object.bytes}`);
    const bytesMax = object.kind === FrameKind.catalog ? catalogPageBytesMax : backupObjectBytesMax;
    const bytes = await this.#payload(header, bytesMax);
    if (!equalBytes(sha256(bytes), object.digest)) throw notAsSigned(object.key);
    await this.#writes.add(object.key, bytes);
  }

  /** The objects that the catalog lists; its pages must all be there by now. */
  async #listed(): Promise<Map<string, ViewObject>> {
    if (this.#table !== undefined) return this.#expected;
    await this.#writes.finish();
    this.#table = await this.#readTable();
    this.#expected = new Map();
    for (const object of listedObjects(this.#table, this.#start.base?.number))
      this.#expected.set(nameOf(object), object);
    return this.#expected;
  }

  async #readTable(): Promise<ObjectTable> {
    if (this.#newest === undefined) throw invalid('an object comes before the manifest');
    try {
      return await readCatalog(this.#store, this.#newest);
    } catch (error) {
      if (!isGone(error)) throw error;
      throw this.#start.base === undefined ? invalid('a page of its catalog is missing', error) : baseIncomplete(error);
    }
  }

  #takeOlder(header: FrameHeader, bytes: Uint8Array): void {
    const digest = sha256(bytes);
    if (!this.#olderDigests.has(toHex(digest)))
      throw invalid(`no newer manifest names the manifest ${toHex(header.id)}`);
    const older = checkManifest(bytes, digest, this.#start.volumeId, 'in the backup');
    this.#olderDigests.delete(toHex(digest));
    this.#older.push(older);
    this.#expectOlderThan(older);
  }

  #expectOlderThan({ manifest }: ReadManifest): void {
    if (manifest.number > (this.#newest?.manifest.floor ?? 0)) this.#olderDigests.add(toHex(manifest.previousDigest));
  }

  #takeHead({ owner }: FrameHeader, bytes: Uint8Array): void {
    const head = checkHead(bytes, this.#start.volumeId);
    const isOurs = this.#newest !== undefined && equalBytes(head.manifestDigest, this.#newest.digest);
    if (!isOurs || head.number !== this.#newest?.manifest.number) throw invalid('its head names another manifest');
    if (head.state !== HeadState.closed) throw invalid('its head is not closed');
    if (!equalBytes(owner, this.#start.volumeId)) throw invalid('its head is said to be of another volume');
    this.#head = bytes;
  }

  async #takeEnd(header: Uint8Array): Promise<void> {
    const digestBytes = 32;
    const middle = await this.#input.take(backupEndBytes - header.length - digestBytes);
    const found = this.#input.finishDigest();
    const last = await this.#input.take(digestBytes, false);
    const end = decodedHere((): BackupEnd => decodeBackupEnd(Buffer.concat([header, middle, last])));
    if (!equalBytes(end.digest, found)) throw invalid('its bytes are not those that its digest was made of');
    if (end.frameCount !== this.#frameCount) throw invalid(`it has ${this.#frameCount} frames, not ${end.frameCount}`);
    if (this.#head === undefined || this.#newest === undefined) throw invalid('it has no head');
    if (end.manifestNumber !== this.#newest.manifest.number || !equalBytes(end.manifestDigest, this.#newest.digest))
      throw invalid('its end names another manifest');
    if (!(await this.#input.isAtEnd())) throw invalid('bytes follow its end');
  }

  async #finish(target: Target): Promise<ImportReport> {
    const newest = this.#newest!;
    await this.#listed();
    await this.#writes.finish();
    await this.#checkComplete();
    for (const older of this.#older.toReversed()) await this.#addManifest(older);
    await this.#checkChain(newest);
    await this.#addManifest(newest);
    const wasPresent = isAt(target, newest);
    if (!wasPresent) await this.#swapHead(target);
    return {
      volumeId: this.#start.volumeId,
      manifestNumber: newest.manifest.number,
      manifestDigest: newest.digest,
      baseNumber: this.#start.base?.number,
      createdCount: this.#writes.createdCount,
      presentCount: this.#writes.presentCount,
      streamBytes: this.#input.position,
      wasPresent,
    };
  }

  /** Every object, those of the base included, is in the store with its length. */
  async #checkComplete(): Promise<void> {
    const found = new Map<string, Map<string, number>>();
    for (const object of listedObjects(this.#table!, undefined)) {
      const prefix = volumePrefix(object.owner);
      let sizes = found.get(prefix);
      if (sizes === undefined) {
        sizes = new Map();
        for await (const { key, size } of this.#store.list(prefix)) sizes.set(key, size);
        found.set(prefix, sizes);
      }
      if (sizes.get(object.key) === object.bytes) continue;
      throw this.#start.base === undefined || object.birth > this.#start.base.number
        ? invalid(`${object.key} is missing in it`)
        : baseIncomplete(undefined);
    }
  }

  async #addManifest(read: ReadManifest): Promise<void> {
    await this.#writes.add(manifestKey(this.#prefix, read.manifest.number, read.digest), manifestBytes(read));
    await this.#writes.finish();
  }

  async #checkChain(newest: ReadManifest): Promise<void> {
    try {
      for await (const older of olderManifests(this.#store, this.#start.volumeId, newest)) void older;
    } catch (error) {
      if (isGone(error)) throw invalid('a manifest that its newest one needs is missing', error);
      throw error;
    }
  }

  async #swapHead({ version }: Target): Promise<void> {
    try {
      await swapExact(this.#store, headKey(this.#prefix), version, this.#head!);
    } catch (error) {
      if (!isCaissonError(error, 'object-changed')) throw error;
      throw new CaissonError(
        'fenced',
        'backup-base-missing',
        'the volume in this store was changed during the import',
        {
          remedy: 'Close whatever uses it there, and look at it before you import again.',
          cause: error,
        },
      );
    }
  }

  async #payload({ length }: FrameHeader, bytesMax: number): Promise<Uint8Array> {
    if (length > bytesMax) throw invalid(`a frame of ${length} bytes exceeds ${bytesMax}`);
    return this.#input.take(length);
  }
}

async function readTarget(store: Store, prefix: string, volumeId: Uint8Array): Promise<Target> {
  try {
    const { head, version } = await readHead(store, prefix, volumeId);
    const { number, manifestDigest, state } = head;
    return { version, number, manifestDigest, isClosed: state === HeadState.closed };
  } catch (error) {
    if (!isCaissonError(error, 'volume-missing')) throw error;
    return { version: null, number: 0, manifestDigest: undefined, isClosed: true };
  }
}

function isAt({ manifestDigest }: Target, { digest }: Pick<ReadManifest, 'digest'>): boolean {
  return manifestDigest !== undefined && equalBytes(manifestDigest, digest);
}

function checkTarget(target: Target, { base, volumeId }: BackupStart, newest: ReadManifest): void {
  if (target.isClosed && isAt(target, newest)) return; // a repetition
  if (base === undefined) {
    if (target.version === null) return;
    throw new CaissonError(
      'invalid',
      'volume-exists',
      `the store holds volume ${toHex(volumeId)} already, at manifest ${target.number}`,
      {
        remedy: 'Import an incremental backup that starts there, or import into another store.',
        details: { manifestNumber: target.number },
      },
    );
  }
  if (target.isClosed && isAt(target, base)) return;
  const found =
    target.version === null
      ? 'does not hold the volume'
      : `stands at manifest ${target.number}${target.isClosed ? '' : ', open for writing'}`;
  throw new CaissonError(
    'invalid',
    'backup-base-missing',
    `this backup starts from manifest ${base.number}; the store ${found}`,
    {
      remedy: 'Import the backups in the order in which they were made, beginning with a full one.',
      details: { base: base.number, manifestNumber: target.number },
    },
  );
}

async function decoded<Value>(
  input: BackupInput,
  length: number,
  decode: (bytes: Uint8Array) => Value,
): Promise<Value> {
  const bytes = await input.take(length);
  return decodedHere(() => decode(bytes));
}

/** What the codec refuses is a stream that no exporter wrote. */
function decodedHere<Value>(decode: () => Value): Value {
  try {
    return decode();
  } catch (error) {
    if (isCaissonError(error, 'format-invalid')) throw invalid(error.message, error);
    throw error;
  }
}

function nameOf({ kind, owner, id }: Pick<ViewObject, 'kind' | 'owner' | 'id'>): string {
  return `${kind}${toHex(owner)}${toHex(id)}`;
}

function invalid(message: string, cause?: unknown): CaissonError {
  return new CaissonError('integrity', 'backup-invalid', `this is no sound backup: ${message}`, {
    remedy: 'Nothing in the store has changed for anybody. Take another copy of the backup.',
    cause,
  });
}

function notAsSigned(key: string): CaissonError {
  return new CaissonError('integrity', 'digest-mismatch', `${key} is not what the volume's writer signed`, {
    remedy: 'Nothing in the store has changed for anybody. Take another copy of the backup.',
    details: { object: key },
  });
}

function baseIncomplete(cause: unknown): CaissonError {
  return new CaissonError(
    'integrity',
    'backup-base-missing',
    'the store no longer holds everything of the base that this backup builds on',
    {
      remedy: 'Check it with "caisson volume verify --public", and import a full backup into another store.',
      cause,
    },
  );
}
