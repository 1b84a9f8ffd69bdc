/**
 * Finds, or makes, the store on a device: the superblock, the rules of formatting (spec/block-store.md, "Formatting"), and the
 * lock that keeps every other process out.
 *
 * Invariant: nothing is written to a device that was not asked to be formatted, or that holds any superblock of Caisson.
 */
import type { Clock } from '../../lib/clock.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import { Region } from '../../lib/region.ts';
import type { Random } from '../../lib/random.ts';
import type { FileHandle, FileLock, FileSystem } from '../file-system.ts';
import { writeSuperblock } from './block-journal.ts';
import { BlockMedium } from './block-medium.ts';
import { damaged, openIndex } from './block-opening.ts';
import {
  defaultGeometry,
  grownGeometry,
  newestSuperblock,
  sectorBytes,
  storeIdBytes,
  superblockOffsets,
} from './superblock-format.ts';
import type { Geometry, Superblock } from './superblock-format.ts';

export interface BlockStoreOptions {
  /** Formats the device if there is no store on it and it is blank. */
  readonly create: boolean;
  /** With `create`: formats it although something else is on it. */
  readonly overwriteDevice?: boolean;
  readonly clock: Clock;
  readonly random: Random;
  /** Names what is on the device (a file system, a partition table), if it knows anything. */
  readonly probe?: (path: string) => Promise<string | undefined>;
  /** For tests: a layout of their own, also on devices smaller than `deviceBytesMin`. */
  readonly geometry?: (deviceBytes: number) => Geometry;
}

/** A smaller device would be mostly journal. */
export const deviceBytesMin = 64 * 1024 * 1024;
/** Bytes at each end that must be zero, and that formatting makes zero: partition tables and file systems leave their marks there. */
const edgeBytes = 1024 * 1024;

export interface LockedMedium {
  readonly medium: BlockMedium;
  close(): Promise<void>;
}

export async function openMedium(
  fileSystem: FileSystem,
  path: string,
  options: BlockStoreOptions,
): Promise<LockedMedium> {
  await checkExists(fileSystem, path);
  const lock = await fileSystem.lock(path);
  if (lock === undefined) throw openElsewhere(path);
  try {
    const file = await openFile(fileSystem, path);
    try {
      const medium = await openOn(file, path, options);
      return { medium, close: () => closeAll(medium, file, lock) };
    } catch (error) {
      await file.close().catch(() => undefined); // the first error counts
      throw error;
    }
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function closeAll(medium: BlockMedium, file: FileHandle, lock: FileLock): Promise<void> {
  try {
    await medium.finish();
    await file.close();
  } finally {
    await lock.release();
  }
}

/** Locking would make a file that is missing. */
async function checkExists(fileSystem: FileSystem, path: string): Promise<void> {
  try {
    const { isDirectory } = await fileSystem.stat(path);
    if (!isDirectory) return;
  } catch (error) {
    if (!isCaissonError(error, 'object-missing')) throw error;
    throw new CaissonError('invalid', 'store-missing', `there is no device or file ${path}`, {
      remedy: `Check the path. A file must have its size before: fallocate -l 10G ${path}`,
      details: { path },
    });
  }
  throw new CaissonError('invalid', 'store-foreign', `${path} is a folder, not a block device or a file`, {
    remedy: 'For a folder write the store as dir:PATH.',
    details: { path },
  });
}

async function openFile(fileSystem: FileSystem, path: string): Promise<FileHandle> {
  try {
    return await fileSystem.open(path, 'update');
  } catch (error) {
    if (isCaissonError(error) && error.details['errno'] === 'EBUSY') throw openElsewhere(path, error);
    throw error;
  }
}

async function openOn(file: FileHandle, path: string, options: BlockStoreOptions): Promise<BlockMedium> {
  const deviceBytes = await file.size();
  const found = (await readSuperblock(file, deviceBytes)) ?? (await format(file, path, deviceBytes, options));
  if (found.geometry.deviceBytes > deviceBytes)
    throw damaged(`it was made on ${found.geometry.deviceBytes} bytes, ${path} has ${deviceBytes}`);
  const superblock = { ...found, geometry: grownGeometry(found.geometry, deviceBytes) };
  return new BlockMedium(file, superblock.geometry, options.clock, await openIndex(file, superblock, options.clock));
}

async function readSuperblock(file: FileHandle, deviceBytes: number): Promise<Superblock | undefined> {
  const sectors: Uint8Array[] = [];
  for (const offset of superblockOffsets) {
    if (offset + sectorBytes > deviceBytes) continue;
    const sector = new Region(sectorBytes);
    const count = await file.read(offset, sectorBytes, sector, 0);
    if (count === sectorBytes) sectors.push(sector.bytes);
  }
  return newestSuperblock(sectors);
}

async function format(
  file: FileHandle,
  path: string,
  deviceBytes: number,
  options: BlockStoreOptions,
): Promise<Superblock> {
  if (!options.create) {
    throw new CaissonError('invalid', 'store-missing', `there is no Caisson store on ${path}`, {
      remedy: 'Check the path; creating a volume makes a store on a blank device.',
      details: { path },
    });
  }
  const geometry = (options.geometry ?? chooseGeometry)(deviceBytes);
  await checkBlank(file, path, deviceBytes, options);
  for (const position of edges(deviceBytes)) {
    const zeroes = new Region(Math.min(edgeBytes, deviceBytes));
    await file.write(position, zeroes.length, zeroes, 0);
  }
  await file.sync();
  const superblock: Superblock = {
    storeId: Uint8Array.from(options.random.bytes(storeIdBytes)),
    generation: 1,
    geometry,
    checkpoint: { area: 0, length: 0, checksum: 0, sequence: 0, journalStart: 0 },
  };
  await writeSuperblock(file, superblock);
  await file.sync();
  return superblock;
}

function chooseGeometry(deviceBytes: number): Geometry {
  if (deviceBytes < deviceBytesMin) {
    throw new CaissonError('invalid', 'device-too-small', `${deviceBytes} bytes are too few for a store`, {
      remedy: `A block store needs ${deviceBytesMin / 2 ** 20} MiB at least.`,
      details: { deviceBytes, deviceBytesMin },
    });
  }
  return defaultGeometry(deviceBytes);
}

async function checkBlank(
  file: FileHandle,
  path: string,
  deviceBytes: number,
  { overwriteDevice, probe }: BlockStoreOptions,
): Promise<void> {
  if (overwriteDevice === true) return;
  const found = (await probe?.(path)) ?? ((await isBlank(file, deviceBytes)) ? undefined : 'data');
  if (found === undefined) return;
  throw new CaissonError('invalid', 'device-not-blank', `${path} is not blank: it holds ${found}`, {
    remedy: 'Check that it is the right device. To destroy what is on it, give --overwrite-device.',
    details: { path, found },
  });
}

async function isBlank(file: FileHandle, deviceBytes: number): Promise<boolean> {
  const region = new Region(Math.min(edgeBytes, deviceBytes));
  for (const position of edges(deviceBytes)) {
    const count = await file.read(position, region.length, region, 0);
    if (count !== region.length || region.bytes.some((byte) => byte !== 0)) return false;
  }
  return true;
}

function edges(deviceBytes: number): number[] {
  return [0, Math.max(0, deviceBytes - edgeBytes)];
}

function openElsewhere(path: string, cause?: unknown): CaissonError {
  return new CaissonError('transient', 'store-open-elsewhere', `another process or the kernel is using ${path}`, {
    remedy:
      'One process at a time can use a block store: close its volumes in the daemon that has it open, or unmount what lies on the device.',
    details: { path },
    cause,
  });
}
