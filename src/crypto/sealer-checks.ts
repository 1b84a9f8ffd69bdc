/**
 * What every sealer checks before it touches memory, and how every sealer writes a nonce: one place,
 * so that no implementation is more lenient than another. A breach is a defect of the caller.
 */
import { assert } from '../lib/assert.ts';
import type { Region } from '../lib/region.ts';
import { keyBytes, tagBytes } from './sealer.ts';

/**
 * Block numbers stay exact in a double with room to spare: 2^52 blocks of 4 KiB are 16 EiB. The numbers
 * just above name the pieces of an object that are not units (spec/segment-format.md).
 */
export const blockNumberMax = 2 ** 52 + 15;
export const slotMax = 0xffffffff;
/** One EVP call takes a C int; a unit is far smaller. */
export const unitBytesMax = 2 ** 30;

const word = 2 ** 32;

export function checkKey(key: Uint8Array): void {
  assert(key.length === keyBytes, `a sealing key has ${keyBytes} bytes, not ${key.length}`);
}

export function checkUnit(slot: number, block: number, length: number): void {
  assert(Number.isInteger(slot) && slot >= 0 && slot <= slotMax, 'the slot is a 32-bit number');
  assert(Number.isInteger(block) && block >= 0 && block <= blockNumberMax, 'the block number is in range');
  assert(Number.isInteger(length) && length > 0 && length <= unitBytesMax, 'the unit length is in range');
}

/** Native code trusts these bounds; `bytes.length` is 0 once a buffer was transferred away. */
export function checkRange(region: Region, offset: number, length: number): void {
  assert(
    Number.isInteger(offset) && offset >= 0 && offset + length <= region.bytes.length,
    'the range is inside its region',
  );
}

export function checkApart(
  source: Region,
  sourceOffset: number,
  sourceBytes: number,
  target: Region,
  targetOffset: number,
  targetBytes: number,
): void {
  if (source !== target) return;
  assert(
    sourceOffset + sourceBytes <= targetOffset || targetOffset + targetBytes <= sourceOffset,
    'source and target do not overlap',
  );
}

export function checkSeal(
  slot: number,
  block: number,
  length: number,
  source: Region,
  sourceOffset: number,
  target: Region,
  targetOffset: number,
): void {
  checkUnit(slot, block, length);
  checkRange(source, sourceOffset, length);
  checkRange(target, targetOffset, length + tagBytes);
  checkApart(source, sourceOffset, length, target, targetOffset, length + tagBytes);
}

export function checkOpen(
  slot: number,
  block: number,
  length: number,
  source: Region,
  sourceOffset: number,
  target: Region,
  targetOffset: number,
): void {
  checkUnit(slot, block, length);
  checkRange(source, sourceOffset, length + tagBytes);
  checkRange(target, targetOffset, length);
  checkApart(source, sourceOffset, length + tagBytes, target, targetOffset, length);
}

/** BE32(slot) || BE64(block), without a big integer. */
export function writeNonce(view: DataView, slot: number, block: number): void {
  view.setUint32(0, slot);
  view.setUint32(4, Math.floor(block / word));
  view.setUint32(8, block % word);
}
