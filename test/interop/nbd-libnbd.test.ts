/** The NBD export against libnbd's own programs: nbdinfo, nbdcopy, nbdsh. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { MemoryDevice } from '../support/memory-device.ts';
import { mebibyte, serveMemory } from '../support/nbd-fixture.ts';
import { requireTool, runTool, toolOutput } from '../support/tools.ts';

/** nbdsh takes the first python3 of the path; the distribution's is the one that has libnbd's module. */
const environment = { PATH: `/usr/bin:${process.env['PATH'] ?? ''}` };
const uri = (path: string, name = 'disk'): string => `nbd+unix:///${name}?socket=${path}`;

test('nbdinfo sees what is configured', async (t) => {
  if (!requireTool(t, 'nbdinfo')) return;
  const { path, server } = await serveMemory(t);
  server.addExport('fixed', { device: new MemoryDevice(mebibyte), readOnly: true, description: 'never changes' });
  const found = JSON.parse(await toolOutput('nbdinfo', ['--json', uri(path)]));
  assert.equal(found.protocol, 'newstyle-fixed');
  assert.equal(found.structured, true);
  const [disk] = found.exports;
  assert.deepEqual(
    [disk['export-name'], disk.description, disk['export-size'], disk.contexts, disk.is_read_only],
    ['disk', 'a disk in memory', 8 * mebibyte, ['base:allocation'], false],
  );
  assert.deepEqual(
    [disk.block_size_minimum, disk.block_size_preferred, disk.block_size_maximum],
    [1, 4096, 32 * mebibyte],
  );
  for (const ability of [
    'cache',
    'df',
    'fast-zero',
    'flush',
    'fua',
    'multi-conn',
    'trim',
    'zero',
    'write',
    'connect',
  ]) {
    assert.equal((await runTool('nbdinfo', ['--can', ability, uri(path)])).status, 0, ability);
  }
  assert.equal((await runTool('nbdinfo', ['--is', 'read-only', uri(path)])).status, 2);
  assert.equal((await runTool('nbdinfo', ['--is', 'read-only', uri(path, 'fixed')])).status, 0);
  const list = JSON.parse(await toolOutput('nbdinfo', ['--list', '--json', uri(path)]));
  assert.deepEqual(
    list.exports.map((one: Record<string, unknown>) => [one['export-name'], one['description'], one['export-size']]),
    [
      ['disk', 'a disk in memory', 8 * mebibyte],
      ['fixed', 'never changes', mebibyte],
    ],
  );
  assert.notEqual((await runTool('nbdinfo', [uri(path, 'nobody')])).status, 0);
});

test('nbdinfo --map shows data and holes', async (t) => {
  if (!requireTool(t, 'nbdinfo', 'nbdsh')) return;
  const { path } = await serveMemory(t);
  await toolOutput('nbdsh', ['-u', uri(path), '-c', 'h.pwrite(bytearray(65536), 1048576)'], { environment });
  const map = JSON.parse(await toolOutput('nbdinfo', ['--map', '--json', uri(path)]));
  assert.deepEqual(
    map.map((extent: Record<string, unknown>) => [extent['offset'], extent['length'], extent['type']]),
    [
      [0, mebibyte, 3],
      [mebibyte, 65536, 0],
      [mebibyte + 65536, 7 * mebibyte - 65536, 3],
    ],
  );
});

for (const late of [false, true]) {
  test(`nbdcopy in and out over four connections gives the same bytes${late ? ', from a late device' : ''}`, async (t) => {
    if (!requireTool(t, 'nbdcopy')) return;
    const { path, folder, device } = await serveMemory(t, {
      size: 24 * mebibyte,
      ...(late ? { device: { asyncSeed: 5 } } : {}),
    });
    const source = join(folder, 'source');
    const back = join(folder, 'back');
    const bytes = Buffer.concat([randomBytes(7 * mebibyte), Buffer.alloc(5 * mebibyte), randomBytes(12 * mebibyte)]);
    writeFileSync(source, bytes);
    const many = ['--connections=4', '--requests=64', '--flush'];
    await toolOutput('nbdcopy', [...many, source, uri(path)]);
    assert.equal(Buffer.compare(Buffer.from(device.content), bytes), 0);
    await toolOutput('nbdcopy', [...many, uri(path), back]);
    assert.equal(Buffer.compare(readFileSync(back), bytes), 0);
    await toolOutput('nbdcopy', ['--synchronous', '--request-size=1048576', uri(path), back]);
    assert.equal(Buffer.compare(readFileSync(back), bytes), 0);
  });
}

test('nbdsh without its own checks: illegal requests get their errors and the connection lives on', async (t) => {
  if (!requireTool(t, 'nbdsh')) return;
  const { path, device } = await serveMemory(t);
  const script = `
import errno
h.set_strict_mode(0)
h.connect_uri("${uri(path)}")
size = h.get_size()
def refused(what, number, call):
    try:
        call()
    except nbd.Error as error:
        assert error.errno == errno.errorcode[number], (what, error.errno)
    else:
        raise AssertionError(what)
refused("write past end", errno.ENOSPC, lambda: h.pwrite(bytearray(4096), size - 512))
refused("zero past end", errno.ENOSPC, lambda: h.zero(4096, size))
refused("read past end", errno.EINVAL, lambda: h.pread(512, size))
refused("trim past end", errno.EINVAL, lambda: h.trim(4096, size))
refused("cache past end", errno.EINVAL, lambda: h.cache(4096, size))
refused("unknown flag", errno.EINVAL, lambda: h.pread(512, 0, 0x4000))
refused("status without context", errno.EINVAL, lambda: h.block_status(4096, 0, lambda *a: 0))
refused("fast zero with no hole", errno.ENOTSUP, lambda: h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE))
refused("huge read", errno.EOVERFLOW, lambda: h.pread(33554433, 0))
h.pwrite(b"", 0)
h.trim(0, 0)
h.zero(0, 0)
h.pwrite(b"caisson", 100, nbd.CMD_FLAG_FUA)
h.flush()
assert h.pread(7, 100) == b"caisson"
assert h.pread(7, 100, nbd.CMD_FLAG_DF) == b"caisson"
h.shutdown()
`;
  await toolOutput('nbdsh', ['-c', '-'], { input: script, environment });
  assert.equal(Buffer.from(device.content.subarray(100, 107)).toString(), 'caisson');
});

test('nbdsh in option mode: LIST, INFO, contexts, ABORT', async (t) => {
  if (!requireTool(t, 'nbdsh')) return;
  const { path } = await serveMemory(t);
  const script = `
h.set_opt_mode(True)
h.set_full_info(True)
h.connect_unix("${path}")
names = []
assert h.opt_list(lambda name, text: names.append((name, text))) == 1
assert names == [("disk", "a disk in memory")], names
contexts = []
h.set_export_name("disk")
h.opt_list_meta_context(lambda name: contexts.append(name))
assert contexts == [] or contexts == ["base:allocation"], contexts
h.opt_info()
assert h.get_size() == 8388608
assert h.get_canonical_export_name() == "disk"
assert h.get_export_description() == "a disk in memory"
h.set_export_name("nobody")
try:
    h.opt_info()
except nbd.Error as error:
    pass
else:
    raise AssertionError("nobody is served")
h.opt_abort()
`;
  await toolOutput('nbdsh', ['-c', '-'], { input: script, environment });
});
