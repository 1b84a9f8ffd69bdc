/** The whole product under programs that others wrote: `caisson serve` on the real engine and a real store. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, statSync, truncateSync, writeSync } from 'node:fs';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { mebibyte, until } from '../support/nbd-fixture.ts';
import { dataBytes, python, ServedVolume } from '../support/served-volume.ts';
import { requireFile, requireTool, runTool } from '../support/tools.ts';

const limit = { timeout: 120_000 };
const volumeBytes = 64 * mebibyte;

/** Data, a hole, data, and a hole at the end. */
function writeImage(path: string): void {
  const file = openSync(path, 'w');
  writeSync(file, randomBytes(9 * mebibyte), 0, 9 * mebibyte, 0);
  writeSync(file, randomBytes(14 * mebibyte + 4096), 0, 14 * mebibyte + 4096, 30 * mebibyte - 4096);
  closeSync(file);
  truncateSync(path, volumeBytes);
}

test('nbdinfo tells the truth about an empty volume', limit, async (t) => {
  if (!requireTool(t, 'nbdinfo')) return;
  const volume = await ServedVolume.create(t);
  const { stdout } = await volume.tool('nbdinfo', ['--json', volume.uri]);
  const [found] = JSON.parse(stdout).exports;
  assert.deepEqual(
    [found['export-name'], found['export-size'], found.contexts, found.is_read_only, found.can_multi_conn],
    ['data', volumeBytes, ['base:allocation'], false, true],
  );
  assert.deepEqual([found.can_flush, found.can_fua, found.can_trim, found.can_zero], [true, true, true, true]);
  assert.equal(found.block_size_preferred, 4096);
  assert.deepEqual(
    (await volume.map()).map(({ offset, length, type }) => [offset, length, type]),
    [[0, volumeBytes, 3]],
  );
});

test('nbdcopy in and out over several connections, across a new start', limit, async (t) => {
  if (!requireTool(t, 'nbdcopy', 'nbdinfo')) return;
  const volume = await ServedVolume.create(t);
  const [source, back] = [volume.home.path('source'), volume.home.path('back')];
  writeImage(source);
  await volume.tool('nbdcopy', ['--connections=4', '--requests=64', '--flush', source, volume.uri]);
  await volume.tool('nbdcopy', ['--connections=4', '--requests=64', volume.uri, back]);
  assert.ok(readFileSync(back).equals(readFileSync(source)));
  const before = await volume.map();
  assert.equal(dataBytes(before), 23 * mebibyte + 4096, 'holes of the source are holes of the volume');
  await volume.stop();
  await volume.assertSound();
  await volume.start('--read-only');
  await volume.tool('nbdcopy', ['--synchronous', volume.uri, back]);
  assert.ok(readFileSync(back).equals(readFileSync(source)));
  assert.deepEqual(await volume.map(), before);
  assert.notEqual((await runTool('nbdcopy', [source, volume.uri])).status, 0, 'read-only means read-only');
});

for (const { what, parameters } of [
  { what: '4 KiB at depth 32', parameters: ['--bs=4k', '--iodepth=32'] },
  {
    what: 'mixed sizes with syncs',
    parameters: ['--bssplit=512/10:4k/40:36k/30:128k/20', '--iodepth=16', '--fsync=32'],
  },
  { what: 'each range trimmed before it is written', parameters: ['--rw=randtrimwrite', '--bs=16k', '--iodepth=1'] },
  { what: 'two jobs on two connections', parameters: ['--bsrange=4k-64k', '--iodepth=8', '--numjobs=2'] },
]) {
  test(`fio verifies what it wrote: ${what}`, limit, async (t) => {
    if (!requireTool(t, 'fio')) return;
    const volume = await ServedVolume.create(t);
    const job = ['--name=verify', '--ioengine=nbd', `--uri=${volume.uri}`, '--rw=randrw', '--size=24m'];
    const checks = [
      '--verify=crc32c',
      '--verify_state_save=0',
      '--verify_fatal=1',
      '--do_verify=1',
      '--randseed=7',
      '--offset_increment=32m',
    ];
    const output = volume.home.path('fio.json');
    await volume.tool('fio', [...job, ...parameters, ...checks, '--output-format=json', `--output=${output}`]);
    const text = readFileSync(output, 'utf8');
    const { jobs } = JSON.parse(text.substring(text.indexOf('{'))) as {
      jobs: { error: number; write: { total_ios: number } }[];
    };
    for (const { error, write } of jobs) assert.deepEqual([error, write.total_ios > 100], [0, true]);
    await volume.stop();
    await volume.assertSound();
  });
}

test('qemu-img converts, compares and maps', limit, async (t) => {
  if (!requireTool(t, 'qemu-img')) return;
  const volume = await ServedVolume.create(t);
  const [source, back] = [volume.home.path('source'), volume.home.path('back.qcow2')];
  writeImage(source);
  const compare = ['compare', '-f', 'raw', '-F', 'raw', source, volume.uri];
  await volume.tool('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', '-W', '-m', '8', source, volume.uri]);
  await volume.tool('qemu-img', compare);
  const { stdout } = await volume.tool('qemu-img', ['map', '-f', 'raw', '--output=json', volume.uri]);
  const extents = (JSON.parse(stdout) as { start: number; length: number; zero: boolean; data: boolean }[]).map(
    ({ start, length, zero, data }) => [start, length, zero, data],
  );
  assert.deepEqual(extents, [
    [0, 9 * mebibyte, false, true],
    [9 * mebibyte, 21 * mebibyte - 4096, true, false],
    [30 * mebibyte - 4096, 14 * mebibyte + 4096, false, true],
    [44 * mebibyte, 20 * mebibyte, true, false],
  ]);
  await volume.tool('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', volume.uri, back]);
  await volume.tool('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', back, source]);
  assert.ok(statSync(back).size < 25 * mebibyte, 'holes stayed holes');
  await volume.python('connect().pwrite(b"x", 12345678)');
  assert.equal((await runTool('qemu-img', compare)).status, 1, 'one byte more is a difference');
});

test('qemu-io writes, discards, zeroes and checks patterns, also after a crash', limit, async (t) => {
  if (!requireTool(t, 'qemu-io')) return;
  const volume = await ServedVolume.create(t);
  const expected = [
    'read -P 0x33 1000 3000',
    'read -P 0x11 4096 100k',
    'read -P 0 128k 64k',
    'read -P 0 256k 64k',
    'read -P 0 1M 512k',
    'read -P 0x22 1536k 512k',
    'read -P 0x11 512k 512k',
    'read -P 0 4M 1M',
    'read -P 0x44 5M 4k',
  ];
  const changes = [
    'aio_write -P 0x11 0 1M',
    'aio_write -P 0x22 1M 1M',
    'aio_flush',
    'write -f -P 0x33 1000 3000',
    'write -z 128k 64k',
    'write -z -u 256k 64k',
    'aio_write -P 0x44 4M 2M',
    'aio_flush',
    'write -z 4M 1M',
    'discard 1M 512k',
    'discard -q 5246976 100k',
    'flush',
  ];
  const io = async (commands: readonly string[]): Promise<void> => {
    const { stdout } = await volume.tool('qemu-io', [
      ...['-f', 'raw'],
      ...commands.flatMap((command) => ['-c', command]),
      volume.uri,
    ]);
    assert.doesNotMatch(stdout, /pattern verification failed|error/i);
  };
  await io([...changes, ...expected]);
  await volume.kill();
  await volume.start();
  await io(expected);
  assert.notEqual((await runTool('qemu-io', ['-f', 'raw', '-c', 'read 0 128M', volume.uri])).status, 0);
});

test('nbdkit proxies the volume, and its filters find nothing wrong', limit, async (t) => {
  if (!requireTool(t, 'nbdkit', 'nbdcopy', 'nbdinfo')) return;
  const volume = await ServedVolume.create(t);
  const [source, back] = [volume.home.path('source'), volume.home.path('back')];
  writeImage(source);
  const plain = await startProxy(t, volume, 'plain.sock');
  await volume.tool('nbdcopy', ['--flush', '--connections=4', source, plain]);
  await volume.tool('nbdcopy', ['--connections=4', plain, back]);
  assert.ok(readFileSync(back).equals(readFileSync(source)));
  const { stdout } = await volume.tool('nbdinfo', ['--map', '--json', plain]);
  assert.deepEqual(JSON.parse(stdout), await volume.map(), 'block status passes through');
  // Every write has to be what is there already, or the filter answers EIO.
  const checked = await startProxy(t, volume, 'checked.sock', '--filter=checkwrite');
  await volume.tool('nbdcopy', [source, checked]);
  // Requests of 64 KiB, aligned to 64 KiB, late and through a cache; the source differs from what is there.
  writeImage(source);
  const filters = ['--filter=cache', '--filter=blocksize', '--filter=delay'];
  const parameters = ['minblock=65536', 'maxdata=65536', 'rdelay=1ms', 'cache=writethrough'];
  const cached = await startProxy(t, volume, 'cached.sock', ...filters, ...parameters);
  await volume.tool('nbdcopy', ['--flush', source, cached]);
  await volume.tool('nbdcopy', [volume.uri, back]);
  assert.ok(readFileSync(back).equals(readFileSync(source)));
});

/** nbdkit with the volume behind it; `options` are filters and their parameters. */
async function startProxy(t: TestContext, volume: ServedVolume, name: string, ...options: string[]): Promise<string> {
  const socket = volume.home.path(name);
  const filters = options.filter((option) => option.startsWith('--'));
  const parameters = options.filter((option) => !option.startsWith('--'));
  const plugin = ['nbd', `socket=${volume.socket}`, `export=${volume.name}`];
  const child = spawn('nbdkit', ['-f', '-U', socket, ...filters, ...plugin, ...parameters], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: limit.timeout,
    killSignal: 'SIGKILL',
  });
  let said = '';
  child.stderr.on('data', (piece: Buffer) => (said += piece.toString()));
  t.after(async () => {
    child.kill();
    await until(() => child.exitCode !== null || child.signalCode !== null);
  });
  await until(() => child.exitCode !== null || statSync(socket, { throwIfNoEntry: false }) !== undefined);
  assert.equal(child.exitCode, null, said);
  return `nbd+unix:///?socket=${socket}`;
}

test('two clients see each other, and a FLUSH of one covers the writes of both', limit, async (t) => {
  if (!requireFile(t, python)) return;
  const volume = await ServedVolume.create(t);
  await volume.python(`
one, two = connect(), connect()
assert one.can_multi_conn() and two.can_multi_conn()
for index in range(200):
    writer, reader = (one, two) if index % 2 else (two, one)
    content = bytes([index + 1]) * 4096
    writer.pwrite(content, index * 12288)
    assert reader.pread(4096, index * 12288) == content, index
# Only one of them flushes; the process is killed right after.
two.flush()
`);
  await volume.kill();
  await volume.start();
  await volume.python(`
handle = connect()
for index in range(200):
    assert handle.pread(12288, index * 12288) == bytes([index + 1]) * 4096 + bytes(8192), index
`);
});
