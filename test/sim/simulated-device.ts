/** A file of fixed size on a simulated disk, for a block store to lie on, and a layout small enough for many runs. */
import type { Geometry } from '../../src/store/block/superblock-format.ts';
import type { SimulatedDisk } from './simulated-disk.ts';

/** Puts a device of zeroes at the root, durable from the start. */
export function placeDevice(disk: SimulatedDisk, name: string, bytes: number): void {
  const file = disk.newFile();
  file.write(0, new Uint8Array(bytes));
  file.sync(file.syncMark());
  disk.root.change([], [name, file]);
  disk.root.sync(disk.root.syncMark());
}

/** A journal that is full after some dozen changes, so that checkpoints happen in every run. */
export function smallGeometry(deviceBytes: number): Geometry {
  return { deviceBytes, journalBytes: 32 * 4096, checkpointBytes: 64 * 1024 + 32 * 4096, unitBytes: 4096 };
}
