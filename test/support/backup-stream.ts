/** Backup streams in memory, for tests: exported whole, cut, changed, and imported again. */
import { encodeBackupEnd } from '../../src/backup/backup-format.ts';
import type { BackupBase } from '../../src/backup/backup-format.ts';
import type { ContentSource } from '../../src/backup/content.ts';
import { exportBackup, type ExportReport } from '../../src/backup/exporter.ts';
import { importBackup, type ImportReport } from '../../src/backup/importer.ts';
import { signingKeyFromSeed } from '../../src/crypto/signature.ts';
import { buildHead } from '../../src/manifest/manifest.ts';
import type { Store } from '../../src/store/store.ts';
import { unlockVolume } from '../../src/volume/opening.ts';
import type { TestVolume } from './test-volume.ts';

export interface Exported extends ExportReport {
  readonly stream: Uint8Array;
  /** Where each frame begins, the start of the stream and its end included. */
  readonly boundaries: readonly number[];
  readonly base: BackupBase;
}

export async function exported(
  { environment, volumeId, keySource }: Pick<TestVolume, 'environment' | 'volumeId' | 'keySource'>,
  base?: BackupBase,
  onFrame?: (frameCount: number) => Promise<void>,
): Promise<Exported> {
  const pieces: Uint8Array[] = [];
  const boundaries: number[] = [0];
  let length = 0;
  const report = await exportBackup({
    store: environment.store,
    volumeId,
    base,
    signHead: async (head) => {
      const { keyring } = await unlockVolume(environment, { volumeId, keySource });
      try {
        return buildHead(head, signingKeyFromSeed(keyring.signingSeed));
      } finally {
        keyring.wipe();
      }
    },
    sink: async (bytes) => {
      pieces.push(Uint8Array.from(bytes));
      length += bytes.length;
      // A frame's header and the front of the end are the pieces of these lengths.
      if (bytes.length === 48 || bytes.length === encodeBackupEndBytes) boundaries.push(length - bytes.length);
      if (bytes.length === 48) await onFrame?.(boundaries.length);
    },
    onProgress: undefined,
    signal: undefined,
  });
  const base_ = { number: report.manifestNumber, digest: report.manifestDigest };
  return { ...report, stream: Buffer.concat(pieces), boundaries: [...boundaries, length], base: base_ };
}

const encodeBackupEndBytes = encodeBackupEnd({
  frameCount: 0,
  manifestNumber: 0,
  manifestDigest: new Uint8Array(32),
}).length;

export async function imported(store: Store, stream: Uint8Array): Promise<ImportReport> {
  return importBackup({ store, source: bytesSource(stream), onProgress: undefined, signal: undefined });
}

/** As a pipe: nobody knows its length. */
function bytesSource(bytes: Uint8Array): ContentSource {
  return {
    size: undefined,
    nextData: async (offset) => ({ offset, length: bytes.length }),
    read: async (offset, length, target) => {
      const piece = bytes.subarray(offset, offset + length);
      target.bytes.set(piece);
      return piece.length;
    },
  };
}
