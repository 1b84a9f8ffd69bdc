/** A volume is made and mounted beside another whose daemon was killed or does not answer, with each file system's own tools. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fuseFileSystemType } from '../../src/sys/fuse-device.ts';
import { readMountTable } from '../../src/sys/mount.ts';
import { MountedVolume } from '../support/mounted-volume.ts';

const sizes = { ext4: '64M', xfs: '320M', btrfs: '192M' } as const;
const types = ['ext4', 'xfs', 'btrfs'] as const;

test('a volume whose daemon was killed does not keep others from being formatted', { timeout: 150_000 }, async (t) => {
  const dead = await neighbour(t);
  if (dead === undefined) return;
  await dead.kill();
  await mountEach(t);
  // Only the program that made the file system went without the dead mounts.
  assert.deepEqual(await mountsOf(dead), ['ext4', fuseFileSystemType]);
  await dead.unmount();
});

test('nor does a daemon that does not answer', { timeout: 150_000 }, async (t) => {
  const still = await neighbour(t);
  if (still === undefined) return;
  const { pid } = await still.status();
  process.kill(pid, 'SIGSTOP');
  try {
    await mountEach(t);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  assert.deepEqual(await mountsOf(still), ['ext4', fuseFileSystemType]);
  await still.unmount();
});

async function neighbour(t: TestContext): Promise<MountedVolume | undefined> {
  const tools = [...types.map((type) => `mkfs.${type}`), 'unshare'];
  const volume = await MountedVolume.create(t, '64M', ...tools);
  await volume?.mount('--mkfs', 'ext4');
  return volume;
}

/** A new volume is formatted, used and given back with each file system. */
async function mountEach(t: TestContext): Promise<void> {
  for (const type of types) {
    const volume = await MountedVolume.create(t, sizes[type]);
    assert.ok(volume !== undefined);
    const mounted = await volume.mount('--mkfs', type);
    assert.equal(mounted.fileSystem, type);
    writeFileSync(`${volume.directory}/letter`, 'dear reader');
    await volume.unmount();
  }
}

async function mountsOf({ home }: MountedVolume): Promise<string[]> {
  const table = await readMountTable();
  return table
    .filter(({ mountPoint }) => mountPoint.startsWith(`${home.folder}/`))
    .map((entry) => entry.fileSystem)
    .toSorted();
}
