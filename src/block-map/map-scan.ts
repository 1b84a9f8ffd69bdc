/**
 * MapScan: walks over all of the map in the background while it goes on changing: to count the live blocks of each
 * object anew, and to have pages that lie in certain map objects written anew.
 *
 * Invariant: cold leaves are read beside the resident ones and evict none of them.
 */
import { DirectoryState, type BlockMap, type PageLoader } from './block-map.ts';
import { LeafState, type MapDirectory } from './map-directory.ts';
import { directoryLeaves, leafBlocks, leafWords, type PageReference } from './map-format.ts';

/** Called between leaves, with the bytes read since the last call; others get their turn. Throws to end the scan. */
export type Pause = (bytes: number) => Promise<void>;

/** Leaves looked at between two pauses. */
const leavesPerPause = 32;

/** Makes every count of live blocks right. */
export async function recountUsage(map: BlockMap, loader: PageLoader, pause: Pause): Promise<void> {
  map.usage.startRecount();
  let isComplete = false;
  try {
    for (let index = 0; index < map.directoryStates.length; index++) await countDirectory(map, loader, index, pause);
    isComplete = true;
  } finally {
    map.usage.endRecount(isComplete);
    map.changed = true;
  }
}

async function countDirectory(map: BlockMap, loader: PageLoader, index: number, pause: Pause): Promise<void> {
  const { usage, pool } = map;
  let counted = 0;
  for (let at = 0; at < directoryLeaves;) {
    // No waiting between a look at the map and the count but in `countColdLeaf`, which looks again.
    if (map.directoryStates[index] === DirectoryState.stored) await map.loadDirectory(index);
    const directory = map.directories[index];
    if (directory === undefined) return usage.skipTo((index + 1) * directoryLeaves);
    const leaf = index * directoryLeaves + at;
    const state = directory.states[at]!;
    if (state === LeafState.stored) {
      if (!(await countColdLeaf(map, loader, directory, at))) continue;
    } else if (state >= 0) usage.countLeaf(leaf, pool.slab(state), pool.offset(state), leafWords);
    else usage.skipTo(leaf + 1);
    at++;
    if (state !== LeafState.hole && state !== LeafState.zero && ++counted % leavesPerPause === 0) await pause(0);
  }
}

/** False when the leaf changed while its page was read. */
async function countColdLeaf(map: BlockMap, loader: PageLoader, directory: MapDirectory, at: number): Promise<boolean> {
  const reference = copyOf(directory.reference(at));
  const isSame = (): boolean =>
    map.directories[directory.index] === directory &&
    directory.states[at] === LeafState.stored &&
    isPage(directory.reference(at), reference);
  const leaf = directory.index * directoryLeaves + at;
  let words: Uint32Array;
  try {
    words = await loader.loadLeaf(leaf, reference);
  } catch (error) {
    // A page that is no longer the leaf's may be gone from the store by now.
    if (isSame()) throw error;
    return false;
  }
  if (isSame()) map.usage.countLeaf(leaf, words, 0, leafWords);
  return isSame();
}

/** Has every page that lies in one of `objects` written anew by the next checkpoint. Returns how many. */
export async function rewritePages(map: BlockMap, objects: ReadonlySet<number>, pause: Pause): Promise<number> {
  let pages = 0;
  for (let index = 0; index < map.directoryStates.length; index++) {
    const isListed = objects.has(map.directoryReferences.get(index)?.object ?? -1);
    const directory = await map.loadDirectory(index);
    if (directory === undefined) continue;
    for (let at = 0; at < directoryLeaves && map.directories[index] === directory; at++) {
      if (!objects.has(directory.objects[at]!)) continue;
      if (await rewriteLeaf(map, directory, at)) pages++;
      if (pages % leavesPerPause === leavesPerPause - 1) await pause(0);
    }
    if (isListed && map.directoryStates[index] === DirectoryState.loaded) {
      map.touchDirectory(index);
      pages++;
    }
  }
  if (map.usage.references.some(({ object }) => objects.has(object))) map.usage.touchAll();
  map.changed = true;
  return pages;
}

async function rewriteLeaf(map: BlockMap, directory: MapDirectory, at: number): Promise<boolean> {
  const leaf = directory.index * directoryLeaves + at;
  for (;;) {
    const state = directory.states[at]!;
    if (map.directories[directory.index] !== directory || (state < 0 && state !== LeafState.stored)) return false;
    const preparing = map.prepare(leaf * leafBlocks, 1, false);
    if (preparing === undefined) return map.touchLeaf(leaf);
    await preparing;
  }
}

function copyOf({ object, slot, tag }: PageReference): PageReference {
  return { object, slot, tag: Uint8Array.from(tag) };
}

function isPage(left: PageReference, right: PageReference): boolean {
  return (
    left.object === right.object && left.slot === right.slot && left.tag.every((byte, at) => byte === right.tag[at])
  );
}
