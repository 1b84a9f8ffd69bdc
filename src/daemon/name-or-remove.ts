/** A volume that no name leads to would be lost sight of: if the name cannot be kept, nothing is. */
import type { VolumeEntry, VolumeNames } from './volume-names.ts';

export async function nameOrRemove(
  names: VolumeNames,
  name: string,
  entry: VolumeEntry,
  remove: () => Promise<unknown>,
): Promise<void> {
  try {
    await names.add(name, entry);
  } catch (error) {
    await remove().catch(() => undefined);
    throw error;
  }
}
