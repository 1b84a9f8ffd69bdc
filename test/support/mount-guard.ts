/**
 * The last resort of tests that mount: whatever the product did, nothing of a folder stays mounted and
 * no process stays stuck in the kernel. Looks only at tables of the kernel, never into a mount.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { readMountTable } from '../../src/sys/mount.ts';
import { listLoopDevices } from '../../src/sys/loop.ts';
import { runTool } from './tools.ts';

const toolMilliseconds = { timeoutMilliseconds: 60_000 };
const connections = '/sys/fs/fuse/connections';

/** Mounts and loop devices below `folder` that exist now. */
export async function leftoversBelow(folder: string): Promise<string[]> {
  const mounts = (await readMountTable()).filter(({ mountPoint }) => mountPoint.startsWith(`${folder}/`));
  return [...mounts.map(({ mountPoint }) => mountPoint), ...(await loopsBelow(folder))];
}

/** Fails every request of the FUSE mounts below `folder`, then unmounts and detaches lazily. */
export async function abortMountsBelow(folder: string): Promise<void> {
  const mounts = (await readMountTable()).filter(({ mountPoint }) => mountPoint.startsWith(`${folder}/`));
  const fuse = mounts.filter(({ fileSystem }) => fileSystem.startsWith('fuse'));
  if (fuse.length > 0) await abortConnections(fuse.map(({ deviceNumber }) => deviceNumber));
  // The file system first, then what carries it.
  for (const { mountPoint } of mounts.toReversed().filter((entry) => !fuse.includes(entry)))
    await unmountLazily(mountPoint);
  for (const path of await loopsBelow(folder)) await runTool('losetup', ['-d', path], toolMilliseconds);
  for (const { mountPoint } of fuse) await unmountLazily(mountPoint);
}

/** A connection's name is the minor number of its mount's device. */
async function abortConnections(deviceNumbers: readonly string[]): Promise<void> {
  const isMounted = (await readMountTable()).some(({ mountPoint }) => mountPoint === connections);
  if (!isMounted) await runTool('mount', ['-t', 'fusectl', 'fusectl', connections], toolMilliseconds);
  for (const deviceNumber of deviceNumbers) {
    const file = `${connections}/${deviceNumber.split(':')[1]}/abort`;
    if (existsSync(file)) writeFileSync(file, '1');
  }
  if (!isMounted) await runTool('umount', [connections], toolMilliseconds);
}

async function unmountLazily(mountPoint: string): Promise<void> {
  await runTool('umount', ['-i', '-c', '-l', mountPoint], toolMilliseconds);
}

async function loopsBelow(folder: string): Promise<string[]> {
  const loops = await listLoopDevices('/sys/block');
  return loops.filter(({ backingFile }) => backingFile.startsWith(`${folder}/`)).map(({ path }) => path);
}
