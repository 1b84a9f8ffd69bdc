/** `importVolume` and `copyVolume`: a new volume filled from an image, a device, a pipe or another volume. */
import type { OperationProgress, OperationRequest, OperationResponse } from '../../admin/operations.ts';
import { deviceContent, roundUp } from '../../backup/content.ts';
import { fillVolume, tooLarge } from '../../backup/fill.ts';
import { CaissonError } from '../../lib/errors.ts';
import { blockBytes, checkVolumeSize } from '../../lib/sizes.ts';
import type { Volume } from '../../volume/volume-types.ts';
import type { OperationsContext } from '../operations-context.ts';
import { closing } from '../volume-details.ts';
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
      const options = { digest: 'plain', grows, expectedSha256: request.sha256, onProgress, signal } as const;
      return makeFilled(
        context,
        { ...request, size },
        {
          digest: 'plain',
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
  const { source, sourceCredential: _, ...wanted } = request;
  return use(async (volume) => {
    const instant = instantOf(volume, source);
    const { size } = instant;
    const options = { digest: 'sparse', grows: false, expectedSha256: undefined, onProgress, signal } as const;
    return makeFilled(
      context,
      { ...wanted, size },
      {
        digest: 'sparse',
        fill: (target) => fillVolume(target, deviceContent(instant, size), options),
      },
    );
  });
}

/**
 * The volume as it is at one instant. What is opened for the copy is opened read-only under its writer lock, so
 * nothing changes it; a volume that somebody writes to has no instant that reads could agree on.
 */
function instantOf(volume: Volume, name: string): Volume {
  if (volume.readOnly) return volume;
  throw new CaissonError('fenced', 'volume-busy', `${name} is open for writing, so a copy would mix its states`, {
    remedy: `Close it with "caisson detach ${name}" or "caisson umount ${name}", or serve it read-only.`,
    details: { name },
  });
}
