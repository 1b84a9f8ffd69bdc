/** A temporary folder for mounts, which leaves nothing mounted or attached behind, whatever the test did. */
import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import type { TestContext } from 'node:test';
import { systemMountEnvironment } from '../../src/daemon/mounts/mount-environment.ts';
import type { MountEnvironment } from '../../src/daemon/mounts/mount-environment.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { abortMountsBelow, leftoversBelow } from './mount-guard.ts';
import { requireFile, requireRoot, requireTool } from './tools.ts';

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
  return { folder, directory, stateFolder: `${folder}/state`, environment, leftovers: () => leftoversBelow(folder) };
}

async function cleanUp(folder: string): Promise<void> {
  await abortMountsBelow(folder);
  const left = await leftoversBelow(folder);
  if (left.length > 0) throw new Error(`still mounted after the test: ${left.join(', ')}`);
  await rm(folder, { recursive: true, force: true });
}
