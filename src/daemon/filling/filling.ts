/** `importVolume` and `copyVolume`: a new volume filled from an image, a device, a pipe or another volume. */
import type { OperationProgress, OperationRequest, OperationResponse } from '../../admin/operations.ts';
import { deviceContent, roundUp } from '../../backup/content.ts';
import { fillVolume, tooLarge } from '../../backup/fill.ts';
import { systemRandom } from '../../crypto/random.ts';
import { toHex } from '../../lib/hex.ts';
import { blockBytes, checkVolumeSize } from '../../lib/sizes.ts';
import type { Volume } from '../../volume/volume-types.ts';
import type { OperationsContext } from '../operations-context.ts';
import { credentialOfEntry } from '../credentials.ts';
import { requireVolume } from '../served-volume.ts';
import { bytesOfId, closing } from '../volume-details.ts';
import { makeFilled } from './filled-volume.ts';
import { openSource, type ImportSource } from './sources.ts';

export async function importVolume(
  context: OperationsContext,
  request: OperationRequest<'importVolume'>,
  onProgress: OperationProgress | undefined,
  signal: AbortSignal | undefined,
): Promise<OperationResponse<'importVolume'>> {
  const source = await openSource(request.from, request.luks, signal);
  return closing(
    () => source.close(),
    async () => {
      const size = volumeSize(source, request.size);
      const grows = source.content.size === undefined && request.size === undefined;
      // Only the plain one can be compared with what sha256sum said.
      const digest = source.isThin && request.sha256 === undefined ? 'sparse' : 'plain';
      const options = { digest, grows, expectedSha256: request.sha256, onProgress, signal } as const;
      return makeFilled(
        context,
        { ...request, size },
        {
          digest,
          fill: async (volume) => {
            const report = await fillVolume(volume, source.content, options);
            await source.finish();
            return report;
          },
        },
      );
    },
  );
}

/** Refused before anything is made where the size is known; a pipe starts small and grows. */
function volumeSize({ content }: ImportSource, wanted: number | undefined): number {
  if (wanted !== undefined) checkVolumeSize(wanted);
  if (content.size === undefined) return wanted ?? growingBytes;
  const needed = roundUp(Math.max(content.size, 1));
  if (wanted !== undefined && wanted < needed) throw tooLarge(wanted);
  return wanted ?? needed;
}

const growingBytes = 256 * 1024 * blockBytes;

export type UseVolume = <Value>(act: (volume: Volume) => Promise<Value>) => Promise<Value>;

export async function copyVolume(
  context: OperationsContext,
  request: OperationRequest<'copyVolume'>,
  use: UseVolume,
  onProgress: OperationProgress | undefined,
  signal: AbortSignal | undefined,
): Promise<OperationResponse<'copyVolume'>> {
  const { source: _, sourceCredential: __, ...wanted } = request;
  return atOneInstant(context, request, use, async (volume) => {
    const { size } = volume;
    const options = { digest: 'sparse', grows: false, expectedSha256: undefined, onProgress, signal } as const;
    return makeFilled(
      context,
      { ...wanted, size },
      {
        digest: 'sparse',
        fill: (target) => fillVolume(target, deviceContent(volume, size), options),
      },
    );
  });
}

/**
 * The volume as it is at one instant. What is opened for the copy is opened read-only under its writer lock, so
 * nothing changes it. Of a volume that this daemon holds open for writing a snapshot is taken, read, and removed.
 */
async function atOneInstant<Value>(
  { parts, names, daemon, log }: OperationsContext,
  { source, sourceCredential }: OperationRequest<'copyVolume'>,
  use: UseVolume,
  act: (volume: Volume) => Promise<Value>,
): Promise<Value> {
  const hosted = daemon?.host.get(source);
  if (hosted === undefined || hosted.volume.readOnly) return use(act);
  const volume = requireVolume(source, hosted.volume);
  const credential = sourceCredential ?? (await credentialOfEntry(parts, source, names.find(source)));
  const keySource = await parts.keySource(credential);
  const { openSnapshot } = await import('../../volume/snapshot-opening.ts');
  const snapshot = `copy-${toHex(systemRandom.bytes(4))}`;
  await volume.snapshot(snapshot);
  const remove = (): Promise<void> => volume.removeSnapshot(snapshot);
  return closing(remove, async () => {
    log('debug', 'copying from a snapshot', { volume: source, snapshot });
    const { environment } = hosted.environment;
    const opened = await openSnapshot(environment, { volumeId: bytesOfId(volume.id), keySource, snapshot });
    return closing(
      () => opened.close(),
      () => act(opened),
    );
  });
}
