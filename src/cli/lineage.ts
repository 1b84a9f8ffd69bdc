/** Parents, clones and times, for people. */
import type { SnapshotAnswer } from '../admin/schema.ts';

type Relatives = SnapshotAnswer['clones'];

/** As its volume is called here; the id where it has no name. */
export function relativesText(relatives: Relatives): string {
  return relatives.length === 0 ? '-' : relatives.map(({ name, volumeId }) => name ?? volumeId).join(', ');
}

export function timeText(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
