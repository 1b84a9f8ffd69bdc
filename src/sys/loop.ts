/**
 * Loop devices: a file as a block device. Attached and detached by losetup(8), which knows the races
 * of finding a free one; listed from sysfs, which never looks at the backing file, so that a file on
 * a dead FUSE mount can neither fail nor hang the listing.
 */
import { readdir, readFile } from 'node:fs/promises';
import { CaissonError } from '../lib/errors.ts';
import type { Clock } from '../lib/clock.ts';
import { expectStatus } from './run-tool.ts';
import type { ToolRunner } from './run-tool.ts';

export interface LoopDevice {
  /** `/dev/loop3` */
  readonly path: string;
  readonly backingFile: string;
  /** Reads and writes reach the file without the page cache in between. */
  readonly direct: boolean;
}

export interface LoopTools {
  readonly run: ToolRunner;
  readonly clock: Clock;
}

/** The devices that have a backing file now; `folder` is /sys/block. */
export async function listLoopDevices(folder: string): Promise<LoopDevice[]> {
  const names = (await readdir(folder)).filter((name) => /^loop\d+$/.test(name));
  const devices: LoopDevice[] = [];
  for (const name of names) {
    const backingFile = await readAttribute(`${folder}/${name}/loop/backing_file`);
    if (backingFile === undefined) continue;
    const direct = (await readAttribute(`${folder}/${name}/loop/dio`)) === '1';
    devices.push({ path: `/dev/${name}`, backingFile, direct });
  }
  return devices;
}

/**
 * Attaches `file` with direct I/O where the kernel allows it: the file's own page cache would only
 * double the one of the file system above. Discards become holes in the file.
 */
export async function attachLoop(
  file: string,
  readOnly: boolean,
  sectorBytes: number,
  tools: LoopTools,
): Promise<string> {
  const parameters = ['--find', '--show', '--sector-size', String(sectorBytes), ...(readOnly ? ['--read-only'] : [])];
  const options = { clock: tools.clock };
  const direct = await tools.run('losetup', ['--direct-io=on', ...parameters, file], options);
  const result = direct.status === 0 ? direct : await tools.run('losetup', [...parameters, file], options);
  expectStatus('losetup', result, 'Check that /dev/loop-control exists and that a loop device is free (losetup -a).');
  const path = result.output.trim();
  if (/^\/dev\/loop\d+$/.test(path)) return path;
  throw new CaissonError(
    'io',
    'mount-failed',
    `losetup answered ${JSON.stringify(path.slice(0, 80))} where a loop device was expected`,
  );
}

/** A device that is still in use lets go of its file when the last user does. */
export async function detachLoop(path: string, tools: LoopTools): Promise<void> {
  const result = await tools.run('losetup', ['--detach', path], { clock: tools.clock });
  if (result.status === 0 || /No such device/.test(result.errorText)) return;
  expectStatus('losetup', result, `Run "losetup --detach ${path}" when nothing uses the device any more.`);
}

/** Undefined when the attribute is not there, which is how sysfs says that no file is attached. */
async function readAttribute(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).replace(/\n$/, '');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENXIO') return undefined;
    throw error;
  }
}
