/**
 * Changed blocks between two states of a volume, from their maps alone: subtrees that both name at the same place
 * are passed over unread. Blocks that cleaning or a rekey sealed anew count as changed although their content is the
 * same: a backup copies too much then, never too little.
 */
import {
  directoryLeaves,
  leafBlocks,
  Reference,
  Where,
  type PageReference,
  type Root,
} from '../block-map/map-format.ts';
import { equalBytes } from '../crypto/digest.ts';
import type { ManifestState } from '../manifest/state-format.ts';
import { blockBytes } from '../segment/segment-format.ts';
import type { MapLoader } from './map-loader.ts';
import type { ChangedExtent } from './volume-types.ts';

export interface MapSide {
  readonly state: ManifestState;
  readonly loader: MapLoader;
}

type Page = PageReference | 'hole' | 'zero';

const hole: Page = 'hole';
const extentBlocksMax = 2 ** 30;

/** Ascending, merged; of the later state: bytes beyond the earlier one's end count as changed, beyond its own as nothing. */
export async function* changedBlocks(before: MapSide, after: MapSide): AsyncGenerator<ChangedExtent> {
  const merger = new Merger(after.state.blockCount);
  const [left, right] = [await directoriesOf(before), await directoriesOf(after)];
  const span = leafBlocks * directoryLeaves;
  const count = Math.ceil(after.state.blockCount / span);
  for (let index = 0; index < count; index++) {
    const [one, other] = [left.get(index) ?? hole, right.get(index) ?? hole];
    if (samePage(one, other)) continue;
    if (typeof one === 'string' && typeof other === 'string') yield* merger.add(index * span, span, other);
    else yield* changedLeaves(before, after, index, one, other, merger);
  }
  yield* merger.finish();
}

async function* changedLeaves(
  before: MapSide,
  after: MapSide,
  index: number,
  one: Page,
  other: Page,
  merger: Merger,
): AsyncGenerator<ChangedExtent> {
  const [left, right] = [await leavesOf(before, index, one), await leavesOf(after, index, other)];
  for (let at = 0; at < directoryLeaves; at++) {
    const leaf = index * directoryLeaves + at;
    if (samePage(left[at]!, right[at]!)) continue;
    const [old, now] = [await wordsOf(before, leaf, left[at]!), await wordsOf(after, leaf, right[at]!)];
    for (let block = 0; block < leafBlocks; block++) {
      const where = now[2 * block]!;
      if (where === old[2 * block] && now[2 * block + 1] === old[2 * block + 1]) continue;
      yield* merger.add(
        leaf * leafBlocks + block,
        1,
        where === Where.hole ? 'hole' : where === Where.zero ? 'zero' : 'data',
      );
    }
  }
}

async function directoriesOf({ state, loader }: MapSide): Promise<Map<number, Page>> {
  const pages = new Map<number, Page>();
  if (state.root === undefined) return pages;
  const root: Root = await loader.loadRoot(state.root, state.root.bytes);
  for (const reference of root.references)
    pages.set(reference.directory, reference.object === Reference.zero ? 'zero' : reference);
  return pages;
}

async function leavesOf({ loader }: MapSide, index: number, page: Page): Promise<Page[]> {
  if (typeof page === 'string') return Array.from({ length: directoryLeaves }, () => page);
  const leaves: Page[] = Array.from({ length: directoryLeaves }, () => hole);
  await loader.loadDirectory(index, page, (leaf, object, slot, tag) => {
    if (object === Reference.hole) return;
    leaves[leaf] = object === Reference.zero ? 'zero' : { object, slot, tag: Uint8Array.from(tag) };
  });
  return leaves;
}

async function wordsOf({ loader }: MapSide, leaf: number, page: Page): Promise<Uint32Array> {
  if (typeof page !== 'string') return loader.loadLeaf(leaf, page);
  const words = new Uint32Array(2 * leafBlocks);
  if (page === 'zero') for (let at = 0; at < words.length; at += 2) words[at] = Where.zero;
  return words;
}

/** An object that a state names keeps its index while the state is pinned, so the same place is the same page. */
function samePage(one: Page, other: Page): boolean {
  if (typeof one === 'string' || typeof other === 'string') return one === other;
  return one.object === other.object && one.slot === other.slot && equalBytes(one.tag, other.tag);
}

class Merger {
  readonly #blockCount: number;
  #start = 0;
  #end = 0;
  #kind: ChangedExtent['kind'] = 'data';

  constructor(blockCount: number) {
    this.#blockCount = blockCount;
  }

  *add(block: number, count: number, kind: ChangedExtent['kind']): Generator<ChangedExtent> {
    const end = Math.min(block + count, this.#blockCount);
    if (end <= block) return;
    if (block === this.#end && kind === this.#kind && end - this.#start <= extentBlocksMax) {
      this.#end = end;
      return;
    }
    yield* this.finish();
    this.#start = block;
    this.#end = end;
    this.#kind = kind;
  }

  *finish(): Generator<ChangedExtent> {
    if (this.#end > this.#start)
      yield { offset: this.#start * blockBytes, length: (this.#end - this.#start) * blockBytes, kind: this.#kind };
    this.#start = this.#end;
  }
}
