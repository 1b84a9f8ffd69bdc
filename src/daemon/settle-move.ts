/** Finds a volume whose move was interrupted by a crash. */
import type { VolumeLog } from '../volume/volume-types.ts';
import type { Parts } from './parts.ts';
import { bytesOfId, closing } from './volume-details.ts';
import type { VolumeEntry, VolumeNames } from './volume-names.ts';

export interface MoveContext {
  readonly parts: Parts;
  readonly names: VolumeNames;
  readonly log: VolumeLog;
}

/**
 * Where a volume is whose move was interrupted: in the source until its own head or the anchor says otherwise. The name
 * is put right on the way.
 */
export async function settleMove(
  { parts, names, log }: MoveContext,
  name: string,
  entry: VolumeEntry,
): Promise<VolumeEntry> {
  const { move } = entry;
  if (move === undefined || entry.store === move.to) return entry;
  const source = await parts.openEnvironment(move.from, { create: false, log });
  const place = await closing(
    () => source.close(),
    async () => {
      const target = await parts.openEnvironment(move.to, { create: false, log });
      return closing(
        () => target.close(),
        async () => {
          const engine = await parts.engine();
          const { store, anchor } = source.environment;
          return engine.locateMoving(
            { source: store, target: target.environment.store, anchor },
            bytesOfId(entry.volumeId),
          );
        },
      );
    },
  );
  if (place === 'source') return entry;
  await names.noteStore(name, move.to);
  return names.find(name);
}
