import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LoopDevice } from '../../sys/loop.ts';
import type { MountEntry } from '../../sys/mount.ts';
import { foreignMounts } from './foreign-mounts.ts';

const mount = (mountPoint: string, fileSystem: string, source: string): MountEntry => ({
  deviceNumber: '7:0',
  mountPoint,
  fileSystem,
  source,
});
const loop = (number: number, backingFile: string): LoopDevice => ({
  path: `/dev/loop${number}`,
  backingFile,
  direct: true,
});

const table = [
  mount('/', 'ext4', '/dev/vda'),
  mount('/images', 'fuse.sshfs', 'host:'),
  mount('/snap', 'squashfs', '/dev/loop9'),
  mount('/state/a.fuse', 'fuse.caisson', 'caisson'),
  mount('/a', 'ext4', '/dev/loop0'),
  mount('/a/inner', 'tmpfs', 'tmpfs'),
  mount('/state/ab.fuse', 'fuse.caisson', 'caisson'),
  mount('/a again', 'ext4', '/dev/loop0'),
];
const loops = [loop(0, '/state/a.fuse/disk'), loop(1, '/state/ab.fuse/disk'), loop(9, '/images/snap')];

test('the mounts of other volumes are named from top to bottom, no one else’s and none of its own', () => {
  assert.deepEqual(foreignMounts('/dev/loop1', table, loops), ['/a again', '/a', '/state/a.fuse']);
  assert.deepEqual(foreignMounts('/dev/loop0', table, loops), ['/state/ab.fuse']);
  assert.deepEqual(foreignMounts('/dev/nbd0', table, loops), ['/a again', '/state/ab.fuse', '/a', '/state/a.fuse']);
});

test('the root of the system stays, even when it lies on a volume', () => {
  const rooted = [mount('/', 'ext4', '/dev/loop0'), mount('/run/root.fuse', 'fuse.caisson', 'caisson')];
  assert.deepEqual(foreignMounts('/dev/loop1', rooted, [loop(0, '/run/root.fuse/disk')]), ['/run/root.fuse']);
});
