/** Compares files that came back with the hashes of those that went in. */
import { hashOf } from './tree.ts';
import type { Tree, TreeFile } from './tree.ts';

/** How many files cannot be read or are not what they were. */
export async function countChanged(
  tree: Tree,
  signal: AbortSignal,
  read: (file: TreeFile, index: number) => Promise<Uint8Array>,
): Promise<number> {
  let changed = 0;
  for (const [index, file] of tree.files.entries()) {
    signal.throwIfAborted();
    const bytes = await read(file, index).catch(() => undefined);
    if (bytes === undefined || hashOf(bytes) !== file.hash) changed += 1;
  }
  return changed;
}
