/**
 * Writes a backup stream (spec/backup-format.md).
 *
 * Invariants: a frame begins only when its payload is in memory and has the digest that its catalog says, so
 * that a stream never holds half an object; what the writer deletes meanwhile is met by a newer view, never by
 * a hole; the end comes last.
 */
import { equalBytes, sha256, startDigest } from '../crypto/digest.ts';
import { CaissonError } from '../lib/errors.ts';
import { backupObjectBytesMax, backupPieceBytes, backupRestartsMax } from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import { readHead, readManifest, type ReadManifest } from '../manifest/manifest.ts';
import { volumePrefix } from '../store/paths.ts';
import type { Store } from '../store/store.ts';
import {
  encodeBackupEnd,
  encodeBackupStart,
  encodeFrameHeader,
  FrameKind,
  type BackupBase,
  type FrameHeader,
} from './backup-format.ts';
import {
  isAfter,
  isGone,
  listedObjects,
  manifestBytes,
  pageObject,
  readView,
  type ManifestView,
  type SignHead,
  type ViewObject,
} from './manifest-view.ts';

/** Takes bytes in order; may be slow. They belong to the caller again once it has resolved. */
export type BackupSink = (bytes: Uint8Array) => Promise<void>;

export interface ExportOptions {
  readonly store: Store;
  readonly volumeId: Uint8Array;
  readonly base: BackupBase | undefined;
  /** Needed where the volume's head is open. */
  readonly signHead: SignHead | undefined;
  readonly sink: BackupSink;
  readonly onProgress: ((done: number, total: number, unit: string) => void) | undefined;
  readonly signal: AbortSignal | undefined;
}

export interface ExportReport {
  readonly manifestNumber: number;
  readonly manifestDigest: Uint8Array;
  readonly objectCount: number;
  /** Of the whole stream. */
  readonly streamBytes: number;
  /** How often the writer made the exporter begin anew. */
  readonly restartCount: number;
}

export async function exportBackup(options: ExportOptions): Promise<ExportReport> {
  const { store, volumeId, base, signHead } = options;
  const stream = new StreamWriter(options.sink);
  const sent = new Set<string>();
  let view = await firstView(store, volumeId, signHead);
  checkBase(view, base);
  await stream.bytes(encodeBackupStart({ volumeId, base }));
  for (let restartCount = 0; ; restartCount++) {
    try {
      await sendView(stream, view, options, sent);
      const { number } = view.newest.manifest;
      await stream.end(number, view.newest.digest);
      return {
        manifestNumber: number,
        manifestDigest: view.newest.digest,
        objectCount: sent.size,
        streamBytes: stream.byteCount,
        restartCount,
      };
    } catch (error) {
      if (!isGone(error)) throw error;
      if (restartCount === backupRestartsMax) throw moving(error);
      view = await newerView(options, view, error);
    }
  }
}

/** The writer may publish between the reading of the head and that of the rest. */
async function firstView(store: Store, volumeId: Uint8Array, signHead: SignHead | undefined): Promise<ManifestView> {
  for (let attempt = 0; ; attempt++) {
    const { head } = await readHead(store, volumePrefix(volumeId), volumeId);
    try {
      return await readView(store, volumeId, signHead);
    } catch (error) {
      if (!isGone(error) || attempt === backupRestartsMax) throw error;
      const again = await readHead(store, volumePrefix(volumeId), volumeId);
      if (again.head.number === head.number) throw error; // nobody published: it is really missing
    }
  }
}

async function newerView(
  { store, volumeId, signHead }: ExportOptions,
  old: ManifestView,
  missing: unknown,
): Promise<ManifestView> {
  const view = await firstView(store, volumeId, signHead);
  if (view.newest.manifest.number === old.newest.manifest.number) throw missing;
  return view;
}

async function sendView(
  stream: StreamWriter,
  view: ManifestView,
  options: ExportOptions,
  sent: Set<string>,
): Promise<void> {
  const { store, base, onProgress, signal } = options;
  const { newest, volumeId } = view;
  const pages = newest.manifest.catalog.map(pageObject).filter(({ birth }) => isAfter(birth, base?.number));
  const objects = [...listedObjects(view.table, base?.number)].sort((left, right) => rank(left) - rank(right));
  const wanted = [...pages, ...objects].filter(({ key }) => !sent.has(key));
  const total = wanted.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  await stream.frame(
    { kind: FrameKind.newest, owner: volumeId, id: newest.digest.subarray(0, 16) },
    manifestBytes(newest),
  );
  let next = readObject(store, wanted[0]);
  for (const [index, object] of wanted.entries()) {
    signal?.throwIfAborted();
    const bytes = await next;
    // One object is read while the one before is sent.
    next = readObject(store, wanted[index + 1]);
    await stream.frame(object, bytes);
    sent.add(object.key);
    done += object.bytes;
    onProgress?.(done, total, 'bytes');
  }
  for await (const older of olderManifests(store, volumeId, newest))
    await stream.frame(
      { kind: FrameKind.manifest, owner: volumeId, id: older.digest.subarray(0, 16) },
      manifestBytes(older),
    );
  await stream.frame({ kind: FrameKind.head, owner: volumeId, id: new Uint8Array(16) }, view.head);
}

/** Small and short-lived ones first. */
function rank({ kind }: ViewObject): number {
  return kind === FrameKind.segment ? 1 : 0;
}

/** Down to the floor, then what is pinned below it. */
export async function* olderManifests(
  store: Store,
  volumeId: Uint8Array,
  newest: ReadManifest,
): AsyncGenerator<ReadManifest> {
  const prefix = volumePrefix(volumeId);
  const { floor, pins } = newest.manifest;
  let read = newest;
  while (read.manifest.number > floor) {
    const { number, previousDigest } = read.manifest;
    read = await readManifest(store, prefix, volumeId, number - 1, previousDigest);
    yield read;
  }
  const seen = new Set<number>();
  for (const { number, digest } of pins) {
    if (number >= floor || seen.has(number)) continue;
    seen.add(number);
    yield await readManifest(store, prefix, volumeId, number, digest);
  }
}

/** Whole and checked; a rejection is met when it is awaited. */
function readObject(store: Store, object: ViewObject | undefined): Promise<Uint8Array> {
  if (object === undefined) return Promise.resolve(new Uint8Array(0));
  const read = readChecked(store, object);
  read.catch(() => undefined);
  return read;
}

async function readChecked(store: Store, { key, bytes, digest }: ViewObject): Promise<Uint8Array> {
  if (bytes > backupObjectBytesMax) throw tooLarge(key, bytes);
  const reader = await store.open(key);
  try {
    if (reader.size !== bytes) throw notAsSigned(key);
    const region = new Region(Math.max(bytes, 1));
    const content = region.bytes.subarray(0, bytes);
    for (let at = 0; at < bytes; at += backupPieceBytes)
      await reader.read(at, Math.min(backupPieceBytes, bytes - at), region, at);
    if (!equalBytes(sha256(content), digest)) throw notAsSigned(key);
    return content;
  } finally {
    await reader.close();
  }
}

class StreamWriter {
  byteCount = 0;
  #frameCount = 0;
  readonly #sink: BackupSink;
  readonly #digest = startDigest();

  constructor(sink: BackupSink) {
    this.#sink = sink;
  }

  async bytes(bytes: Uint8Array): Promise<void> {
    this.#digest.update(bytes);
    this.byteCount += bytes.length;
    await this.#sink(bytes);
  }

  async frame({ kind, owner, id }: Omit<FrameHeader, 'length'>, payload: Uint8Array): Promise<void> {
    await this.bytes(encodeFrameHeader({ kind, owner, id, length: payload.length }));
    for (let at = 0; at < payload.length; at += backupPieceBytes)
      await this.bytes(payload.subarray(at, at + backupPieceBytes));
    this.#frameCount++;
  }

  async end(manifestNumber: number, manifestDigest: Uint8Array): Promise<void> {
    await this.bytes(encodeBackupEnd({ frameCount: this.#frameCount, manifestNumber, manifestDigest }));
    const digest = this.#digest.finish();
    this.byteCount += digest.length;
    await this.#sink(digest);
  }
}

/** What can be seen of a base without a key: whether it can belong to this history at all. */
function checkBase({ newest }: ManifestView, base: BackupBase | undefined): void {
  if (base === undefined) return;
  const { number, floor } = newest.manifest;
  const isNewest = base.number === number;
  if (base.number <= number && (!isNewest || equalBytes(base.digest, newest.digest))) return;
  throw new CaissonError(
    'invalid',
    'backup-base-missing',
    `the volume stands at manifest ${number}, the base is none of its own: ${base.number}`,
    {
      remedy: 'Start from an earlier backup of this very volume, or make a full one without --since.',
      details: { number, floor, base: base.number },
    },
  );
}

function notAsSigned(key: string): CaissonError {
  return new CaissonError('integrity', 'digest-mismatch', `${key} is not what the volume's writer signed`, {
    remedy: 'The store was changed from outside: run "caisson volume verify --public".',
    details: { object: key },
  });
}

function tooLarge(key: string, bytes: number): CaissonError {
  return new CaissonError(
    'full',
    'limit-exceeded',
    `${key} has ${bytes} bytes, at most ${backupObjectBytesMax} fit a backup`,
    {
      details: { object: key, bytes },
    },
  );
}

function moving(cause: unknown): CaissonError {
  return new CaissonError(
    'transient',
    'backup-moving',
    `the volume changed ${backupRestartsMax} times faster than it could be exported`,
    {
      remedy: 'Export when less is written, or to a faster place.',
      cause,
    },
  );
}
