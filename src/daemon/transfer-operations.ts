/** The operations that carry content or sealed objects in and out: imports, copies, backups. */
import type { Operations } from '../admin/operations.ts';
import type { OperationsContext } from './operations-context.ts';
import type { VolumeAccess } from './volume-access.ts';

type TransferOperations = Pick<
  Operations,
  'importVolume' | 'copyVolume' | 'moveVolume' | 'exportBackup' | 'importBackup' | 'checkpointVolume'
>;

export function transferOperations(context: OperationsContext, volumes: VolumeAccess): TransferOperations {
  return {
    importVolume: async (request, onProgress, signal) =>
      (await import('./filling/filling.ts')).importVolume(context, request, onProgress, signal),
    copyVolume: async (request, onProgress, signal) => {
      const { source, sourceCredential } = request;
      const { copyVolume } = await import('./filling/filling.ts');
      return copyVolume(
        context,
        request,
        (act) => volumes.use(source, sourceCredential, act, true),
        onProgress,
        signal,
      );
    },
    moveVolume: async (request, onProgress, signal) =>
      (await import('./moves.ts')).moveVolume(context, volumes, request, onProgress, signal),
    exportBackup: async (request, onProgress, signal) =>
      (await import('./backups/backups.ts')).exportBackup(context, request, onProgress, signal),
    importBackup: async (request, onProgress, signal) =>
      (await import('./backups/backups.ts')).importBackup(context, request, onProgress, signal),
    checkpointVolume: async ({ name }) => {
      context.names.find(name);
      const hosted = volumes.host?.get(name);
      if (hosted !== undefined && !hosted.volume.readOnly) await hosted.volume.checkpoint();
      return {};
    },
  };
}
