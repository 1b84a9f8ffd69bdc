/**
 * Hashed volumes with the programs of others: mkfs.erofs makes them, the kernel mounts them through FUSE and a
 * loop device, fsck.erofs, nbdcopy and nbdinfo look at them.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { MountedVolume } from '../support/mounted-volume.ts';
import type { MapExtent } from '../support/served-volume.ts';
import { noise } from '../support/hashed-image.ts';
import { requireTool, runTool } from '../support/tools.ts';

const limit = { timeout: 120_000 };

/** The same tree, written in another order, at another time, below another path. */
function writeTree(folder: string, isBackwards: boolean): void {
  const files: [name: string, content: Uint8Array][] = [
    ['a-text', Buffer.from('text\n')],
    ['big/weights.bin', noise(1, 9_000_000)],
    ['empty', new Uint8Array(0)],
    ['z/deep/er/leaf', noise(2, 5000)],
    ...Array.from({ length: 300 }, (_, index): [string, Uint8Array] => [`many/${index}`, noise(index, index)]),
  ];
  for (const [name, content] of isBackwards ? files.toReversed() : files) {
    const file = `${folder}/${name}`;
    fs.mkdirSync(file.replace(/\/[^/]*$/, ''), { recursive: true });
    fs.writeFileSync(file, content);
    fs.chmodSync(file, 0o640);
    if (isBackwards) fs.utimesSync(file, 1_000_000, 1_000_000);
  }
  fs.symlinkSync('a-text', `${folder}/link`);
  fs.linkSync(`${folder}/a-text`, `${folder}/z/hard`);
  fs.truncateSync(`${folder}/big/weights.bin`, 30_000_000);
}

test(
  'a directory becomes the same root wherever and whenever it was written, and is mounted as it was',
  limit,
  async (t) => {
    const volume = MountedVolume.prepare(t, 'mkfs.erofs', 'fsck.erofs', 'nbdcopy', 'nbdinfo', 'diff', 'python3');
    if (volume === undefined) return;
    const { home, directory } = volume;
    const tree = home.path('tree');
    const other = home.path('elsewhere/with a longer path/tree');
    writeTree(tree, false);
    writeTree(other, true);
    const setAttribute = `import os; os.setxattr('${other}/a-text', 'user.note', b'of this machine')`;
    await volume.tool('python3', '-c', setAttribute);
    await volume.tool('chown', '-R', '1234:5678', other);
    const make = ['--protection', 'hashed', '--store', home.store, '--from'];
    const { root } = await home.json(['volume', 'create', volume.name, ...make, tree]);
    const again = await home.json(['volume', 'create', 'again', ...make, other]);
    assert.equal(again['root'], root, 'order, times, owners, attributes and path make no difference');
    fs.appendFileSync(`${other}/a-text`, '!');
    assert.notEqual((await home.json(['volume', 'create', 'changed', ...make, other]))['root'], root);

    const mounted = await volume.mount();
    assert.equal(mounted.fileSystem, 'erofs');
    await volume.tool('diff', '-r', tree, directory);
    const { status } = await runTool('touch', [`${directory}/new`]);
    assert.notEqual(status, 0, 'nothing is written');
    await volume.unmount();
    await volume.untilUnreachable();

    const served = await home.serve([volume.name]);
    const uri = served.ready.volumes[0]?.uri ?? '';
    const image = home.path('image');
    await volume.tool('nbdcopy', '--connections=4', uri, image);
    await volume.tool('fsck.erofs', image);
    const expected = home.path('expected');
    await volume.tool(
      ...(['mkfs.erofs', '--quiet', '-x-1', '-T0', '-U00000000-0000-0000-0000-000000000000', '--all-root'] as const),
      expected,
      tree,
    );
    await volume.tool('cmp', image, expected);
    const map = JSON.parse(await volume.tool('nbdinfo', '--map', '--json', uri)) as MapExtent[];
    const bytes = fs.readFileSync(image);
    let holes = 0;
    for (const { offset, length, type } of map) {
      if (type === 0) continue;
      holes += length;
      assert.ok(
        bytes.subarray(offset, offset + length).every((byte) => byte === 0),
        `zero at ${offset}`,
      );
    }
    assert.ok(holes > 20_000_000, `${holes} bytes are holes`);
    const written = await runTool('nbdcopy', [expected, uri]);
    assert.notEqual(written.status, 0, 'a client cannot write');
    served.child.kill('SIGTERM');
    assert.equal((await served.ended).code, 0);
  },
);

test('an ext4 image is mounted read-only', limit, async (t) => {
  const volume = MountedVolume.prepare(t, 'mkfs.ext4', 'truncate', 'cmp');
  if (volume === undefined) return;
  const { home } = volume;
  fs.mkdirSync(home.path('tree'));
  fs.writeFileSync(home.path('tree/file'), noise(3, 100_000));
  await volume.tool('truncate', '-s', '24M', 'disk');
  await volume.tool('mkfs.ext4', '-q', '-d', 'tree', 'disk');
  await home.json(['volume', 'create', volume.name, '--protection', 'hashed', '--store', home.store, '--from', 'disk']);
  const mounted = await volume.mount();
  assert.equal(mounted.fileSystem, 'ext4');
  await volume.tool('cmp', 'tree/file', `${volume.directory}/file`);
  await volume.unmount();
});

test('a block device is a source, but not while it is mounted', limit, async (t) => {
  const volume = MountedVolume.prepare(t, 'mkfs.ext4', 'losetup');
  if (volume === undefined) return;
  const { home } = volume;
  await volume.tool('truncate', '-s', '12345856', 'disk');
  await volume.tool('mkfs.ext4', '-q', 'disk');
  const make = ['--protection', 'hashed', '--store', home.store, '--from'];
  const fromFile = await home.json(['volume', 'create', 'file', ...make, 'disk']);
  const device = (await volume.tool('losetup', '--find', '--show', home.path('disk'))).trim();
  home.clearing.push(() => runTool('losetup', ['-d', device]));
  const fromDevice = await home.json(['volume', 'create', 'device', ...make, device]);
  assert.equal(fromDevice['root'], fromFile['root']);
  await volume.tool('mount', device, volume.directory);
  try {
    const refused = await home.error(['volume', 'create', 'mounted', ...make, device]);
    assert.equal(refused.code, 'import-source-busy');
  } finally {
    await volume.tool('umount', volume.directory);
  }
});

test('a block store holds hashed volumes too', limit, async (t) => {
  const volume = MountedVolume.prepare(t);
  if (volume === undefined || !requireTool(t, 'truncate')) return;
  const { home } = volume;
  await volume.tool('truncate', '-s', '256M', 'device');
  fs.writeFileSync(home.path('image'), noise(4, 10_000_000));
  const store = `block:${home.path('device')}`;
  const { root } = await home.json([
    'volume',
    'create',
    'model',
    '--protection',
    'hashed',
    '--store',
    store,
    '--from',
    'image',
  ]);
  fs.mkdirSync(home.path('reference'));
  const reference = ['--protection', 'hashed', '--store', home.path('reference'), '--from', 'image'];
  assert.equal((await home.json(['volume', 'create', 'same', ...reference]))['root'], root);
  assert.equal((await home.run(['volume', 'verify', 'model'])).code, 0);
});
