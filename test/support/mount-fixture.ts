/** A temporary folder for mounts, which leaves nothing mounted or attached behind, whatever the test did. */
import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import type { TestContext } from 'node:test';
import { systemMountEnvironment } from '../../src/daemon/mounts/mount-environment.ts';
import type { MountEnvironment } from '../../src/daemon/mounts/mount-environment.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { listLoopDevices } from '../../src/sys/loop.ts';
import { readMountTable } from '../../src/sys/mount.ts';
import { requireFile, requireRoot, requireTool, run } from './tools.ts';

export interface MountFixture {
  readonly folder: string;
  /** Exists and is empty. */
  readonly directory: string;
  readonly stateFolder: string;
  readonly environment: MountEnvironment;
  /** Mounts and loop devices of this fixture that exist now. */
  leftovers(): Promise<string[]>;
}

/** Undefined after the test was marked as skipped. */
export async function mountFixture(t: TestContext, ...tools: string[]): Promise<MountFixture | undefined> {
  const programs = ['mount', 'umount', 'losetup', 'blkid', ...tools];
  if (!requireRoot(t) || !requireFile(t, '/dev/fuse') || !requireFile(t, '/dev/loop-control')) return undefined;
  if (!programs.every((name) => requireTool(t, name))) return undefined;
  const folder = await realpath(await mkdtemp(`${tmpdir()}/caisson-mount-`));
  t.after(() => cleanUp(folder));
  const directory = `${folder}/data`;
  await mkdir(directory);
  const environment = systemMountEnvironment(systemClock, () => undefined);
  return { folder, directory, stateFolder: `${folder}/state`, environment, leftovers: () => leftoversOf(folder) };
}

async function leftoversOf(folder: string): Promise<string[]> {
  const mounts = (await readMountTable()).filter((entry) => entry.mountPoint.startsWith(`${folder}/`));
  const loops = (await listLoopDevices('/sys/block')).filter((loop) => loop.backingFile.startsWith(`${folder}/`));
  return [...mounts.map((entry) => entry.mountPoint), ...loops.map((loop) => loop.path)];
}

async function cleanUp(folder: string): Promise<void> {
  const mounts = (await readMountTable()).filter((entry) => entry.mountPoint.startsWith(`${folder}/`));
  const loops = (await listLoopDevices('/sys/block')).filter((loop) => loop.backingFile.startsWith(`${folder}/`));
  for (const { mountPoint } of mounts.filter((entry) => !entry.fileSystem.startsWith('fuse')))
    await run('umount', ['-l', mountPoint]);
  for (const { path } of loops) await run('losetup', ['-d', path]);
  for (const { mountPoint } of mounts.filter((entry) => entry.fileSystem.startsWith('fuse')))
    await run('umount', ['-l', mountPoint]);
  const left = (await leftoversOf(folder)).filter((name) => name.startsWith(folder));
  if (left.length > 0) throw new Error(`still mounted after the test: ${left.join(', ')}`);
  await rm(folder, { recursive: true, force: true });
}
