/**
 * What an incremental backup starts from, as a person says it: an earlier backup file, a snapshot, the number of a
 * manifest that the store still keeps, or NUMBER:DIGEST as an earlier export printed it.
 *
 * Invariant: only the name of a snapshot needs the key, and only it asks for one.
 */
import fs from 'node:fs';
import {
  backupEndBytes,
  backupStartBytes,
  decodeBackupEnd,
  decodeBackupStart,
  type BackupBase,
} from '../../backup/backup-format.ts';
import { olderManifests } from '../../backup/exporter.ts';
import { equalBytes } from '../../crypto/digest.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import { fromHex } from '../../lib/hex.ts';
import { readHead, readManifest } from '../../manifest/manifest.ts';
import { fileError } from '../../store/file-errors.ts';
import { volumePrefix } from '../../store/paths.ts';
import type { Store } from '../../store/store.ts';
import type { SnapshotInfo } from '../../volume/volume-types.ts';

export interface BaseOptions {
  readonly store: Store;
  readonly volumeId: Uint8Array;
  /** Digits are a manifest; what has a slash, or is there, is a file; anything else is a snapshot. */
  readonly since: string;
  /** The snapshot of that name or id; throws where there is none. */
  readonly snapshotOf: (wanted: string) => Promise<Pick<SnapshotInfo, 'manifestNumber' | 'manifestDigest'>>;
}

export async function resolveBase({ store, volumeId, since, snapshotOf }: BaseOptions): Promise<BackupBase> {
  const named = /^(\d{1,15})(?::([0-9a-fA-F]{64}))?$/.exec(since);
  if (named === null) {
    if (since.includes('/') || fs.existsSync(since)) return baseOfFile(since, volumeId);
    const { manifestNumber, manifestDigest } = await snapshotOf(since);
    return { number: manifestNumber, digest: fromHex(manifestDigest, 32)! };
  }
  const number = Number(named[1]);
  if (named[2] === undefined) return baseOfStore(store, volumeId, number);
  return { number, digest: fromHex(named[2].toLowerCase(), 32)! };
}

async function baseOfStore(store: Store, volumeId: Uint8Array, number: number): Promise<BackupBase> {
  const prefix = volumePrefix(volumeId);
  const { head } = await readHead(store, prefix, volumeId);
  const newest = await readManifest(store, prefix, volumeId, head.number, head.manifestDigest);
  if (newest.manifest.number === number) return { number, digest: newest.digest };
  for await (const { manifest, digest } of olderManifests(store, volumeId, newest)) {
    if (manifest.number === number) return { number, digest };
  }
  throw new CaissonError('invalid', 'backup-base-missing', `the store keeps no manifest ${number} any more`, {
    remedy: 'Give the earlier backup file with --since FILE, or --since NUMBER:DIGEST as its export printed it.',
    details: { base: number, newest: newest.manifest.number },
  });
}

/** Its start and its end say all; whether what lies between is sound is for the import to find out. */
async function baseOfFile(path: string, volumeId: Uint8Array): Promise<BackupBase> {
  const ends = { start: new Uint8Array(backupStartBytes), end: new Uint8Array(backupEndBytes) };
  try {
    const handle = await fs.promises.open(path, 'r');
    try {
      const { size } = await handle.stat();
      await handle.read(ends.start, 0, ends.start.length, 0);
      await handle.read(ends.end, 0, ends.end.length, Math.max(0, size - backupEndBytes));
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw fileError(error, 'read', path);
  }
  try {
    if (!equalBytes(decodeBackupStart(ends.start).volumeId, volumeId)) throw noBase(`${path} is of another volume`);
    const { manifestNumber, manifestDigest } = decodeBackupEnd(ends.end);
    return { number: manifestNumber, digest: manifestDigest };
  } catch (error) {
    if (isCaissonError(error, 'format-invalid')) throw noBase(`${path} is no whole backup`, error);
    throw error;
  }
}

function noBase(message: string, cause?: unknown): CaissonError {
  return new CaissonError('invalid', 'backup-base-missing', message, {
    remedy: 'Give an earlier backup of this volume, or leave out --since for a full one.',
    cause,
  });
}
