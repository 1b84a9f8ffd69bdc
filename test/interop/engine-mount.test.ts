/** `caisson mount` with ext4, xfs and btrfs on the real engine: a tree of files, fstrim, and each file system's own check. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MountedVolume } from '../support/mounted-volume.ts';
import { mebibyte } from '../support/nbd-fixture.ts';
import { dataBytes } from '../support/served-volume.ts';
import type { MapExtent } from '../support/served-volume.ts';
import { requireTool } from '../support/tools.ts';

const sources = fileURLToPath(new URL('../../src', import.meta.url));

/** Options, size of the volume, and the check of an image of it. */
const fileSystems = {
  ext4: { size: '128M', check: ['e2fsck', '-f', '-n'] },
  xfs: { size: '320M', check: ['xfs_repair', '-n', '-f'] },
  btrfs: { size: '192M', check: ['btrfs', 'check', '--readonly'] },
} as const;

for (const type of ['ext4', 'xfs', 'btrfs'] as const) {
  const { size, check } = fileSystems[type];
  const [checker, ...checkOptions] = check;
  test(`${type} holds a tree, gives space back by fstrim and is sound`, { timeout: 150_000 }, async (t) => {
    const volume = await MountedVolume.create(t, size, `mkfs.${type}`, checker, 'fstrim', 'cp', 'diff', 'sync');
    if (volume === undefined || !requireTool(t, 'nbdinfo', 'nbdcopy')) return;
    const { directory, home } = volume;
    const mounted = await volume.mount('--mkfs', type);
    assert.deepEqual([mounted.fileSystem, mounted.notes], [type, []]);
    const uri = (await volume.status()).volumes[0]?.uri ?? '';
    const data = async (): Promise<number> =>
      dataBytes(JSON.parse(await volume.tool('nbdinfo', '--map', '--json', uri)) as MapExtent[]);

    const tree = home.path('tree');
    await volume.tool('cp', '-a', sources, tree);
    await volume.tool('cp', '-a', tree, `${directory}/tree`);
    await volume.tool('dd', 'if=/dev/urandom', `of=${directory}/big`, 'bs=1M', 'count=40', 'conv=fsync', 'status=none');
    await volume.tool('sync', '-f', directory);
    const full = await data();
    assert.ok(full >= 40 * mebibyte, `${full} bytes are data`);
    await volume.tool('rm', `${directory}/big`);
    await volume.tool('sync', '-f', directory);
    await volume.tool('fstrim', directory);
    const trimmed = await data();
    assert.ok(trimmed <= full - 38 * mebibyte, `${full} bytes of data, ${trimmed} after fstrim`);
    await volume.unmount();
    await volume.untilUnreachable();
    const report = await home.json(['volume', 'verify', 'data']);
    assert.deepEqual(report['findings'], []);

    const served = await home.serve(['data', '--read-only']);
    const image = home.path('image');
    await volume.tool('nbdcopy', served.ready.volumes[0]?.uri ?? '', image);
    await volume.tool(checker, ...checkOptions, image);
    served.child.kill('SIGTERM');
    assert.equal((await served.ended).code, 0);
    await volume.mount();
    await volume.tool('diff', '-r', tree, `${directory}/tree`);
    await volume.unmount();
  });
}
