/** The memory device keeps the rules it helps to test, with answers at once and with late ones. */
import { MemoryDevice } from '../support/memory-device.ts';
import { blockDeviceConformance } from './block-device.ts';

blockDeviceConformance('memory', (size) => ({ device: new MemoryDevice(size) }));
blockDeviceConformance('memory, late', (size) => ({ device: new MemoryDevice(size, { asyncSeed: 1 }) }));
