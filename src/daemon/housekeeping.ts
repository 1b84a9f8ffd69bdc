/** Operations that look after a volume: cleaning and rekeying (docs/cleaning-and-rekey.md). */
import type { OperationProgress, OperationRequest, OperationResponse } from '../admin/operations.ts';
import type { Progress } from '../volume/volume-types.ts';
import type { OperationsContext } from './operations-context.ts';
import type { VolumeAccess } from './volume-access.ts';
import { spaceOf } from './volume-details.ts';

export async function cleanVolume(
  volumes: VolumeAccess,
  { name, credential, all }: OperationRequest<'cleanVolume'>,
  onProgress: OperationProgress | undefined,
  signal: AbortSignal | undefined,
): Promise<OperationResponse<'cleanVolume'>> {
  return volumes.use(name, credential, async (volume) => {
    const report = await volume.clean({ all, onProgress: interruptible(onProgress, signal) });
    return { ...report, findings: [...report.findings], space: spaceOf(volume) };
  });
}

/** What is not done when this answers goes on whenever the volume is open. */
export async function rekeyVolume(
  { parts, names }: OperationsContext,
  volumes: VolumeAccess,
  { name, credential, wait, newCredential, key }: OperationRequest<'rekeyVolume'>,
  onProgress: OperationProgress | undefined,
  signal: AbortSignal | undefined,
): Promise<OperationResponse<'rekeyVolume'>> {
  const renewWith = newCredential === undefined ? undefined : await parts.keySource(newCredential);
  return volumes.use(name, credential, async (volume) => {
    await volume.rekey(renewWith === undefined ? {} : { renewWith });
    if (key !== undefined) await names.replaceKeyHint(name, key);
    if (wait) await volume.finishRekey(interruptible(onProgress, signal));
    const space = spaceOf(volume);
    return { keyEpoch: volume.info().keyEpoch, complete: space.rekey === null, space };
  });
}

/** Stops at the next step when the caller is gone; what was done stays done. */
function interruptible(onProgress: OperationProgress | undefined, signal: AbortSignal | undefined): Progress {
  return (done, total, unit) => {
    signal?.throwIfAborted();
    onProgress?.(done, total, unit);
  };
}
