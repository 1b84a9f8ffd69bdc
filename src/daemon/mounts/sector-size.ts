/**
 * The sector size that the kernel is to see. Whole blocks of 4096 bytes are the fast way; but a file system that was made
 * on a disk with sectors of 512 bytes, and came here by an import, may use smaller blocks than a sector can then be.
 *
 * What is looked at is the volume's content and not to be believed: a wrong answer makes a mount fail or slow, never unsafe.
 */
import type { BlockDevice } from '../../export/block-device.ts';
import { Region } from '../../lib/region.ts';

const smallSectorBytes = 512;
const probeBytes = 4096;
const extMagicAt = 1024 + 56;
const extBlockSizeAt = 1024 + 24;
const xfsSectorSizeAt = 102;
const fatSectorSizeAt = 11;
const bootMagicAt = 510;

export async function sectorBytesFor(device: BlockDevice): Promise<number> {
  if (device.size < probeBytes) return smallSectorBytes;
  const region = new Region(probeBytes);
  try {
    await device.read(0, probeBytes, region, 0);
  } catch {
    // What cannot be read is found, and said, by the look for a file system that follows.
    return device.blockSize;
  }
  return hasSmallBlocks(region.bytes) ? smallSectorBytes : device.blockSize;
}

function hasSmallBlocks(start: Uint8Array): boolean {
  const view = new DataView(start.buffer, start.byteOffset, start.length);
  if (view.getUint16(extMagicAt, true) === 0xef53) return view.getUint32(extBlockSizeAt, true) < 2; // 1024 << n
  if (view.getUint32(0) === 0x58465342) return view.getUint16(xfsSectorSizeAt) < probeBytes; // "XFSB"
  return view.getUint16(bootMagicAt) === 0x55aa && view.getUint16(fatSectorSizeAt, true) === smallSectorBytes;
}
