/** A read cache in a folder: its file is made when the first piece is kept, and has no name from then on. */
import { toHex } from '../lib/hex.ts';
import { readCacheBytesDefault } from '../lib/limits.ts';
import type { Random } from '../lib/random.ts';
import { nodeFileSystem } from './node-file-system.ts';
import { ReadCache } from './read-cache.ts';

export function createReadCache(folder: string, bytesMax: number | undefined, random: Random): ReadCache {
  return new ReadCache(async () => {
    await nodeFileSystem.makeDirectory(folder);
    const path = `${folder}/read-cache-${toHex(random.bytes(8))}`;
    const file = await nodeFileSystem.open(path, 'exclusive');
    await nodeFileSystem.unlink(path);
    return file;
  }, bytesMax ?? readCacheBytesDefault);
}
