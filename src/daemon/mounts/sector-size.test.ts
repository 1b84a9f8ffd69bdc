import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDevice } from '../../../test/support/memory-device.ts';
import { Region } from '../../lib/region.ts';
import { sectorBytesFor } from './sector-size.ts';

test('small sectors only for file systems that have them', async () => {
  const ext = (log: number): [number, number[]][] => [
    [1080, [0x53, 0xef]],
    [1048, [log, 0, 0, 0]],
  ];
  const xfs = (sector: number): [number, number[]][] => [
    [0, [0x58, 0x46, 0x53, 0x42]],
    [102, [sector >> 8, sector & 0xff]],
  ];
  assert.equal(await sectorsOf([]), 4096);
  assert.equal(await sectorsOf(ext(0)), 512);
  assert.equal(await sectorsOf(ext(1)), 512);
  assert.equal(await sectorsOf(ext(2)), 4096);
  assert.equal(await sectorsOf(xfs(512)), 512);
  assert.equal(await sectorsOf(xfs(4096)), 4096);
  assert.equal(
    await sectorsOf([
      [510, [0x55, 0xaa]],
      [11, [0, 2]],
    ]),
    512,
  );
  assert.equal(await sectorsOf([[510, [0x55, 0xaa]]]), 4096);
});

async function sectorsOf(pieces: readonly (readonly [number, readonly number[]])[]): Promise<number> {
  const device = new MemoryDevice(65_536);
  for (const [offset, bytes] of pieces)
    await device.write(offset, bytes.length, Region.from(Uint8Array.from(bytes)), 0, false);
  return sectorBytesFor(device);
}
