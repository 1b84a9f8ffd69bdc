/** The FUSE export and the mounting on top of it against the real kernel and the real tools. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { openFuseExport } from '../../src/daemon/mounts/fuse-export.ts';
import type { FuseExport } from '../../src/daemon/mounts/fuse-export.ts';
import { mountVolume, umountVolume } from '../../src/daemon/mounts/mounts.ts';
import type { BlockDevice } from '../../src/export/block-device.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { MemoryDevice } from '../support/memory-device.ts';
import { mountFixture } from '../support/mount-fixture.ts';
import type { MountFixture } from '../support/mount-fixture.ts';
import { mustRun, run } from '../support/tools.ts';

const mebibyte = 1024 * 1024;

async function exportFile(fixture: MountFixture, device: BlockDevice, way?: 'signal' | 'pool'): Promise<FuseExport> {
  const mountPoint = `${fixture.folder}/fuse`;
  await mkdir(mountPoint, { recursive: true });
  return openFuseExport({
    device,
    mountPoint,
    clock: systemClock,
    log: () => undefined,
    ...(way === undefined ? {} : { way }),
  });
}

for (const way of ['signal', 'pool'] as const) {
  test(`the file has the device's size and content (${way})`, { timeout: 60_000 }, async (t) => {
    const fixture = await mountFixture(t, 'dd', 'fio');
    if (fixture === undefined) return;
    const device = new MemoryDevice(32 * mebibyte);
    const exported = await exportFile(fixture, device, way);
    assert.equal(exported.way, way);
    const { size, mode } = await stat(exported.filePath);
    assert.deepEqual([size, mode], [32 * mebibyte, 0o100600]);
    assert.deepEqual(await readdir(`${fixture.folder}/fuse`), ['disk']);

    const content = randomBytes(3 * mebibyte);
    await writeFile(`${fixture.folder}/content`, content);
    await mustRun(
      'dd',
      `if=${fixture.folder}/content`,
      `of=${exported.filePath}`,
      'bs=1M',
      'seek=5',
      'oflag=direct',
      'conv=notrunc,fsync',
    );
    assert.equal(Buffer.compare(content, device.content.subarray(5 * mebibyte, 8 * mebibyte)), 0);
    assert.ok(device.flushes > 0, 'fsync reaches the device');
    await mustRun(
      'dd',
      `if=${exported.filePath}`,
      `of=${fixture.folder}/back`,
      'bs=1M',
      'skip=5',
      'count=3',
      'iflag=direct',
    );
    assert.equal(Buffer.compare(content, await readFile(`${fixture.folder}/back`)), 0);

    const handle = await open(exported.filePath, 'r+');
    await handle.write(Buffer.from('unaligned'), 0, 9, 4095);
    assert.equal(Buffer.from(device.content.subarray(4095, 4104)).toString(), 'unaligned');
    await assert.rejects(handle.truncate(100), { code: 'EPERM' });
    await assert.rejects(handle.write(Buffer.alloc(1), 0, 1, size), { code: 'ENOSPC' });
    await assert.rejects(exported.close(), (error) => isCaissonError(error, 'volume-busy'));
    await handle.close();

    const jobs = [
      '--rw=randrw',
      '--bs=4k',
      '--iodepth=8',
      '--ioengine=libaio',
      '--size=8m',
      '--verify=crc32c',
      '--verify_state_save=0',
      '--direct=1',
    ];
    const fio = await run('fio', ['--name=verify', `--filename=${exported.filePath}`, ...jobs]);
    assert.equal(fio.status, 0, fio.output);
    await exported.close();
    assert.deepEqual(await fixture.leftovers(), []);
  });
}

test('holes are punched, found and copied as holes', { timeout: 60_000 }, async (t) => {
  const fixture = await mountFixture(t, 'cp', 'fallocate', 'qemu-img');
  if (fixture === undefined) return;
  const device = new MemoryDevice(16 * mebibyte);
  const exported = await exportFile(fixture, device);
  const handle = await open(exported.filePath, 'r+');
  await handle.write(randomBytes(mebibyte), 0, mebibyte, 2 * mebibyte);
  await handle.write(randomBytes(mebibyte), 0, mebibyte, 9 * mebibyte);
  await handle.close();
  await mustRun(
    'fallocate',
    '--punch-hole',
    '--offset',
    String(2 * mebibyte + 100),
    '--length',
    '100000',
    exported.filePath,
  );
  assert.ok(device.content.subarray(2 * mebibyte + 100, 2 * mebibyte + 100_100).every((byte) => byte === 0));
  assert.notEqual(
    device.content.subarray(2 * mebibyte, 2 * mebibyte + 100).every((byte) => byte === 0),
    true,
  );
  await mustRun(
    'fallocate',
    '--zero-range',
    '--keep-size',
    '--offset',
    String(9 * mebibyte),
    '--length',
    '4096',
    exported.filePath,
  );
  assert.ok(device.content.subarray(9 * mebibyte, 9 * mebibyte + 4096).every((byte) => byte === 0));
  assert.notEqual(
    (await run('fallocate', ['--offset', '0', '--length', '4096', exported.filePath])).status,
    0,
    'space cannot be reserved',
  );

  const copy = `${fixture.folder}/copy`;
  await mustRun('cp', '--sparse=auto', exported.filePath, copy);
  assert.equal(Buffer.compare(await readFile(copy), device.content), 0);
  assert.ok((await stat(copy)).blocks * 512 < 3 * mebibyte, 'the copy is sparse');
  const map = JSON.parse(await mustRun('qemu-img', 'map', '--output=json', '-f', 'raw', exported.filePath)) as {
    start: number;
    length: number;
    data: boolean;
  }[];
  const data = map.filter((part) => part.data);
  assert.equal(data[0]?.start, 2 * mebibyte);
  assert.equal(
    data.reduce((sum, part) => sum + part.length, 0),
    2 * mebibyte - 23 * 4096,
  );
  await exported.close();
});

test('a read-only device gives a read-only file', { timeout: 60_000 }, async (t) => {
  const fixture = await mountFixture(t);
  if (fixture === undefined) return;
  const exported = await exportFile(fixture, new MemoryDevice(mebibyte, { readOnly: true }));
  await assert.rejects(open(exported.filePath, 'r+'), { code: 'EROFS' });
  assert.equal((await readFile(exported.filePath)).length, mebibyte);
  await exported.close();
});

const checks = {
  ext4: ['e2fsck', '-fn'],
  xfs: ['xfs_repair', '-n', '-f'],
  btrfs: ['btrfs', 'check'],
} as const;

for (const type of ['ext4', 'xfs', 'btrfs'] as const) {
  test(`${type}: made, mounted, written, trimmed, checked, mounted again`, { timeout: 120_000 }, async (t) => {
    const [check, ...checkOptions] = checks[type];
    const fixture = await mountFixture(t, `mkfs.${type}`, check, 'fstrim');
    if (fixture === undefined) return;
    const { directory, stateFolder, environment } = fixture;
    const device = new MemoryDevice(384 * mebibyte);
    const mounted = await mountVolume(
      { name: 'vol', device, directory, stateFolder, makeFileSystem: type },
      environment,
    );
    assert.deepEqual(
      [mounted.via, mounted.fileSystem, mounted.directory, mounted.notes.length],
      ['fuse', type, directory, 0],
    );
    await assert.rejects(mountVolume({ name: 'vol', device, directory, stateFolder }, environment), (error) =>
      isCaissonError(error, 'volume-busy'),
    );

    const content = randomBytes(20 * mebibyte);
    await writeFile(`${directory}/kept`, content);
    await writeFile(`${directory}/removed`, randomBytes(40 * mebibyte));
    await mustRun('sync', '-f', directory);
    await mustRun('rm', `${directory}/removed`);
    await mustRun('sync', '-f', directory);
    device.calls.length = 0;
    await mustRun('fstrim', directory);
    const trimmed = device.calls
      .filter((call) => call.startsWith('trim'))
      .map((call) => Number(call.split(' ').at(-1)));
    assert.ok(trimmed.reduce((sum, length) => sum + length, 0) >= 40 * mebibyte, 'fstrim reaches the device');

    await writeFile(`${directory}/last`, 'not synced by anybody');
    const flushes = device.flushes;
    assert.deepEqual((await umountVolume('vol', stateFolder, environment)).notes, []);
    assert.ok(device.flushes > flushes, 'unmounting flushes');
    assert.deepEqual(await fixture.leftovers(), []);
    assert.deepEqual(await readdir(stateFolder), []);
    const exported = await exportFile(fixture, device);
    await mustRun(check, ...checkOptions, exported.filePath);
    await exported.close();

    const again = await mountVolume({ name: 'vol', device, directory, stateFolder }, environment);
    assert.equal(again.fileSystem, type);
    assert.equal(hash(await readFile(`${directory}/kept`)), hash(content));
    await umountVolume('vol', stateFolder, environment);
    await assert.rejects(umountVolume('vol', stateFolder, environment), (error) =>
      isCaissonError(error, 'mount-missing'),
    );
  });
}

test('nothing is formatted unless it is blank or forced', { timeout: 60_000 }, async (t) => {
  const fixture = await mountFixture(t, 'mkfs.ext4', 'mkfs.xfs', 'wipefs');
  if (fixture === undefined) return;
  const { directory, stateFolder, environment } = fixture;
  const device = new MemoryDevice(384 * mebibyte);
  const request = { name: 'vol', device, directory, stateFolder };
  const refused = (remedy: RegExp) => (error: unknown) =>
    isCaissonError(error, 'mount-failed') && remedy.test(error.remedy ?? '');

  await assert.rejects(
    mountVolume(request, environment),
    refused(/--mkfs/),
    'a blank volume is not formatted by itself',
  );
  device.content.fill(9, 200_000, 200_010);
  await assert.rejects(
    mountVolume({ ...request, makeFileSystem: 'ext4' }, environment),
    refused(/--force/),
    'data without a signature',
  );
  device.content.fill(0);
  await mountVolume({ ...request, makeFileSystem: 'ext4' }, environment);
  await writeFile(`${directory}/precious`, 'x');
  await umountVolume('vol', stateFolder, environment);
  await assert.rejects(
    mountVolume({ ...request, makeFileSystem: 'xfs' }, environment),
    refused(/--force/),
    'a file system',
  );

  const failing = failingReads(device);
  await assert.rejects(
    mountVolume({ ...request, device: failing, makeFileSystem: 'xfs', force: true }, environment),
    refused(/Nothing was changed/),
  );
  assert.equal((await mountVolume(request, environment)).fileSystem, 'ext4');
  assert.equal(await readFile(`${directory}/precious`, 'utf8'), 'x');
  await umountVolume('vol', stateFolder, environment);

  const forced = await mountVolume({ ...request, makeFileSystem: 'xfs', force: true }, environment);
  assert.equal(forced.fileSystem, 'xfs');
  await umountVolume('vol', stateFolder, environment);
  assert.deepEqual(await fixture.leftovers(), []);
  assert.deepEqual(await readdir(stateFolder), []);
});

test('directories that cannot be mounted on are refused with a remedy', { timeout: 60_000 }, async (t) => {
  const fixture = await mountFixture(t, 'mkfs.ext4');
  if (fixture === undefined) return;
  const { folder, directory, stateFolder, environment } = fixture;
  const request = {
    name: 'vol',
    device: new MemoryDevice(32 * mebibyte),
    stateFolder,
    makeFileSystem: 'ext4',
  } as const;
  const refused = (message: RegExp) => (error: unknown) =>
    isCaissonError(error, 'mount-failed') && message.test(error.message);

  await assert.rejects(mountVolume({ ...request, directory: 'data' }, environment), refused(/absolute/));
  await assert.rejects(
    mountVolume({ ...request, directory: `${folder}/none` }, environment),
    refused(/does not exist/),
  );
  await assert.rejects(mountVolume({ ...request, directory: '/proc' }, environment), refused(/already mounted/));
  await writeFile(`${directory}/file`, '');
  await assert.rejects(
    mountVolume({ ...request, directory: `${directory}/file` }, environment),
    refused(/not a directory/),
  );
  await assert.rejects(mountVolume({ ...request, directory }, environment), refused(/not empty/));
  await assert.rejects(mountVolume({ ...request, name: '../vol', directory }, environment), (error) =>
    isCaissonError(error, 'name-invalid'),
  );
  await mountVolume({ ...request, directory, allowNonEmpty: true }, environment);
  await umountVolume('vol', stateFolder, environment);
  await mountVolume(
    { name: 'vol', device: request.device, stateFolder, directory: `${folder}/made/deep`, createDirectory: true },
    environment,
  );
  await umountVolume('vol', stateFolder, environment);
});

test('a busy mount stays whole and names who uses it', { timeout: 60_000 }, async (t) => {
  const fixture = await mountFixture(t, 'mkfs.ext4');
  if (fixture === undefined) return;
  const { directory, stateFolder, environment } = fixture;
  await mountVolume(
    { name: 'vol', device: new MemoryDevice(32 * mebibyte), directory, stateFolder, makeFileSystem: 'ext4' },
    environment,
  );
  const handle = await open(`${directory}/held`, 'w');
  await assert.rejects(
    umountVolume('vol', stateFolder, environment),
    (error) => isCaissonError(error, 'volume-busy') && error.message.includes(`${process.pid} (`),
  );
  await handle.write('still works');
  await handle.close();
  assert.equal(await readFile(`${directory}/held`, 'utf8'), 'still works');
  await umountVolume('vol', stateFolder, environment);
  assert.deepEqual(await fixture.leftovers(), []);
});

/** A device whose store went bad: every read fails. */
function failingReads(device: MemoryDevice): BlockDevice {
  return new Proxy(device, {
    get(target, property) {
      if (property === 'read') return () => Promise.reject(new Error('the store is gone'));
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
