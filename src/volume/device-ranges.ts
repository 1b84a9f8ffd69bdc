/** What a volume does for ranges that are not whole blocks, and the words for extents that exports use. */
import type { BlockMap, MapExtent } from '../block-map/block-map.ts';
import type { Extent } from '../export/block-device.ts';
import { CaissonError } from '../lib/errors.ts';
import { volumeBytesMax } from '../lib/limits.ts';
import type { Region } from '../lib/region.ts';
import { blockBytes } from '../segment/segment-format.ts';
import type { ReadPath } from './read-path.ts';

const stepBlocks = 256;

/** Reads a range of any alignment through a scratch region of whole blocks. */
export async function readParts(
  reader: ReadPath,
  offset: number,
  length: number,
  target: Region,
  targetOffset: number,
): Promise<void> {
  const scratch = reader.acquire();
  try {
    for (let done = 0; done < length;) {
      const at = offset + done;
      const first = Math.floor(at / blockBytes);
      const inBlock = at - first * blockBytes;
      const count = Math.min(length - done, stepBlocks * blockBytes - inBlock);
      await reader.readBlocks(first, Math.ceil((inBlock + count) / blockBytes), scratch, 0);
      target.bytes.set(scratch.bytes.subarray(inBlock, inBlock + count), targetOffset + done);
      done += count;
    }
  } finally {
    reader.release(scratch);
  }
}

/** Extents of a range of bytes, at most `countMax`; waits only where a cold leaf must be loaded. */
export function extentsOf(
  map: BlockMap,
  offset: number,
  length: number,
  countMax: number,
): Extent[] | Promise<Extent[]> {
  const first = Math.floor(offset / blockBytes);
  const count = Math.ceil((offset + length) / blockBytes) - first;
  if (count === 0) return [];
  const found = map.extents(first, count, countMax);
  if (found.length > 0) return clip(found, offset, length);
  const preparing = map.prepare(first, 1, false) ?? Promise.resolve();
  return preparing.then(() => clip(map.extents(first, count, countMax), offset, length));
}

/** Block extents cut to the bytes asked for. */
function clip(found: readonly MapExtent[], offset: number, length: number): Extent[] {
  const result: Extent[] = [];
  let at = Math.floor(offset / blockBytes) * blockBytes;
  for (const extent of found) {
    const end = Math.min(at + extent.blocks * blockBytes, offset + length);
    const start = Math.max(at, offset);
    if (end > start) result.push({ length: end - start, hole: extent.kind === 'hole', zero: extent.kind !== 'data' });
    at += extent.blocks * blockBytes;
  }
  return result;
}

export function checkRange(offset: number, length: number, size: number): void {
  if (offset >= 0 && length >= 0 && offset + length <= size) return;
  throw new CaissonError(
    'invalid',
    'range-outside',
    `bytes ${offset} to ${offset + length} reach beyond the volume's ${size}`,
  );
}

export function checkSize(size: number): void {
  if (!Number.isSafeInteger(size) || size <= 0 || size % blockBytes !== 0 || size > volumeBytesMax) {
    throw new CaissonError('invalid', 'size-invalid', `a volume of ${size} bytes is impossible`, {
      remedy: `Give a positive multiple of ${blockBytes} bytes, at most ${volumeBytesMax}.`,
      details: { size, blockBytes, limit: volumeBytesMax },
    });
  }
}
