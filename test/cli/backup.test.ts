/** Backups by the command: between machines without a key, in use or not, and back after a disaster. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { Home } from '../support/caisson.ts';
import { mustRun, requireTool } from '../support/tools.ts';

interface Exported {
  readonly volumeId: string;
  readonly manifestNumber: number;
  readonly manifestDigest: string;
  readonly base: number | null;
  readonly bytes: number;
}

interface TakenSnapshot {
  readonly id: string;
  readonly manifestNumber: number;
}

const mebibyte = 2 ** 20;

test('full and incremental, kept by a host without a key, restored on a new machine', async (context) => {
  if (!requireTool(context, 'nbdcopy', 'qemu-io')) return;
  const home = new Home(context);
  const key = await home.createVolume('data', '16M');
  await writeTo(home, 'data', 0, 0x11);
  const first = (await home.json(['volume', 'export', 'data', '--to', 'one.backup'])) as unknown as Exported;
  await writeTo(home, 'data', 4, 0x22);
  const second = (await home.json([
    'volume',
    'export',
    'data',
    '--to',
    'two.backup',
    '--since',
    'one.backup',
  ])) as unknown as Exported;
  assert.deepEqual([first.base, second.base], [null, first.manifestNumber]);
  await writeTo(home, 'data', 8, 0x33);
  const since = `${second.manifestNumber}:${second.manifestDigest}`;
  await home.json(['volume', 'export', 'data', '--to', 'three.backup', '--since', since]);

  const host = new Home(context);
  const import_ = (name: string): string[] => [
    'volume',
    'import-backup',
    '--from',
    home.path(name),
    '--store',
    host.store,
  ];
  await host.json(import_('one.backup'));
  const early = await host.error(import_('three.backup'));
  assert.deepEqual([early.exit, early.code], [2, 'backup-base-missing']);
  await host.json(import_('two.backup'));
  await host.json(import_('three.backup'));
  const again = (await host.json(import_('three.backup'))) as unknown as { wasPresent: boolean };
  assert.equal(again.wasPresent, true);

  const adopt = ['volume', 'adopt', 'data', '--store', host.store, '--key-file', key];
  await host.json(adopt);
  const unknown = await host.error(['serve', 'data']);
  assert.deepEqual([unknown.exit, unknown.code], [6, 'anchor-missing']);
  await host.json(['volume', 'rm', 'data', '--keep-data', '--yes']);
  await host.json([...adopt, '--accept-missing-anchor']);
  assert.equal((await host.run(['volume', 'verify', 'data'])).code, 0);
  assert.ok((await contentOf(host, 'data')).equals(await contentOf(home, 'data')));
});

test('an incremental backup that starts from a snapshot, by its name or its id', async (context) => {
  if (!requireTool(context, 'nbdcopy', 'qemu-io')) return;
  const home = new Home(context);
  const key = await home.createVolume('data', '16M');
  await writeTo(home, 'data', 0, 0x11);
  const taken = (await home.json(['snapshot', 'create', 'data', 'monday'])) as unknown as TakenSnapshot;
  const first = await exportTo(home, 'one.backup');
  await writeTo(home, 'data', 4, 0x22);
  const second = await exportTo(home, 'two.backup', '--since', 'monday');
  const same = await exportTo(home, 'same.backup', '--since', taken.id);
  assert.deepEqual([first.manifestNumber, second.base, same.base], Array(3).fill(taken.manifestNumber));
  assert.ok(second.bytes < 2 * mebibyte, `${second.bytes} bytes for one MiB`);

  // A file of that name comes first, and says what is wrong with it.
  fs.writeFileSync(home.path('monday'), 'no backup');
  const file = await home.error(['volume', 'export', 'data', '--to', 'x', '--since', 'monday']);
  assert.deepEqual([file.exit, file.code], [2, 'backup-base-missing']);
  const none = await home.error(['volume', 'export', 'data', '--to', 'x', '--since', 'tuesday']);
  assert.match(`${none.message} ${none.remedy}`, /data has no snapshot "tuesday" It has "monday"/);
  fs.renameSync(key, home.path('away.key'));
  const locked = await home.error(['volume', 'export', 'data', '--to', 'x', '--since', 'tuesday']);
  assert.notEqual(locked.code, 'snapshot-missing');
  // Nothing else needs the key of a closed volume.
  await exportTo(home, 'keyless.backup', '--since', 'one.backup');
  assert.ok(!fs.existsSync(home.path('x')));
  fs.renameSync(home.path('away.key'), key);

  const host = new Home(context);
  for (const name of ['one.backup', 'two.backup'])
    await host.json(['volume', 'import-backup', '--from', home.path(name), '--store', host.store]);
  const adopt = ['volume', 'adopt', 'data', '--store', host.store, '--key-file', key, '--accept-missing-anchor'];
  await host.json(adopt);
  assert.ok((await contentOf(host, 'data')).equals(await contentOf(home, 'data')));
});

test('on the machine that knows better an old backup is rolled back', async (context) => {
  const home = new Home(context);
  const key = await home.createVolume('data', '1M');
  await home.json(['volume', 'export', 'data', '--to', 'old.backup']);
  const again = await home.error(['volume', 'export', 'data', '--to', 'old.backup']);
  assert.deepEqual([again.exit, again.code], [2, 'object-exists']);
  await home.json(['key', 'add', 'data', '--new-key-file', home.keyFile('other.key')]);
  const { volumeId } = (await home.json([
    ...['volume', 'import-backup', '--from', 'old.backup', '--store', 'restored'],
  ])) as unknown as Exported;
  await home.json(['volume', 'adopt', 'restored', '--store', 'restored', '--id', volumeId, '--key-file', key]);
  const refused = await home.error(['serve', 'restored']);
  assert.deepEqual([refused.exit, refused.code], [6, 'rolled-back']);
  // As docs/import-and-backup.md says for a disaster: the owner takes the anchor away on purpose.
  await home.json(['volume', 'rm', 'restored', '--keep-data', '--yes']);
  fs.rmSync(home.path(`.local/state/caisson/anchors/${volumeId}.anchor`));
  const adopt = ['volume', 'adopt', 'restored', '--store', 'restored', '--key-file', key];
  await home.json([...adopt, '--accept-missing-anchor']);
  assert.equal((await home.run(['volume', 'verify', 'restored'])).code, 0);
});

test('a volume that is in use, through a pipe', async (context) => {
  if (!requireTool(context, 'nbdcopy', 'qemu-io')) return;
  const home = new Home(context);
  const key = await home.createVolume('data', '16M');
  const served = await home.serve(['data']);
  const uri = served.ready.volumes[0]?.uri ?? '';
  await mustRun('qemu-io', '-f', 'raw', '-c', 'write -P 0x44 0 1M', '-c', 'flush', uri);
  const stream = home.path('stream');
  fs.writeFileSync(
    home.path('pipe.sh'),
    `set -eo pipefail\n"$@" volume export data --to - | cat > ${stream}\n"$@" volume import-backup --from - --store ${home.path('copy')} < ${stream}\n`,
  );
  await home.script('pipe.sh');
  await mustRun('qemu-io', '-f', 'raw', '-c', 'write -P 0x55 1M 1M', '-c', 'flush', uri);
  await home.run(['stop']);
  await served.ended;
  const other = new Home(context);
  await other.json([
    'volume',
    'adopt',
    'data',
    '--store',
    home.path('copy'),
    '--key-file',
    key,
    '--accept-missing-anchor',
  ]);
  const content = await contentOf(other, 'data');
  assert.ok(content.subarray(0, mebibyte).every((byte) => byte === 0x44));
  assert.ok(content.subarray(mebibyte).every((byte) => byte === 0));
});

test('a writer that was killed: the export recovers what was flushed', async (context) => {
  if (!requireTool(context, 'nbdcopy', 'qemu-io')) return;
  const home = new Home(context);
  const key = await home.createVolume('data', '16M');
  const served = await home.serve(['data']);
  const uri = served.ready.volumes[0]?.uri ?? '';
  await mustRun('qemu-io', '-f', 'raw', '-c', 'write -P 0x66 0 64k', '-c', 'flush', uri);
  served.child.kill('SIGKILL');
  await served.ended;
  await home.json(['volume', 'export', 'data', '--to', 'after.backup']);
  const other = new Home(context);
  await other.json(['volume', 'import-backup', '--from', home.path('after.backup'), '--store', other.store]);
  await other.json(['volume', 'adopt', 'data', '--store', other.store, '--key-file', key, '--accept-missing-anchor']);
  assert.ok((await contentOf(other, 'data')).subarray(0, 65_536).every((byte) => byte === 0x66));
});

test('bad input is named, and leaves nothing that looks finished', async (context) => {
  const home = new Home(context);
  await home.createVolume('data', '1M');
  await home.json(['volume', 'export', 'data', '--to', 'good.backup']);
  const good = fs.readFileSync(home.path('good.backup'));
  fs.writeFileSync(home.path('cut.backup'), good.subarray(0, good.length - 1));
  fs.writeFileSync(home.path('empty.backup'), '');
  fs.writeFileSync(home.path('text.backup'), 'x'.repeat(500));
  fs.writeFileSync(home.path('changed.backup'), Buffer.from(good).fill(0xff, 300, 301));
  const import_ = (from: string): string[] => ['volume', 'import-backup', '--from', from, '--store', 'other'];
  const cases: readonly (readonly [string[], number, string])[] = [
    [import_('absent'), 3, 'import-source-missing'],
    [import_('.'), 2, 'import-source-invalid'],
    [import_('cut.backup'), 1, 'backup-ended-early'],
    [import_('empty.backup'), 1, 'backup-ended-early'],
    [import_('text.backup'), 5, 'backup-invalid'],
    [import_('changed.backup'), 5, 'manifest-tampered'],
    [['volume', 'import-backup', '--from', 'good.backup'], 2, 'argument-invalid'],
    [['volume', 'export', 'nobody', '--to', 'x'], 3, 'name-missing'],
    [['volume', 'export', 'data', '--to', 'absent/x'], 3, 'object-missing'],
    [['volume', 'export', 'data', '--to', 'x', '--since', './absent'], 3, 'object-missing'],
    [['volume', 'export', 'data', '--to', 'x', '--since', 'absent'], 3, 'snapshot-missing'],
    [['volume', 'export', 'data', '--to', 'x', '--since', 'cut.backup'], 2, 'backup-base-missing'],
    [['volume', 'export', 'data', '--to', 'x', '--since', '77'], 2, 'backup-base-missing'],
    [['volume', 'export', 'data', '--to', 'x', '--since', `77:${'ab'.repeat(32)}`], 2, 'backup-base-missing'],
  ];
  for (const [arguments_, exit, code] of cases) {
    const error = await home.error(arguments_);
    assert.deepEqual([error.exit, error.code], [exit, code], `${arguments_.join(' ')}: ${error.message}`);
  }
  const ids = fs.existsSync(home.path('other'))
    ? await home.error(['volume', 'adopt', 'x', '--store', 'other'])
    : undefined;
  assert.equal(ids?.code, 'volume-missing');
  assert.deepEqual(
    fs.readdirSync(home.folder).filter((name) => name === 'x' || name.endsWith('.partial')),
    [],
  );
  await home.json(import_('good.backup'));
});

async function exportTo(home: Home, file: string, ...options: readonly string[]): Promise<Exported> {
  return (await home.json(['volume', 'export', 'data', '--to', file, ...options])) as unknown as Exported;
}

async function writeTo(home: Home, name: string, mebibytes: number, byte: number): Promise<void> {
  const served = await home.serve([name]);
  const uri = served.ready.volumes[0]?.uri ?? '';
  await mustRun('qemu-io', '-f', 'raw', '-c', `write -P ${byte} ${mebibytes}M 1M`, uri);
  await home.run(['stop']);
  await served.ended;
}

async function contentOf(home: Home, name: string): Promise<Buffer> {
  const served = await home.serve([name, '--read-only']);
  const file = home.path(`${name}.content`);
  await mustRun('nbdcopy', served.ready.volumes[0]?.uri ?? '', file);
  await home.run(['stop']);
  await served.ended;
  return fs.readFileSync(file);
}
