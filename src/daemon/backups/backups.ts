/**
 * `exportBackup` and `importBackup`. Both see only sealed objects; the key is needed for two things alone: to
 * sign the head of a volume that a writer holds open, and to know a snapshot by its name.
 */
import type { OperationProgress, OperationRequest, OperationResponse } from '../../admin/operations.ts';
import type { Credential } from '../../admin/schema.ts';
import { exportBackup as exportStream } from '../../backup/exporter.ts';
import { importBackup as importStream } from '../../backup/importer.ts';
import type { SignHead } from '../../backup/manifest-view.ts';
import { signingKeyFromSeed } from '../../crypto/signature.ts';
import type { KeySource } from '../../keys/key-source.ts';
import { isCaissonError } from '../../lib/errors.ts';
import { toHex } from '../../lib/hex.ts';
import { HeadState } from '../../manifest/head-format.ts';
import { buildHead, readHead } from '../../manifest/manifest.ts';
import { volumePrefix } from '../../store/paths.ts';
import { unlockVolume } from '../../volume/opening.ts';
import type { SnapshotInfo, VolumeEnvironment } from '../../volume/volume-types.ts';
import { credentialOfEntry } from '../credentials.ts';
import { openSource } from '../filling/sources.ts';
import type { OperationsContext } from '../operations-context.ts';
import type { Engine, Parts } from '../parts.ts';
import { hashedRefusal } from '../served-volume.ts';
import { snapshotNamed } from '../snapshots.ts';
import { bytesOfId, closing } from '../volume-details.ts';
import type { VolumeEntry } from '../volume-names.ts';
import { resolveBase } from './backup-base.ts';
import { intoBackup } from './backup-file.ts';

export async function exportBackup(
  { parts, names, log }: OperationsContext,
  request: OperationRequest<'exportBackup'>,
  onProgress: OperationProgress | undefined,
  signal: AbortSignal | undefined,
): Promise<OperationResponse<'exportBackup'>> {
  const startedAt = performance.now();
  const { name, to, since, credential } = request;
  const entry = names.find(name);
  if (entry.root !== undefined) throw hashedRefusal(name);
  const volumeId = bytesOfId(entry.volumeId);
  let unlocking: Promise<KeySource> | undefined;
  const keySource = (): Promise<KeySource> => (unlocking ??= keySourceOf(parts, name, entry, credential));
  const engine = await parts.engine();
  const opened = await parts.openEnvironment(entry.store, { create: false, log });
  return closing(
    () => opened.close(),
    async () => {
      const { environment } = opened;
      const { store } = environment;
      const signHead = await signerOf(engine, environment, volumeId, keySource);
      const snapshotOf = async (wanted: string): Promise<SnapshotInfo> => {
        const all = await engine.listSnapshots(environment, { volumeId, keySource: await keySource() });
        return snapshotNamed(all, name, wanted);
      };
      const base = since === undefined ? undefined : await resolveBase({ store, volumeId, since, snapshotOf });
      const report = await intoBackup(to, (sink) =>
        exportStream({ store, volumeId, base, signHead, sink, onProgress, signal }),
      );
      return {
        volumeId: entry.volumeId,
        manifestNumber: report.manifestNumber,
        manifestDigest: toHex(report.manifestDigest),
        base: base?.number ?? null,
        objects: report.objectCount,
        bytes: report.streamBytes,
        restarts: report.restartCount,
        seconds: secondsSince(startedAt),
      };
    },
  );
}

async function keySourceOf(
  parts: Parts,
  name: string,
  entry: VolumeEntry,
  credential: Credential | undefined,
): Promise<KeySource> {
  return parts.keySource(credential ?? (await credentialOfEntry(parts, name, entry)));
}

/**
 * Undefined for a volume that was closed cleanly. One whose writer crashed is recovered first, since its spool holds
 * data that no manifest names yet; one that is in use is exported as it was last published.
 */
async function signerOf(
  engine: Engine,
  environment: VolumeEnvironment,
  volumeId: Uint8Array,
  keySource: () => Promise<KeySource>,
): Promise<SignHead | undefined> {
  const { head } = await readHead(environment.store, volumePrefix(volumeId), volumeId);
  if (head.state !== HeadState.open) return undefined;
  const source = await keySource();
  try {
    const volume = await engine.openVolume(environment, { volumeId, keySource: source });
    await volume.close();
    return undefined;
  } catch (error) {
    if (!isCaissonError(error, 'volume-open-elsewhere')) throw error;
  }
  return async (closed) => {
    const { keyring } = await unlockVolume(environment, { volumeId, keySource: source });
    try {
      return buildHead(closed, signingKeyFromSeed(keyring.signingSeed));
    } finally {
      keyring.wipe();
    }
  };
}

export async function importBackup(
  { parts, log }: OperationsContext,
  { from, store: storeUrl }: OperationRequest<'importBackup'>,
  onProgress: OperationProgress | undefined,
  signal: AbortSignal | undefined,
): Promise<OperationResponse<'importBackup'>> {
  const startedAt = performance.now();
  const source = await openSource(from, undefined, signal);
  return closing(
    () => source.close(),
    async () => {
      const opened = await parts.openEnvironment(storeUrl, { create: true, log });
      return closing(
        () => opened.close(),
        async () => {
          const { store } = opened.environment;
          const report = await importStream({ store, source: source.content, onProgress, signal });
          return {
            volumeId: toHex(report.volumeId),
            store: store.url,
            manifestNumber: report.manifestNumber,
            manifestDigest: toHex(report.manifestDigest),
            base: report.baseNumber ?? null,
            createdObjects: report.createdCount,
            presentObjects: report.presentCount,
            bytes: report.streamBytes,
            wasPresent: report.wasPresent,
            seconds: secondsSince(startedAt),
          };
        },
      );
    },
  );
}

function secondsSince(startedAt: number): number {
  return Math.round(performance.now() - startedAt) / 1000;
}
