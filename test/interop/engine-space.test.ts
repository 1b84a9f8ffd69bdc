/** Space on the real engine: what is freed, grown and full, as clients see it and as the map and the store tell. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { test } from 'node:test';
import type { Home } from '../support/caisson.ts';
import { mebibyte } from '../support/nbd-fixture.ts';
import { dataBytes, python, ServedVolume } from '../support/served-volume.ts';
import { mustRun, requireFile, requireRoot, requireTool, run } from '../support/tools.ts';

const limit = { timeout: 120_000 };

test('trimmed and zeroed ranges are holes in block status and gone from the map', limit, async (t) => {
  if (!requireTool(t, 'nbdinfo') || !requireFile(t, python)) return;
  const volume = await ServedVolume.create(t);
  await volume.python(`
handle = connect()
for offset in range(0, 32 << 20, 1 << 20):
    handle.pwrite(b"d" * (1 << 20), offset)
handle.flush()
`);
  assert.equal(dataBytes(await volume.map()), 32 * mebibyte);
  await volume.stop();
  const full = await volume.assertSound();
  await volume.start();
  await volume.python(`
handle = connect()
handle.trim(8 << 20, 4 << 20)
handle.zero(4 << 20, 16 << 20)
handle.zero(2 << 20, 24 << 20, nbd.CMD_FLAG_NO_HOLE)
# Less than whole blocks at both ends: those bytes become zeroes, their blocks stay data.
handle.zero(10000, (28 << 20) + 100)
handle.flush()
assert handle.pread(12000, 28 << 20) == b"d" * 100 + bytes(10000) + b"d" * 1900
assert handle.pread(8 << 20, 4 << 20) == bytes(8 << 20)
assert handle.pread(2 << 20, 24 << 20) == bytes(2 << 20)
assert handle.pread(4096, 12 << 20) == b"d" * 4096
`);
  const hole = (map: Awaited<ReturnType<typeof volume.map>>, at: number): boolean =>
    map.some(({ offset, length, type }) => offset <= at && at < offset + length && type === 3);
  const check = async (): Promise<void> => {
    const map = await volume.map();
    for (const at of [4, 11.5, 16, 19.5, 33, 63]) assert.ok(hole(map, at * mebibyte), `a hole at ${at} MiB`);
    for (const at of [0, 12, 15.5, 20, 26, 28, 31.5]) assert.ok(!hole(map, at * mebibyte), `data at ${at} MiB`);
  };
  await check();
  await volume.kill();
  await volume.start();
  await check();
  await volume.stop();
  const freed = await volume.assertSound();
  // In blocks: 4 MiB trimmed, 8 and 2 MiB zeroed, and the one whole block of the last range.
  assert.equal(full.unitsChecked, 8192);
  assert.equal(freed.unitsChecked, 8192 - 1024 - 2048 - 512 - 1);
});

test('a volume that grows is seen by new connections, and keeps its content', limit, async (t) => {
  if (!requireTool(t, 'nbdinfo') || !requireFile(t, python)) return;
  const volume = await ServedVolume.create(t);
  const size = async (): Promise<number> => Number((await volume.tool('nbdinfo', ['--size', volume.uri])).stdout);
  await volume.python('handle = connect(); handle.pwrite(b"old end", (64 << 20) - 7); handle.flush()');
  await volume.home.json(['volume', 'resize', 'data', '--size', '128M']);
  assert.equal(await size(), 128 * mebibyte);
  await volume.python(`
handle = connect()
assert handle.pread(4096, (64 << 20) - 7) == b"old end" + bytes(4089)
handle.pwrite(b"new end", (128 << 20) - 7)
handle.flush()
`);
  await volume.kill();
  await volume.start();
  assert.equal(await size(), 128 * mebibyte);
  await volume.home.json(['volume', 'resize', 'data', '--size', '32M', '--yes']);
  await volume.home.json(['volume', 'resize', 'data', '--size', '128M']);
  // What was cut off does not come back.
  await volume.python('assert connect().pread(16 << 20, 112 << 20) == bytes(16 << 20)');
  assert.equal(dataBytes(await volume.map()), 0);
  await volume.stop();
  await volume.assertSound();
});

/** A tmpfs of 40 MiB, too small for what is written. */
async function smallStore(home: Home): Promise<string> {
  const folder = home.path('small');
  mkdirSync(folder);
  await mustRun('mount', '-t', 'tmpfs', '-o', 'size=40m', 'tmpfs', folder);
  home.clearing.push(() => run('umount', ['-l', folder]));
  return folder;
}

const fillUntilError = `
handle = connect()
promised = 0
try:
    for number in range(64):
        handle.pwrite(bytes([number + 1]) * (1 << 20), number << 20)
        if number % 4 == 3:
            handle.flush()
            promised = number + 1
    sys.exit("the store never filled up")
except nbd.Error as error:
    assert error.errno in ("ENOSPC", "EIO"), error.errno
# Whatever is answered from now on, no FLUSH may promise what is not kept.
try:
    handle.flush()
    promised = number
except nbd.Error as error:
    assert error.errno in ("ENOSPC", "EIO"), error.errno
    try:
        handle.pwrite(b"more" * 1024, 0)
        handle.flush()
        sys.exit("a FLUSH after a failed one succeeded")
    except nbd.Error:
        pass
assert handle.pread(4096, 0) in (bytes([1]) * 4096, b"more" * 1024)
print(promised)
`;

const checkPromised = (promised: number): string => `
handle = connect()
for number in range(1, ${promised}):
    assert handle.pread(1 << 20, number << 20) == bytes([number + 1]) * (1 << 20), number
`;

test('a full store is told to the client, loses nothing, and works again with room', limit, async (t) => {
  if (!requireRoot(t) || !requireTool(t, 'mount') || !requireFile(t, python)) return;
  const volume = await ServedVolume.create(t, { size: '256M', prepareStore: smallStore });
  const promised = Number(await volume.python(fillUntilError));
  assert.ok(promised >= 8, `${promised} MiB were promised`);
  const { volumes } = (await volume.home.json(['status'])) as unknown as { volumes: { latched: unknown }[] };
  t.diagnostic(`${promised} MiB promised, latched: ${JSON.stringify(volumes[0]?.latched)}`);
  await volume.kill();
  // The store is as full as before; what was promised can be read nevertheless.
  await volume.start('--read-only');
  await volume.python(checkPromised(promised));
  await volume.stop();
  await mustRun('mount', '-o', 'remount,size=120m', volume.home.path('small'));
  await volume.start();
  await volume.python(checkPromised(promised));
  await volume.python(`handle = connect(); handle.pwrite(b"after" * 1000, 200 << 20); handle.flush()`);
  await volume.kill();
  await volume.start();
  await volume.python(`${checkPromised(promised)}\nassert handle.pread(5000, 200 << 20) == b"after" * 1000`);
  await volume.stop();
  await volume.assertSound();
});
