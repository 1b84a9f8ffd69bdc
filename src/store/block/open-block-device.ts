/** A block store on a device or file of this machine, with what the system knows about it. */
import { randomBytes } from 'node:crypto';
import { systemClock } from '../../lib/clock.ts';
import { isCaissonError } from '../../lib/errors.ts';
import { runTool } from '../../sys/run-tool.ts';
import { nodeFileSystem } from '../node-file-system.ts';
import type { Store } from '../store.ts';
import { openBlockStore } from './block-store.ts';

export interface OpenDeviceOptions {
  readonly create: boolean;
  readonly overwriteDevice?: boolean;
}

/** blkid's status when it knows nothing on the device, and when several things contradict each other. */
const nothingFound = 2;
const ambivalent = 8;

export async function openBlockDevice(path: string, { create, overwriteDevice }: OpenDeviceOptions): Promise<Store> {
  return openBlockStore(nodeFileSystem, path, {
    create,
    overwriteDevice: overwriteDevice ?? false,
    clock: systemClock,
    random: { bytes: (length) => randomBytes(length) },
    probe: probeDevice,
  });
}

/** What blkid finds; undefined where it finds nothing or is not installed, the ends of the device being looked at anyway. */
async function probeDevice(path: string): Promise<string | undefined> {
  try {
    const { status, output } = await runTool('blkid', ['-p', '-o', 'export', path], { clock: systemClock });
    if (status === nothingFound) return undefined;
    if (status === ambivalent) return 'several file systems or partition tables';
    const tags = new Map(output.split('\n').map((line) => line.split('=', 2) as [string, string | undefined]));
    const type = tags.get('TYPE');
    if (type !== undefined)
      return tags.get('USAGE') === 'filesystem' ? `a file system (${type})` : `data of type ${type}`;
    const table = tags.get('PTTYPE');
    return table === undefined ? undefined : `a partition table (${table})`;
  } catch (error) {
    if (isCaissonError(error, 'tool-missing')) return undefined;
    throw error;
  }
}
