/** Parents and clones as people know them: by the names they have here, else by their ids. */
import type { SnapshotAnswer, VolumeDetails } from '../admin/schema.ts';
import type { InspectedVolume, SnapshotInfo } from '../volume/volume-types.ts';
import type { VolumeNames } from './volume-names.ts';

export interface Relative {
  readonly volumeId: string;
  readonly name: string | null;
}

/** A volume that has several names shows under the first. */
export function namedIn(names: VolumeNames, volumeIds: readonly string[]): Relative[] {
  if (volumeIds.length === 0) return [];
  const byId = new Map<string, string>();
  for (const [name, { volumeId }] of names.list()) if (!byId.has(volumeId)) byId.set(volumeId, name);
  return volumeIds.map((volumeId) => ({ volumeId, name: byId.get(volumeId) ?? null }));
}

/** The first few, for a message. */
export function displayNames(relatives: readonly Relative[]): string {
  const shown = relatives.slice(0, 4).map(({ name, volumeId }) => name ?? `volume ${volumeId}`);
  return relatives.length > shown.length
    ? `${shown.join(', ')} and ${relatives.length - shown.length} more`
    : shown.join(', ');
}

export function answerOf(names: VolumeNames, snapshot: SnapshotInfo): SnapshotAnswer {
  return { ...snapshot, clones: namedIn(names, snapshot.clones) };
}

export function lineageOf(names: VolumeNames, info: InspectedVolume): NonNullable<VolumeDetails['lineage']> {
  const { state, parent, clones, snapshotCount } = info;
  const [named] = parent === undefined ? [] : namedIn(names, [parent.volumeId]);
  return {
    state,
    parent: parent === undefined || named === undefined ? null : { ...parent, name: named.name },
    clones: namedIn(names, clones),
    snapshotCount,
  };
}
