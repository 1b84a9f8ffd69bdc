/** What the simulator writes, and how it looks at the extents of a volume. */
import type { Volume } from '../../src/volume/volume-types.ts';
import type { SeededRandom } from './random.ts';
import { modelBlockBytes, zeroBlock, type ReferenceModel } from './reference-model.ts';
import type { SimulatedWorld } from './simulated-world.ts';

const block = modelBlockBytes;
const spotBlocks = 20;
const longWriteBytesMax = 256 * 1024;

/** Near a hot spot, any alignment, mostly short. */
export function chooseRange(
  random: SeededRandom,
  size: number,
  spots: readonly number[],
): { readonly offset: number; readonly length: number } {
  const spot = Math.min(random.pick(spots), size / block - 1);
  const first = Math.max(0, Math.min(spot + random.below(spotBlocks), size / block - 1));
  if (random.oneIn(3)) {
    const offset = first * block + random.below(block);
    const length = random.between(1, random.pick([20, 3 * block]));
    return { offset, length: Math.min(length, size - offset) };
  }
  const blocksMax = random.oneIn(4) ? (random.oneIn(4) ? longWriteBytesMax / block : 24) : 3;
  return { offset: first * block, length: Math.min(block * random.between(1, blocksMax), size - first * block) };
}

/** Blocks full of their own name: the write, then the block. */
export function stamped(write: number, offset: number, length: number): Uint8Array {
  const first = Math.floor(offset / block);
  const last = Math.floor((offset + length - 1) / block);
  const words = new Uint32Array(((last - first + 1) * block) / 4);
  for (let at = 0; at < words.length; at += 2) {
    words[at] = write;
    words[at + 1] = first + Math.floor((at * 4) / block) + 1;
  }
  const start = offset - first * block;
  return new Uint8Array(words.buffer).subarray(start, start + length);
}

export function zeroes(length: number): Uint8Array {
  return zeroBlock.subarray(0, length);
}

/** Data extents hold nothing but blocks that were written; the others read as zeroes. */
export async function checkExtents(world: SimulatedWorld, volume: Volume, model: ReferenceModel): Promise<void> {
  const known = model.knownBlocks();
  const knownSet = new Set(known);
  let next = 0;
  for (let offset = 0; offset < volume.size;) {
    const extents = await world.settle(Promise.resolve(volume.extents(offset, volume.size - offset, 100)), 'extents');
    if (extents.length === 0) throw new Error(`no extent at ${offset}`);
    for (const extent of extents) {
      const first = offset / block;
      const end = (offset + extent.length) / block;
      if (!extent.zero)
        for (let at = first; at < end; at++)
          if (!knownSet.has(at)) throw new Error(`block ${at} is data and was never written`);
      for (; next < known.length && known[next]! < end; next++) {
        const content = model.current(known[next]!);
        if (extent.zero && content.some((byte) => byte !== 0))
          throw new Error(`block ${known[next]} holds data and is said to be zero`);
      }
      offset += extent.length;
    }
  }
}
