/** A read cache in a folder: its file is made when the first piece is kept, and has no name from then on. */
import { toHex } from '../lib/hex.ts';
import { readCacheBytesDefault } from '../lib/limits.ts';
import type { Random } from '../lib/random.ts';
import type { FileHandle } from './file-system.ts';
import { nodeFileSystem } from './node-file-system.ts';
import { ReadCache } from './read-cache.ts';
import type { ReadCacheCounts } from './store-counts.ts';

export function createReadCache(
  folder: string,
  bytesMax: number | undefined,
  random: Random,
  counts?: ReadCacheCounts,
): ReadCache {
  const openFile = async (): Promise<FileHandle> => {
    await nodeFileSystem.makeDirectory(folder);
    const path = `${folder}/read-cache-${toHex(random.bytes(8))}`;
    const file = await nodeFileSystem.open(path, 'exclusive');
    await nodeFileSystem.unlink(path);
    return file;
  };
  return new ReadCache(openFile, bytesMax ?? readCacheBytesDefault, counts);
}
