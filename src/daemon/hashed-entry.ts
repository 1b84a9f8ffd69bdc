/** The alias of a hashed image: it holds nothing but store and root, which is all that opening needs. */
import type { HashedVolume } from '../hashed/hashed-volume.ts';
import type { Store } from '../store/store.ts';
import type { VolumeEntry } from './volume-names.ts';

/** Its id is the beginning of its root. */
export type HashedEntry = VolumeEntry & { readonly root: string };

export function isHashedEntry(entry: VolumeEntry): entry is HashedEntry {
  return entry.root !== undefined;
}

/** As far as the alias tells: a volume without protection is the one that opens with no key. */
export function protectionOfEntry(entry: VolumeEntry): 'sealed' | 'none' | 'hashed' {
  if (isHashedEntry(entry)) return 'hashed';
  return entry.key.kind === 'none' ? 'none' : 'sealed';
}

export async function openHashedEntry(store: Store, entry: HashedEntry): Promise<HashedVolume> {
  const [{ parseRoot }, { openHashed }] = await Promise.all([
    import('../hashed/hashed-format.ts'),
    import('../hashed/hashed-volume.ts'),
  ]);
  return openHashed(store, parseRoot(entry.root));
}
