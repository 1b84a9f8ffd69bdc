/** Volumes on a real block device: a loop device, which is one to the kernel and to us, with real clients. */
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Home } from '../support/caisson.ts';
import { mebibyte } from '../support/nbd-fixture.ts';
import { python, ServedVolume } from '../support/served-volume.ts';
import { mustRun, requireFile, requireRoot, requireTool, run } from '../support/tools.ts';

const limit = { timeout: 150_000 };

function canLoop(t: TestContext, ...tools: string[]): boolean {
  return requireRoot(t) && requireFile(t, '/dev/loop-control') && requireTool(t, 'losetup', ...tools);
}

/** A device of its own over a file in the home. */
async function makeDevice(home: Home, bytes: number): Promise<string> {
  const file = home.path('disk.img');
  writeFileSync(file, '');
  truncateSync(file, bytes);
  const device = (await mustRun('losetup', '--find', '--show', file)).trim();
  home.clearing.push(() => run('losetup', ['--detach', device]));
  return device;
}

interface DeviceVolume {
  readonly volume: ServedVolume;
  readonly device: string;
}

async function serveOnDevice(t: TestContext, bytes: number, size: string): Promise<DeviceVolume> {
  let device = '';
  const prepareStore = async (home: Home): Promise<string> => `block:${(device = await makeDevice(home, bytes))}`;
  const volume = await ServedVolume.create(t, { size, prepareStore });
  return { volume, device };
}

test('what is copied to a volume on a device survives a kill, bit by bit', limit, async (t) => {
  if (!canLoop(t, 'nbdcopy', 'mkfs.ext4', 'mount')) return;
  const { volume, device } = await serveOnDevice(t, 256 * mebibyte, '96M');
  const image = volume.home.path('image');
  const content = randomFillSync(new Uint8Array(96 * mebibyte));
  content.fill(0, 20 * mebibyte, 40 * mebibyte);
  writeFileSync(image, content);
  await volume.tool('nbdcopy', ['--flush', image, volume.uri]);
  const { code, kind } = await volume.home.error([
    ...['volume', 'create', 'other', '--size', '1M', '--store', `block:${device}`],
    ...['--key-file', volume.home.path('key')],
  ]);
  assert.deepEqual([code, kind], ['store-open-elsewhere', 'transient'], 'one process at a time has the device');
  assert.notEqual((await run('mkfs.ext4', ['-q', '-F', device])).status, 0, 'the kernel lets nobody else claim it');
  await volume.kill();
  await volume.start();
  const copy = volume.home.path('copy');
  await volume.tool('nbdcopy', [volume.uri, copy]);
  assert.ok(Buffer.from(content.buffer).equals(readFileSync(copy)));
  await volume.stop();
  await volume.assertSound();
  assert.equal(readFileSync(volume.home.path('disk.img')).indexOf(content.subarray(0, 64)), -1, 'it is sealed');
});

test('fio finds what it wrote at random, through kills', limit, async (t) => {
  if (!canLoop(t, 'fio') || !requireFile(t, python)) return;
  const { volume } = await serveOnDevice(t, 384 * mebibyte, '48M');
  const job = (...more: string[]): string[] => [
    ...['--name=verify', '--ioengine=nbd', `--uri=${volume.uri}`, '--rw=randwrite', '--bs=4k', '--size=48M'],
    ...[
      '--iodepth=16',
      '--fsync=32',
      '--verify=crc32c',
      '--verify_fatal=1',
      '--randrepeat=1',
      '--io_size=16M',
      ...more,
    ],
  ];
  for (const _round of [1, 2]) {
    await volume.tool('fio', job('--do_verify=1'));
    // fio does not wait for a flush of its last writes.
    await volume.python('handle = connect(); handle.flush()');
    await volume.kill();
    await volume.start();
    await volume.tool('fio', job('--verify_only'));
  }
  await volume.stop();
  await volume.assertSound();
});

test('a file system on a volume on a device is whole after the daemon was killed', limit, async (t) => {
  if (!canLoop(t, 'mkfs.ext4', 'mount', 'e2fsck', 'nbdcopy') || !requireFile(t, '/dev/fuse')) return;
  const home = new Home(t, 'launcher');
  const device = await makeDevice(home, 256 * mebibyte);
  const directory = home.path('mnt');
  mkdirSync(directory);
  home.clearing.push(() => home.run(['umount', 'data']));
  const create = ['volume', 'create', 'data', '--size', '64M', '--store', `block:${device}`];
  await home.json([...create, '--key-file', home.keyFile()]);
  await home.json(['mount', 'data', directory, '--mkfs', 'ext4']);
  await mustRun('sh', '-c', `head -c 5000000 /dev/urandom > ${directory}/kept && sync -f ${directory}/kept`);
  const digest = await mustRun('sh', '-c', `sha256sum < ${directory}/kept`);
  await mustRun('sh', '-c', `head -c 3000000 /dev/urandom > ${directory}/perhaps`);
  const { pid } = (await home.json(['status'])) as unknown as { pid: number };
  process.kill(pid, 'SIGKILL');
  for (let attempt = 0; attempt < 100 && (await home.run(['status'])).code === 0; attempt++) await sleep(50);
  await home.json(['umount', 'data']);
  await home.json(['mount', 'data', directory]);
  assert.equal(await mustRun('sh', '-c', `sha256sum < ${directory}/kept`), digest);
  await home.json(['umount', 'data']);
  const { ready } = await home.serve(['data']);
  const raw = home.path('raw');
  await mustRun('nbdcopy', ready.volumes[0]!.uri, raw);
  await mustRun('e2fsck', '-fn', raw);
});

const fillUntilError = `
handle = connect()
promised = 0
try:
    for number in range(200):
        handle.pwrite(bytes([number + 1]) * (1 << 20), number << 20)
        handle.flush()
        promised = number + 1
    sys.exit("the device never filled up")
except nbd.Error as error:
    assert error.errno in ("ENOSPC", "EIO"), error.errno
print(promised)
`;

const checkPromised = (promised: number): string => `
handle = connect()
for number in range(${promised}):
    assert handle.pread(1 << 20, number << 20) == bytes([number + 1]) * (1 << 20), number
`;

test('a full device is told to the client, loses nothing, and works again when it has grown', limit, async (t) => {
  if (!canLoop(t) || !requireFile(t, python)) return;
  const { volume, device } = await serveOnDevice(t, 96 * mebibyte, '256M');
  const promised = Number(await volume.python(fillUntilError));
  assert.ok(promised >= 48, `${promised} MiB were promised`);
  await volume.kill();
  await volume.start('--read-only');
  await volume.python(checkPromised(promised));
  await volume.stop();
  truncateSync(volume.home.path('disk.img'), 256 * mebibyte);
  await mustRun('losetup', '--set-capacity', device);
  await volume.start();
  await volume.python(`${checkPromised(promised)}\nhandle.pwrite(b"after" * 1000, 200 << 20); handle.flush()`);
  await volume.kill();
  await volume.start();
  await volume.python(`${checkPromised(promised)}\nassert handle.pread(5000, 200 << 20) == b"after" * 1000`);
  await volume.stop();
  await volume.assertSound();
});

test('a device with something on it is left alone, unless told otherwise', limit, async (t) => {
  if (!canLoop(t, 'mkfs.ext4', 'blkid')) return;
  const home = new Home(t);
  const device = await makeDevice(home, 96 * mebibyte);
  await mustRun('mkfs.ext4', '-q', device);
  const create = ['volume', 'create', 'data', '--size', '1M', '--store', `block:${device}`];
  const key = ['--key-file', home.keyFile()];
  const { code, message } = await home.error([...create, ...key]);
  assert.deepEqual([code, /ext4/.test(message)], ['device-not-blank', true], message);
  assert.match(await mustRun('blkid', '-p', device), /ext4/, 'it is as it was');
  await home.json([...create, ...key, '--overwrite-device']);
  assert.notEqual((await run('blkid', ['-p', device])).status, 0, 'nobody takes it for a file system any more');
  const other = ['volume', 'create', 'other', '--size', '1M', '--store', `dir:${home.path('x')}`, ...key];
  assert.equal((await home.error([...other, '--overwrite-device'])).code, 'argument-invalid');
});
