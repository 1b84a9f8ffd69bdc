/** Bad input at the command line: one named error with its exit code each, and nothing lost. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Home } from '../support/caisson.ts';
import { requireRoot, requireTool, run } from '../support/tools.ts';

/** The only volume's folder in a store. */
function volumeFolder(store: string): string {
  const name = fs.readdirSync(store).find((entry) => /^[0-9a-f]{32}$/.test(entry));
  assert.ok(name !== undefined, fs.readdirSync(store).join(' '));
  return path.join(store, name);
}

test('a wrong passphrase and a wrong key file open nothing, the right ones still do', async (context) => {
  const home = new Home(context);
  const right = home.write('right', 'correct horse battery staple\n');
  const wrong = home.write('wrong', 'incorrect horse\n');
  await home.json(['volume', 'create', 'data', '--size', '1M', '--store', home.store, '--passphrase-file', right]);
  const refused = await home.error(['volume', 'inspect', 'data', '--unlock', '--passphrase-file', wrong]);
  assert.deepEqual([refused.exit, refused.code, refused.kind], [4, 'key-wrong', 'denied']);
  const byKey = await home.error(['volume', 'inspect', 'data', '--unlock', '--key-file', home.keyFile()]);
  assert.deepEqual([byKey.exit, byKey.code], [3, 'key-slot-missing']);
  const notKey = await home.error(['volume', 'inspect', 'data', '--unlock', '--key-file', right]);
  assert.deepEqual([notKey.exit, notKey.code], [2, 'argument-invalid']);
  // The newline of the file is no part of the passphrase, and a descriptor is as good as a file.
  const opened = await home.json(['volume', 'inspect', 'data', '--passphrase-fd', '0'], 'correct horse battery staple');
  assert.equal((opened['sealed'] as unknown as { size: number }).size, 2 ** 20);
  const key = home.keyFile('new');
  await home.json(['key', 'add', 'data', '--new-key-file', key]);
  const otherKey = await home.error(['volume', 'inspect', 'data', '--unlock', '--key-file', home.keyFile()]);
  assert.deepEqual([otherKey.exit, otherKey.code], [4, 'key-wrong']);
  await home.json(['key', 'rm', 'data', '0', '--key-file', key]);
  const gone = await home.error(['volume', 'inspect', 'data', '--unlock', '--passphrase-file', right]);
  assert.deepEqual([gone.exit, gone.code], [3, 'key-slot-missing']);
  const last = await home.error(['key', 'rm', 'data', '1', '--key-file', key]);
  assert.equal(last.code, 'key-slot-last');
  const unknown = await home.error(['key', 'rm', 'data', '7', '--key-file', key]);
  assert.deepEqual([unknown.exit, unknown.code], [3, 'key-slot-missing']);
});

test('secrets of odd shapes', async (context) => {
  const home = new Home(context);
  const create = ['volume', 'create', 'data', '--size', '1M', '--store', home.store];
  for (const secret of ['', '\n', 'x'.repeat(2000)]) {
    const error = await home.error([...create, '--passphrase-fd', '0'], secret);
    assert.deepEqual([error.exit, error.code], [2, 'argument-invalid'], `${secret.length} bytes`);
    assert.ok(!error.message.includes('xxx'));
  }
  const closed = await home.error([...create, '--passphrase-fd', '9']);
  assert.deepEqual([closed.exit, closed.code], [4, 'key-source-unavailable']);
  assert.deepEqual(fs.existsSync(home.store), false);
});

test('a store that is missing, foreign, or of another version', async (context) => {
  const home = new Home(context);
  await home.createVolume('data');
  const moved = home.path('moved');
  fs.renameSync(home.store, moved);
  const missing = await home.error(['serve', 'data']);
  assert.deepEqual([missing.exit, missing.code], [3, 'store-missing']);
  assert.ok(!fs.existsSync(home.store), 'a missing store must not be made by opening it');

  fs.mkdirSync(home.store);
  fs.writeFileSync(path.join(home.store, 'letter.txt'), 'not a store');
  const foreign = await home.error(['serve', 'data']);
  assert.ok(['store-foreign', 'store-missing'].includes(foreign.code), foreign.code);
  const onForeign = await home.error([
    'volume',
    'create',
    'other',
    '--size',
    '1M',
    '--store',
    home.store,
    '--key-file',
    home.keyFile(),
  ]);
  assert.equal(onForeign.code, 'store-foreign');
  assert.deepEqual(fs.readdirSync(home.store), ['letter.txt']);
  fs.rmSync(home.store, { recursive: true });

  fs.renameSync(moved, home.store);
  const marker = path.join(home.store, 'caisson-store');
  const text = fs.readFileSync(marker, 'utf8');
  const newer = text.replace(/\d+/, (digits) => String(Number(digits) + 98));
  assert.notEqual(newer, text);
  fs.chmodSync(marker, 0o600);
  fs.writeFileSync(marker, newer);
  const version = await home.error(['serve', 'data']);
  assert.deepEqual([version.exit, version.code], [9, 'format-version']);
  fs.writeFileSync(marker, text);
  await home.serve(['data']);
});

test('a volume that is gone from its store, and a store with somebody else’s volume', async (context) => {
  const home = new Home(context);
  await home.createVolume('data');
  fs.rmSync(volumeFolder(home.store), { recursive: true });
  const gone = await home.error(['volume', 'inspect', 'data']);
  assert.deepEqual([gone.exit, gone.code], [3, 'volume-missing']);
  await home.json(['volume', 'rm', 'data', '--yes', '--keep-data']);
  await home.createVolume('other');
  const adopted = await home.error(['volume', 'adopt', 'again', '--store', home.store, '--id', 'f'.repeat(32)]);
  assert.deepEqual([adopted.exit, adopted.code], [3, 'volume-missing']);
});

test('a volume that is open elsewhere', async (context) => {
  const home = new Home(context);
  const key = await home.createVolume('data');
  await home.serve(['data']);
  const other = new Home(context);
  fs.cpSync(home.path('.config'), other.path('.config'), { recursive: true });
  fs.cpSync(home.path('.local'), other.path('.local'), { recursive: true });
  const refused = await other.error(['serve', 'data', '--key-file', key]);
  assert.deepEqual([refused.exit, refused.code], [7, 'volume-open-elsewhere']);
  const removed = await other.error(['volume', 'rm', 'data', '--yes']);
  assert.deepEqual([removed.exit, removed.code], [7, 'volume-open-elsewhere']);
  assert.ok(fs.existsSync(volumeFolder(home.store)));
});

test('a damaged head and an old copy of the store are told apart', async (context) => {
  if (!requireTool(context, 'nbdcopy')) return;
  const home = new Home(context);
  await home.createVolume('data');
  const head = path.join(volumeFolder(home.store), 'head');
  const old = home.path('old');
  fs.cpSync(home.store, old, { recursive: true });
  const served = await home.serve(['data']);
  const image = home.path('image');
  fs.writeFileSync(image, new Uint8Array(16 * 2 ** 20).fill(7));
  assert.equal((await run('nbdcopy', ['--flush', image, served.ready.volumes[0]?.uri ?? ''])).status, 0);
  served.child.kill('SIGTERM');
  assert.equal((await served.ended).code, 0);

  const good = fs.readFileSync(head);
  const bad = Uint8Array.from(good);
  bad[good.length - 1] = (bad[good.length - 1] ?? 0) ^ 1;
  fs.chmodSync(head, 0o600);
  fs.writeFileSync(head, bad);
  const tampered = await home.error(['serve', 'data']);
  assert.deepEqual([tampered.exit, tampered.kind], [5, 'integrity'], tampered.code);
  fs.writeFileSync(head, good);

  const current = home.path('current');
  fs.renameSync(home.store, current);
  fs.cpSync(old, home.store, { recursive: true });
  const rolledBack = await home.error(['serve', 'data']);
  assert.deepEqual([rolledBack.exit, rolledBack.code], [6, 'rolled-back']);
  const verified = await home.run(['volume', 'verify', 'data', '--public', '-o', 'json']);
  assert.equal(verified.code, 6);
  assert.match(verified.stdout, /"freshness":"rolled-back"/);
  fs.rmSync(home.store, { recursive: true });
  fs.renameSync(current, home.store);
  await home.serve(['data']);
});

test('a volume on a machine whose anchor never saw it is opened only on purpose', async (context) => {
  const home = new Home(context);
  const key = await home.createVolume('data');
  fs.rmSync(home.path('.local'), { recursive: true });
  const missing = await home.error(['serve', 'data']);
  assert.deepEqual([missing.exit, missing.code], [6, 'anchor-missing']);
  await home.json(['volume', 'rm', 'data', '--yes', '--keep-data']);
  await home.json(['volume', 'adopt', 'data', '--store', home.store, '--key-file', key, '--accept-missing-anchor']);
  await home.serve(['data']);
});

test('a disk that fills up in the middle of a write', async (context) => {
  if (!requireRoot(context) || !requireTool(context, 'nbdcopy') || !requireTool(context, 'qemu-io')) return;
  const home = new Home(context);
  const disk = home.path('disk');
  fs.mkdirSync(disk);
  assert.equal((await run('mount', ['-t', 'tmpfs', '-o', 'size=24M', 'tmpfs', disk])).status, 0);
  home.clearing.push(() => run('umount', ['-l', disk]));
  const store = path.join(disk, 'store');
  await home.createVolume('data', '64M', store);
  const served = await home.serve(['data']);
  const uri = served.ready.volumes[0]?.uri ?? '';
  // A pattern far behind what will be overwritten.
  const written = await run('qemu-io', ['-f', 'raw', '-c', 'write -P 90 60M 64k', '-c', 'flush', uri]);
  assert.equal(written.status, 0, written.output);
  const large = home.path('large');
  fs.writeFileSync(large, new Uint8Array(48 * 2 ** 20).fill(3));
  const overflow = await run('nbdcopy', ['--flush', large, uri]);
  assert.notEqual(overflow.status, 0);
  assert.match(
    overflow.output,
    /No space left|Input\/output error|Operation not permitted|Read-only/i,
    overflow.output,
  );
  // The daemon is still there, says what happened, and what was flushed is what it was.
  const status = await home.json(['status']);
  assert.equal((status['volumes'] as unknown as { name: string }[])[0]?.name, 'data');
  served.child.kill('SIGTERM');
  const ended = await served.ended;
  assert.ok(ended.code === 0 || ended.code === 8 || ended.code === 1, `${ended.code}: ${ended.stderr}`);
  assert.doesNotMatch(ended.stderr, /"kind":"bug"|assertion/);

  assert.equal((await run('mount', ['-o', 'remount,size=256M', disk])).status, 0);
  const again = await home.serve(['data']);
  const compared = await run('qemu-io', ['-f', 'raw', '-c', 'read -P 90 60M 64k', again.ready.volumes[0]?.uri ?? '']);
  assert.equal(compared.status, 0, compared.output);
  assert.doesNotMatch(compared.output, /Pattern verification failed/);
  again.child.kill('SIGTERM');
  assert.equal((await again.ended).code, 0);
  const report = await home.json(['volume', 'verify', 'data']);
  assert.deepEqual(report['findings'], []);
});

test('no room for a new volume leaves no name behind', async (context) => {
  if (!requireRoot(context) || !requireTool(context, 'mount')) return;
  const home = new Home(context);
  const disk = home.path('disk');
  fs.mkdirSync(disk);
  assert.equal((await run('mount', ['-t', 'tmpfs', '-o', 'size=4096', 'tmpfs', disk])).status, 0);
  home.clearing.push(() => run('umount', ['-l', disk]));
  fs.writeFileSync(path.join(disk, 'filler'), 'x'.repeat(4096));
  const full = await home.error([
    'volume',
    'create',
    'data',
    '--size',
    '1M',
    '--store',
    path.join(disk, 'store'),
    '--key-file',
    home.keyFile(),
  ]);
  assert.ok(['store-full', 'store-foreign'].includes(full.code), full.code);
  assert.deepEqual((await home.json(['volume', 'ls']))['volumes'], []);
});

test('a read-only folder', async (context) => {
  if (!requireRoot(context) || !requireTool(context, 'mount')) return;
  const home = new Home(context);
  const disk = home.path('disk');
  fs.mkdirSync(disk);
  assert.equal((await run('mount', ['-t', 'tmpfs', '-o', 'size=64M', 'tmpfs', disk])).status, 0);
  home.clearing.push(() => run('umount', ['-l', disk]));
  const store = path.join(disk, 'store');
  await home.createVolume('data', '1M', store);
  assert.equal((await run('mount', ['-o', 'remount,ro', disk])).status, 0);
  const create = await home.error([
    'volume',
    'create',
    'new',
    '--size',
    '1M',
    '--store',
    store,
    '--key-file',
    home.keyFile(),
  ]);
  assert.deepEqual([create.exit, create.code], [4, 'store-read-only']);
  const serve = await home.error(['serve', 'data']);
  assert.deepEqual([serve.exit, serve.code], [4, 'store-read-only']);
  const report = await home.json(['volume', 'verify', 'data', '--public']);
  assert.deepEqual(report['findings'], []);
});

test('folders that others may write to are refused', async (context) => {
  const home = new Home(context);
  await home.createVolume('data');
  fs.mkdirSync(home.path('run/caisson'), { recursive: true });
  fs.chmodSync(home.path('run/caisson'), 0o777);
  const error = await home.error(['serve', 'data']);
  assert.deepEqual([error.exit, error.code], [4, 'permission-missing']);
  assert.match(error.remedy ?? '', /chmod 700/);
});
