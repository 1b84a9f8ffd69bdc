/** The engine keeps the rules of a block device, sealed and not, over the directory store and the store in memory. */
import { blockDeviceConformance, type BlockDeviceSubject } from './block-device.ts';
import { createTestVolume } from '../support/test-volume.ts';
import type { TestVolumeOptions } from '../support/test-volume.ts';

const variants: readonly (readonly [string, TestVolumeOptions])[] = [
  ['volume, sealed, in memory', {}],
  ['volume, sealed, anchored at each flush', { durability: 'anchored' }],
  ['volume, not protected, in memory', { protection: 'none' }],
  ['volume, sealed, in a folder', { store: 'dir' }],
  ['volume, not protected, in a folder', { protection: 'none', store: 'dir' }],
  ['volume, tiny segments', { tuning: { segmentBytesMax: 128 * 1024, checkpointBytes: 200 * 1024 } }],
];

for (const [name, options] of variants) {
  const factory = async (size: number): Promise<BlockDeviceSubject> => {
    const { volume, dispose } = await createTestVolume({ ...options, size });
    return { device: volume, close: dispose };
  };
  blockDeviceConformance(name, factory, 4096);
}
