/** What this process serves: a volume, or a hashed image, which has neither writer nor keys. */
import type { HashedVolume } from '../hashed/hashed-volume.ts';
import { CaissonError } from '../lib/errors.ts';
import type { Volume, VolumeStats } from '../volume/volume-types.ts';

export type ServedVolume = Volume | HashedVolume;

export function isHashed(volume: ServedVolume): volume is HashedVolume {
  return 'root' in volume;
}

/** For operations that a hashed image does not have: writing, keys, states. */
export function requireVolume(name: string, volume: ServedVolume): Volume {
  if (isHashed(volume)) throw hashedRefusal(name);
  return volume;
}

export function hashedRefusal(name: string): CaissonError {
  return new CaissonError('denied', 'volume-read-only', `${name} is a hashed volume: it is immutable and has no keys`, {
    remedy:
      'Another content is another image: "caisson volume create --protection hashed". To copy or back it up, copy its ' +
      'objects with any tool; "caisson volume rm --delete-objects" removes them.',
    details: { name },
  });
}

export interface ServedState {
  readonly protection: 'sealed' | 'none' | 'hashed';
  readonly latched: string | undefined;
  readonly spoolBytes: number;
  readonly epoch: number;
  readonly stats: VolumeStats;
}

export function stateOf(volume: ServedVolume): ServedState {
  if (!isHashed(volume)) {
    const { protection, latched, spoolBytes, epoch } = volume.info();
    return { protection, latched, spoolBytes, epoch, stats: volume.stats() };
  }
  const { reads, bytesRead, tablesChecked } = volume.stats();
  const never = { writes: 0, flushes: 0, trims: 0, bytesWritten: 0, bytesSealed: 0, syncs: 0, checkpoints: 0 };
  const stats = {
    ...never,
    ...{ reads, bytesRead, anchorAdvances: 0, unanchoredRecords: 0 },
    mapBytesResident: volume.tableBytes,
    mapLeavesLoaded: tablesChecked,
  };
  return { protection: 'hashed', latched: undefined, spoolBytes: 0, epoch: 0, stats };
}
