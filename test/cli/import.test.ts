/** Importing and copying by the command: what comes out is what went in, and what breaks off leaves nothing. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { Home } from '../support/caisson.ts';
import { makeLuks } from '../support/luks.ts';
import { mustRun, requireFile, requireRoot, requireTool, run, runTool } from '../support/tools.ts';

interface Filled {
  readonly sourceBytes: number;
  readonly paddedBytes: number;
  readonly writtenBytes: number;
  readonly sha256: string;
  readonly digest: string;
  readonly volume: { readonly store: string; readonly public: { readonly volumeId: string } };
}

const mebibyte = 2 ** 20;

/** 4 MiB with data at both ends of a hole, and an odd length. */
function sparseImage(home: Home, name: string, bytes = 4 * mebibyte + 1001): { file: string; sha256: string } {
  const file = home.path(name);
  const descriptor = fs.openSync(file, 'w');
  fs.writeSync(descriptor, randomBytes(150_000), 0, 150_000, 0);
  fs.ftruncateSync(descriptor, bytes);
  fs.writeSync(descriptor, randomBytes(50_000), 0, 50_000, bytes - 50_000);
  fs.closeSync(descriptor);
  return { file, sha256: sha256Of(file) };
}

function randomBytes(count: number): Buffer {
  const bytes = Buffer.alloc(count);
  for (let at = 0; at < count; at += 65_536) crypto.getRandomValues(bytes.subarray(at, Math.min(count, at + 65_536)));
  return bytes;
}

function sha256Of(file: string): string {
  return createHash('sha256').update(fs.readFileSync(file)).digest('hex');
}

/** Everything that an import makes is gone: the name, and every object in the store. */
async function assertNothingLeft(home: Home, name: string): Promise<void> {
  const { volumes } = (await home.json(['volume', 'ls'])) as unknown as { volumes: { name: string }[] };
  assert.deepEqual(
    volumes.filter((volume) => volume.name === name),
    [],
  );
  assert.deepEqual(objectsIn(home.store), []);
}

function objectsIn(store: string): string[] {
  if (!fs.existsSync(store)) return [];
  return fs
    .readdirSync(store, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/caisson-store|\.lock$|^lock$/.test(entry.name))
    .map((entry) => `${entry.parentPath}/${entry.name}`);
}

async function contentOf(home: Home, name: string, context: TestContext): Promise<Buffer | undefined> {
  if (!requireTool(context, 'nbdcopy')) return undefined;
  const served = await home.serve([name, '--read-only']);
  const file = home.path(`${name}.out`);
  await mustRun('nbdcopy', served.ready.volumes[0]?.uri ?? '', file);
  await home.run(['stop']);
  await served.ended;
  return fs.readFileSync(file);
}

test('a sparse image becomes a thin volume with the same bytes', async (context) => {
  const home = new Home(context);
  const { file, sha256 } = sparseImage(home, 'disk.img');
  const arguments_ = ['volume', 'import', 'data', '--from', file, '--store', home.store, '--key-file', home.keyFile()];
  const report = (await home.json([...arguments_, '--sha256', sha256])) as unknown as Filled;
  assert.deepEqual(
    [report.sha256, report.digest, report.sourceBytes, report.paddedBytes],
    [sha256, 'plain', 4 * mebibyte + 1001, 3095],
  );
  assert.ok(report.writtenBytes < 300_000, String(report.writtenBytes));
  const content = await contentOf(home, 'data', context);
  if (content === undefined) return;
  assert.equal(content.length, 4 * mebibyte + 4096);
  assert.ok(content.subarray(0, report.sourceBytes).equals(fs.readFileSync(file)));
  assert.ok(content.subarray(report.sourceBytes).every((byte) => byte === 0));
});

test('an image that is mostly holes costs what it holds', async (context) => {
  const home = new Home(context);
  const { file } = sparseImage(home, 'disk.img');
  fs.truncateSync(file, 2 ** 40);
  const report = (await home.json([
    ...['volume', 'import', 'data', '--from', file, '--store', home.store, '--key-file', home.keyFile()],
  ])) as unknown as Filled;
  assert.deepEqual([report.digest, report.sourceBytes], ['sparse', 2 ** 40]);
  assert.ok(report.writtenBytes < 300_000);
});

test('a pipe of unknown length', async (context) => {
  const home = new Home(context);
  const content = 'a line of text\n'.repeat(300_000);
  const key = home.keyFile();
  const import_ = ['volume', 'import', 'data', '--from', '-', '--store', home.store, '--key-file', key];
  const report = (await home.json(import_, content)) as unknown as Filled;
  assert.equal(report.sourceBytes, content.length);
  assert.equal(report.sha256, createHash('sha256').update(content).digest('hex'));
  const { sealed } = (await home.json(['volume', 'inspect', 'data', '--unlock'])) as unknown as {
    sealed: { size: number };
  };
  assert.equal(sealed.size, Math.ceil(content.length / 4096) * 4096);
  const verified = await home.run(['volume', 'verify', 'data']);
  assert.equal(verified.code, 0, verified.stdout);
});

test('a pipe that brings more than --size, or nothing', async (context) => {
  const home = new Home(context);
  const key = home.keyFile();
  const import_ = ['volume', 'import', 'data', '--from', '-', '--store', home.store, '--key-file', key];
  const long = await home.error([...import_, '--size', '1M'], 'x'.repeat(mebibyte + 1));
  assert.deepEqual([long.exit, long.code], [2, 'import-too-large']);
  await assertNothingLeft(home, 'data');
  const empty = await home.error(import_, '');
  assert.equal(empty.code, 'import-ended-early');
  await assertNothingLeft(home, 'data');
});

test('what cannot be imported is refused by name, and leaves nothing', async (context) => {
  const home = new Home(context);
  const key = home.keyFile();
  const { file } = sparseImage(home, 'disk.img');
  const import_ = (from: string, ...more: string[]): string[] => [
    ...['volume', 'import', 'data', '--from', from, '--store', home.store, '--key-file', key],
    ...more,
  ];
  const cases: readonly (readonly [string[], number, string])[] = [
    [import_(home.path('absent')), 3, 'import-source-missing'],
    [import_(home.folder), 2, 'import-source-invalid'],
    [import_('/dev/null'), 2, 'import-source-invalid'],
    [import_(file, '--size', '1M'), 2, 'import-too-large'],
    [import_(file, '--size', '5000'), 2, 'size-invalid'],
    [import_(file, '--sha256', 'ab'), 2, 'argument-invalid'],
    [import_(file, '--sha256', '0'.repeat(64)), 5, 'digest-mismatch'],
    [import_(file, '--luks-passphrase-file', key), 2, 'argument-invalid'],
    [import_(file, '--luks', '--luks-passphrase-file', key), 2, 'import-source-invalid'],
    [import_(file, '--luks'), 4, 'key-source-unavailable'],
    [['volume', 'import', 'data', '--store', home.store, '--key-file', key], 2, 'argument-invalid'],
    [['volume', 'import', 'data', '--from', file, '--key-file', key], 2, 'argument-invalid'],
  ];
  for (const [arguments_, exit, code] of cases) {
    const error = await home.error(arguments_);
    assert.deepEqual([error.exit, error.code], [exit, code], arguments_.join(' '));
    assert.notEqual(error.remedy, null, error.message);
    await assertNothingLeft(home, 'data');
  }
  await home.json(import_(file));
  const again = await home.error(import_(file));
  assert.deepEqual([again.exit, again.code], [2, 'name-exists']);
});

test('an import that is stopped is undone; one that is killed is cleared by the next', async (context) => {
  const home = new Home(context);
  const key = home.keyFile();
  const import_ = ['volume', 'import', 'data', '--from', '-', '--store', home.store, '--key-file', key];
  for (const signal of ['SIGINT', 'SIGKILL'] as const) {
    const child = home.spawnOpen(import_);
    child.stdin?.write(Buffer.alloc(3 * mebibyte, 1));
    await until(async () => (await stateOf(home, 'data')) === 'unfinished');
    const exit = new Promise((resolve) => child.once('close', resolve));
    child.kill(signal);
    child.stdin?.destroy();
    const code = await exit;
    if (signal === 'SIGINT') {
      assert.equal(code, 130);
      await assertNothingLeft(home, 'data');
    }
  }
  const refused = await home.error(['volume', 'inspect', 'data']);
  assert.deepEqual([refused.exit, refused.code], [2, 'volume-unfinished']);
  const adopted = await home.error(['volume', 'adopt', 'other', '--store', home.store]);
  assert.equal(adopted.code, 'volume-missing', 'half a volume is no volume');
  assert.notEqual(objectsIn(home.store).length, 0);
  const again = await home.run(['-o', 'json', ...import_], 'whole this time');
  assert.equal(again.code, 0, again.stderr);
  assert.notEqual((JSON.parse(again.stdout) as { clearedObjects?: number }).clearedObjects ?? 0, 0);
  assert.equal(await stateOf(home, 'data'), 'closed');
  const verified = (await home.json(['volume', 'verify', 'data'])) as unknown as { orphans: string[] };
  assert.deepEqual(verified.orphans, []);
  const store = fs.readdirSync(home.store).filter((entry) => /^[0-9a-f]{32}$/.test(entry));
  assert.ok(store.length <= 3 && objectsIn(home.store).length <= 8, objectsIn(home.store).join('\n'));
});

test('an import that is stopped before it read anything is undone as well', async (context) => {
  const home = new Home(context);
  const import_ = ['volume', 'import', 'data', '--from', '-', '--store', home.store, '--key-file', home.keyFile()];
  const child = home.spawnOpen(import_);
  const exit = new Promise((resolve) => child.once('close', resolve));
  // Asking the command for the state would take longer than the volume takes to open.
  await until(async () => hasUnfinishedName(home), 1);
  child.kill('SIGINT');
  assert.equal(await exit, 130);
  await assertNothingLeft(home, 'data');
});

test('an import that was killed after its last step left a whole volume', async (context) => {
  const home = new Home(context);
  const { file } = sparseImage(home, 'disk.img');
  const import_ = ['volume', 'import', 'data', '--from', file, '--store', home.store, '--key-file', home.keyFile()];
  await home.json(import_);
  const names = namesFile(home);
  fs.writeFileSync(names, fs.readFileSync(names, 'utf8').replace('"volumeId"', '"unfinished": true, "volumeId"'));
  assert.equal(await stateOf(home, 'data'), 'unfinished');
  const refused = await home.error(import_);
  assert.equal(refused.code, 'name-exists');
  assert.match(refused.message, /whole/);
  assert.equal(await stateOf(home, 'data'), 'closed');
  await home.json(['volume', 'verify', 'data']);
});

test('an unfinished import whose store is gone can be removed by its name', async (context) => {
  const home = new Home(context);
  const import_ = ['volume', 'import', 'data', '--from', '-', '--store', home.store, '--key-file', home.keyFile()];
  const child = home.spawnOpen(import_);
  const exit = new Promise((resolve) => child.once('close', resolve));
  await until(async () => hasUnfinishedName(home));
  child.kill('SIGKILL');
  await exit;
  fs.rmSync(home.store, { recursive: true });
  const removed = await home.run(['volume', 'rm', 'data', '--yes']);
  assert.equal(removed.code, 0, removed.stderr);
  await assertNothingLeft(home, 'data');
});

test('an unfinished import can be removed by its name', async (context) => {
  const home = new Home(context);
  const import_ = ['volume', 'import', 'data', '--from', '-', '--store', home.store, '--key-file', home.keyFile()];
  const child = home.spawnOpen(import_);
  child.stdin?.write(Buffer.alloc(mebibyte, 1));
  await until(async () => (await stateOf(home, 'data')) === 'unfinished');
  const exit = new Promise((resolve) => child.once('close', resolve));
  child.kill('SIGKILL');
  await exit;
  const removed = await home.run(['volume', 'rm', 'data', '--yes']);
  assert.equal(removed.code, 0, removed.stderr);
  await assertNothingLeft(home, 'data');
});

test('a file that is written to while it is read', async (context) => {
  const home = new Home(context);
  const { file } = sparseImage(home, 'disk.img', 64 * mebibyte);
  fs.writeFileSync(file, randomBytes(24 * mebibyte));
  const child = home.spawnOpen([
    ...['-o', 'json', 'volume', 'import', 'data', '--from', file, '--store', home.store],
    ...['--key-file', home.keyFile()],
  ]);
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (piece: string) => (stderr += piece));
  const exit = new Promise((resolve) => child.once('close', resolve));
  await until(async () => (await stateOf(home, 'data')) !== undefined || child.exitCode !== null);
  fs.truncateSync(file, mebibyte);
  assert.notEqual(await exit, 0);
  assert.match(stderr, /import-(ended-early|source-changed)/);
  await assertNothingLeft(home, 'data');
});

test('a copy has the same content, another id and keys of its own', async (context) => {
  const home = new Home(context);
  const { file } = sparseImage(home, 'disk.img');
  const oldKey = home.keyFile('old.key');
  const newKey = home.keyFile('new.key');
  const imported = (await home.json([
    ...['volume', 'import', 'data', '--from', file, '--store', home.store, '--size', '16M'],
    ...['--key-file', oldKey],
  ])) as unknown as Filled;
  const copy = ['volume', 'copy', 'data', 'data2', '--store', home.path('store2')];
  const copied = (await home.json([...copy, '--new-key-file', newKey])) as unknown as Filled;
  assert.deepEqual([copied.digest, copied.sourceBytes], ['sparse', 16 * mebibyte]);
  assert.equal(copied.writtenBytes, imported.writtenBytes);
  assert.notEqual(copied.volume.public.volumeId, imported.volume.public.volumeId);
  const wrong = await home.error(['volume', 'verify', 'data2', '--key-file', oldKey]);
  assert.equal(wrong.code, 'key-wrong');
  const content = await contentOf(home, 'data2', context);
  if (content !== undefined)
    assert.ok(content.subarray(0, 4 * mebibyte).equals(fs.readFileSync(file).subarray(0, 4 * mebibyte)));
  const taken = await home.error([...copy, '--new-key-file', newKey]);
  assert.equal(taken.code, 'name-exists');
});

test('a volume that is open for writing is copied as it was at one instant, and keeps no trace of it', async (context) => {
  if (!requireTool(context, 'qemu-io', 'nbdcopy')) return;
  const home = new Home(context);
  await home.createVolume('data');
  const served = await home.serve(['data']);
  const uri = served.ready.volumes[0]?.uri ?? '';
  await mustRun('qemu-io', '-f', 'raw', '-c', 'write -P 7 1M 1M', uri);
  const copy = ['volume', 'copy', 'data', 'data2', '--store', home.store, '--new-key-file', home.keyFile('new.key')];
  const copied = (await home.json(copy)) as unknown as Filled;
  assert.equal(copied.writtenBytes, mebibyte);
  await mustRun('qemu-io', '-f', 'raw', '-c', 'write -P 8 1M 1M', uri);
  await home.run(['stop']);
  await served.ended;
  const content = await contentOf(home, 'data2', context);
  assert.ok(content?.subarray(mebibyte, 2 * mebibyte).every((byte) => byte === 7));
  const readOnly = await home.serve(['data', '--read-only']);
  await home.json([...copy.with(3, 'data3'), '--protection', 'sealed']);
  await home.run(['stop']);
  await readOnly.ended;
  const verified = (await home.json(['volume', 'verify', 'data'])) as unknown as { pinsChecked: number };
  assert.equal(verified.pinsChecked, 0);
});

test('between kinds of stores: a file that is a block store, a folder, and back', async (context) => {
  const home = new Home(context);
  const { file, sha256 } = sparseImage(home, 'disk.img');
  for (const name of ['one', 'two']) {
    fs.writeFileSync(home.path(name), '');
    fs.truncateSync(home.path(name), 256 * mebibyte);
  }
  const key = home.keyFile();
  const import_ = ['volume', 'import', 'data', '--from', file, '--sha256', sha256, '--key-file', key];
  await home.json([...import_, '--store', `block:${home.path('one')}`]);
  const copied = (await home.json([
    ...['volume', 'copy', 'data', 'data2', '--store', home.store, '--new-key-file', key],
  ])) as unknown as Filled;
  await home.json(['volume', 'export', 'data2', '--to', 'data2.backup']);
  const back = (await home.json([
    ...['volume', 'import-backup', '--from', 'data2.backup', '--store', `block:${home.path('two')}`],
  ])) as unknown as { volumeId: string };
  assert.equal(back.volumeId, copied.volume.public.volumeId);
  await home.json(['volume', 'adopt', 'data3', '--store', `block:${home.path('two')}`, '--key-file', key]);
  const verified = (await home.json(['volume', 'verify', 'data3'])) as unknown as { findings: object[] };
  assert.deepEqual(verified.findings, []);
});

test('a LUKS volume is imported through the system’s own tools', async (context) => {
  if (!requireTool(context, 'qemu-img', 'nbdkit', 'nbdcopy')) return;
  const home = new Home(context);
  const { file } = sparseImage(home, 'disk.img', 3 * mebibyte);
  const passphrase = home.write('passphrase', 'correct horse');
  const secret = ['--object', `secret,id=s,file=${passphrase}`];
  await makeLuks([
    ...['convert', '-O', 'luks', ...secret],
    ...['-o', 'key-secret=s,iter-time=100', file, home.path('disk.luks')],
  ]);
  const import_ = (...more: string[]): string[] => [
    ...['volume', 'import', 'data', '--from', home.path('disk.luks'), '--luks', '--store', home.store],
    ...['--key-file', home.keyFile(), ...more],
  ];
  const wrong = await home.error(import_('--luks-passphrase-file', home.write('wrong', 'battery staple')));
  assert.deepEqual([wrong.exit, wrong.code], [4, 'key-wrong']);
  await assertNothingLeft(home, 'data');
  const report = (await home.json(import_('--luks-passphrase-file', passphrase))) as unknown as Filled;
  assert.equal(report.sourceBytes, 3 * mebibyte);
  assert.equal(report.sha256, sha256Of(file));
});

test('LUKS 2 is imported, whatever the size of its sectors', async (context) => {
  if (!requireTool(context, 'cryptsetup')) return;
  const home = new Home(context);
  const { file } = sparseImage(home, 'disk.img', 3 * mebibyte);
  const passphrase = home.write('passphrase', 'correct horse');
  for (const sector of ['512', '4096']) {
    // cryptsetup itself encrypts what is there, moved behind a header of 16 MiB.
    const container = home.path(`disk.luks${sector}`);
    fs.copyFileSync(file, container);
    fs.truncateSync(container, 3 * mebibyte + 32 * mebibyte);
    await mustRun(
      'cryptsetup',
      ...['--batch-mode', 'reencrypt', '--encrypt', '--type', 'luks2', '--force-offline-reencrypt'],
      ...['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', '--sector-size', sector],
      ...['--reduce-device-size', '32M', '--key-file', passphrase, container],
    );
    const name = `data${sector}`;
    const import_ = (secret: string): string[] => [
      ...['volume', 'import', name, '--from', container, '--luks', '--luks-passphrase-file', secret],
      ...['--store', home.store, '--key-file', home.keyFile()],
    ];
    const wrong = await home.error(import_(home.write('wrong', 'battery staple')));
    assert.deepEqual([wrong.exit, wrong.code], [4, 'key-wrong']);
    await home.json(import_(passphrase));
    const content = await contentOf(home, name, context);
    if (content === undefined) return;
    assert.equal(content.length, 3 * mebibyte + 16 * mebibyte);
    assert.ok(content.subarray(0, 3 * mebibyte).equals(fs.readFileSync(file)), sector);
  }
});

test('a block device is imported, and not while it is in use', async (context) => {
  if (!requireRoot(context) || !requireFile(context, '/dev/loop-control') || !requireTool(context, 'losetup')) return;
  const home = new Home(context);
  const { file } = sparseImage(home, 'disk.img', 3 * mebibyte);
  const device = (await mustRun('losetup', '--find', '--show', file)).trim();
  home.clearing.push(() => run('losetup', ['--detach', device]));
  const import_ = ['volume', 'import', 'data', '--from', device, '--store', home.store, '--key-file', home.keyFile()];
  const holder = fs.openSync(device, fs.constants.O_RDONLY | fs.constants.O_EXCL);
  const busy = await home.error(import_);
  assert.deepEqual([busy.exit, busy.code], [7, 'import-source-busy']);
  fs.closeSync(holder);
  const report = (await home.json(import_)) as unknown as Filled;
  assert.deepEqual([report.sourceBytes, report.sha256], [3 * mebibyte, sha256Of(file)]);
});

test('an ext4 image is imported and its file system is sound', async (context) => {
  if (!requireTool(context, 'mkfs.ext4', 'debugfs', 'e2fsck', 'nbdcopy')) return;
  const home = new Home(context);
  const image = home.path('disk.img');
  fs.writeFileSync(image, '');
  fs.truncateSync(image, 32 * mebibyte);
  await mustRun('mkfs.ext4', '-q', '-F', image);
  fs.writeFileSync(home.path('file'), randomBytes(2 * mebibyte));
  await runTool('debugfs', ['-w', '-R', `write ${home.path('file')} inside`, image]);
  const key = home.keyFile();
  await home.json(['volume', 'import', 'data', '--from', image, '--store', home.store, '--key-file', key]);
  const content = await contentOf(home, 'data', context);
  if (content === undefined) return;
  fs.writeFileSync(home.path('back.img'), content);
  await mustRun('e2fsck', '-f', '-n', home.path('back.img'));
  await mustRun('debugfs', '-R', `dump inside ${home.path('inside')}`, home.path('back.img'));
  assert.equal(sha256Of(home.path('inside')), sha256Of(home.path('file')));
  if (process.getuid?.() !== 0 || !fs.existsSync('/dev/fuse')) return;
  const directory = home.path('mnt');
  fs.mkdirSync(directory);
  home.clearing.push(() => run('umount', ['-l', directory]));
  await home.json(['mount', 'data', directory]);
  assert.equal((await mustRun('sha256sum', `${directory}/inside`)).substring(0, 64), sha256Of(home.path('file')));
  await home.json(['umount', 'data']);
});

async function stateOf(home: Home, name: string): Promise<string | undefined> {
  const { volumes } = (await home.json(['volume', 'ls'])) as unknown as {
    volumes: { name: string; unfinished?: true; open: boolean }[];
  };
  const volume = volumes.find((candidate) => candidate.name === name);
  if (volume === undefined) return undefined;
  return volume.unfinished === true ? 'unfinished' : volume.open ? 'open' : 'closed';
}

function namesFile(home: Home): string {
  return home.path('.config', 'caisson', 'volumes.json');
}

function hasUnfinishedName(home: Home): boolean {
  return fs.existsSync(namesFile(home)) && fs.readFileSync(namesFile(home), 'utf8').includes('"unfinished"');
}

async function until(isSo: () => Promise<boolean>, pauseMilliseconds = 20): Promise<void> {
  for (let attempt = 0; attempt * pauseMilliseconds < 20_000; attempt++) {
    if (await isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, pauseMilliseconds));
  }
  throw new Error('it did not happen');
}
