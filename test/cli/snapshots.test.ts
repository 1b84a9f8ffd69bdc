/** Snapshots, clones and restores at the command line: what they do, and one named error for each wrong use. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { Home } from '../support/caisson.ts';
import { requireTool, run } from '../support/tools.ts';

interface Shown {
  readonly lineage: {
    state: string;
    parent: { name: string | null; volumeId: string } | null;
    clones: { name: string | null }[];
    snapshotCount: number;
  };
  readonly snapshots?: { name: string }[];
  readonly public: { volumeId: string };
}

async function inspect(home: Home, name: string, ...options: string[]): Promise<Shown> {
  return (await home.json(['volume', 'inspect', name, ...options])) as unknown as Shown;
}

/** Fills 64 KiB at an offset by a client of the daemon; its bytes are all the same. */
async function write(uri: string, pattern: number, offset = '0'): Promise<void> {
  const commands = ['-c', `write -P ${pattern} ${offset} 64k`, '-c', 'flush'];
  const written = await run('qemu-io', ['-f', 'raw', ...commands, uri]);
  assert.equal(written.status, 0, written.output);
}

async function assertHolds(uri: string, pattern: number, offset = '0'): Promise<void> {
  const read = await run('qemu-io', ['-r', '-f', 'raw', '-c', `read -P ${pattern} ${offset} 64k`, uri]);
  assert.equal(read.status, 0, read.output);
  assert.doesNotMatch(read.output, /verification failed/, read.output);
}

test('a snapshot is taken, listed, compared, exported beside its volume, restored and removed', async (context) => {
  if (!requireTool(context, 'qemu-io')) return;
  const home = new Home(context);
  await home.createVolume('data');
  const served = await home.serve(['data']);
  const uri = served.ready.volumes[0]?.uri ?? '';
  await write(uri, 1);
  const taken = await home.json(['snapshot', 'create', 'data', 'monday']);
  assert.deepEqual([taken['name'], taken['frozen']], ['monday', false]);
  await write(uri, 2);
  await write(uri, 3, '1M');
  await home.json(['snapshot', 'create', 'data', 'tuesday']);
  await write(uri, 4);

  const { snapshots } = (await home.json(['snapshot', 'ls', 'data'])) as unknown as { snapshots: { name: string }[] };
  assert.deepEqual(
    snapshots.map(({ name }) => name),
    ['monday', 'tuesday'],
  );
  assert.equal((await home.error(['snapshot', 'create', 'data', 'monday'])).code, 'snapshot-exists');

  const compact = await home.run(['snapshot', 'diff', 'data', 'monday', 'tuesday', '--compact']);
  assert.equal(compact.stdout, `0 65536 data\n${2 ** 20} 65536 data\n`, compact.stderr);
  const lines = (await home.run(['snapshot', 'diff', 'data', 'monday', '-o', 'json'])).stdout.trim().split('\n');
  assert.deepEqual(
    lines.map((line) => JSON.parse(line) as unknown),
    [
      { offset: 0, length: 65536, kind: 'data' },
      { offset: 2 ** 20, length: 65536, kind: 'data' },
      { end: true, extents: 2, dataBytes: 131072, zeroBytes: 0, holeBytes: 0 },
    ],
  );
  const shown = await home.run(['snapshot', 'diff', 'data', 'tuesday', 'tuesday']);
  assert.deepEqual([shown.stdout, shown.stderr], ['', 'nothing changed\n']);

  const monday = (await home.json(['attach', 'data@monday'])) as unknown as { uri: string; readOnly: boolean };
  const tuesday = (await home.json(['attach', 'data@tuesday'])) as unknown as { uri: string };
  assert.match(monday.uri, /^nbd\+unix:\/\/\/data@monday\?/);
  assert.equal(monday.readOnly, true);
  await assertHolds(monday.uri, 1);
  await assertHolds(tuesday.uri, 2);
  await assertHolds(uri, 4);
  const { volumes } = (await home.json(['status'])) as unknown as { volumes: { name: string }[] };
  assert.deepEqual(
    volumes.map(({ name }) => name),
    ['data', 'data@monday', 'data@tuesday'],
  );
  const held = await home.error(['snapshot', 'rm', 'data', 'monday']);
  assert.deepEqual([held.exit, held.code], [7, 'volume-busy']);
  assert.match(held.remedy ?? '', /caisson detach data@monday/);

  const open = await home.error(['snapshot', 'restore', 'data', 'monday', '--yes']);
  assert.deepEqual([open.exit, open.code], [7, 'volume-busy']);
  assert.match(open.remedy ?? '', /caisson detach data"/);
  await home.json(['detach', 'data']);
  const restored = await home.json(['snapshot', 'restore', 'data', 'monday', '--yes']);
  assert.equal(restored['name'], 'monday');
  const again = (await home.json(['attach', 'data'])) as unknown as { uri: string };
  await assertHolds(again.uri, 1);
  await assertHolds(tuesday.uri, 2);
  await home.json(['detach', 'data@monday']);
  await home.json(['snapshot', 'rm', 'data', 'monday']);
  assert.equal((await home.error(['attach', 'data@monday'])).code, 'snapshot-missing');
  for (const name of ['data', 'data@tuesday']) await home.json(['detach', name]);
  const report = await home.json(['volume', 'verify', 'data']);
  assert.deepEqual([report['findings'], report['orphans']], [[], []]);
});

test('volume and snapshots are served together, by the configuration and over TCP, too', async (context) => {
  if (!requireTool(context, 'qemu-io')) return;
  const home = new Home(context);
  await home.createVolume('data');
  const first = await home.serve(['data']);
  await write(first.ready.volumes[0]?.uri ?? '', 1);
  await home.json(['snapshot', 'create', 'data', 'Monday-1']);
  await write(first.ready.volumes[0]?.uri ?? '', 2);
  await home.json(['stop']);
  await first.ended;
  home.write('.config/caisson/config.yaml', 'volumes:\n  - data\n  - data@Monday-1\n');
  const served = await home.serve(['--tcp', '127.0.0.1:0', '--insecure-no-tls']);
  assert.deepEqual(
    served.ready.volumes.map(({ name }) => name),
    ['data', 'data@Monday-1'],
  );
  await assertHolds(`nbd://${served.ready.tcp}/data`, 2);
  await assertHolds(`nbd://${served.ready.tcp}/data@Monday-1`, 1);
  const refused = await run('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', served.ready.volumes[1]?.uri ?? '']);
  assert.notEqual(refused.status, 0);
  // A client of the snapshot is served while its volume is detached and opened again.
  await home.json(['detach', 'data']);
  await assertHolds(`nbd://${served.ready.tcp}/data@Monday-1`, 1);
  await home.json(['attach', 'data']);
});

test('a clone goes its own way, under the same key or one of its own', async (context) => {
  if (!requireTool(context, 'qemu-io')) return;
  const home = new Home(context);
  const key = await home.createVolume('data');
  const served = await home.serve(['data']);
  const uri = served.ready.volumes[0]?.uri ?? '';
  await write(uri, 1);
  await home.json(['snapshot', 'create', 'data', 'base']);
  await write(uri, 2);
  const clone = (await home.json(['volume', 'clone', 'data', 'test', '--snapshot', 'base'])) as unknown as Shown;
  assert.equal(clone.lineage.parent?.name, 'data');
  const guestKey = home.keyFile('guest.key');
  await home.json(['volume', 'clone', 'data', 'guest', '--new-key-file', guestKey]);
  const test = (await home.json(['attach', 'test'])) as unknown as { uri: string };
  const guest = (await home.json(['attach', 'guest'])) as unknown as { uri: string };
  await assertHolds(test.uri, 1);
  await assertHolds(guest.uri, 2);
  await write(test.uri, 3);
  await assertHolds(uri, 2);
  const wrong = await home.error(['attach', 'guest@nothing', '--key-file', key]);
  assert.deepEqual([wrong.exit, wrong.code], [4, 'key-wrong']);

  const needed = await home.error(['snapshot', 'rm', 'data', 'base']);
  assert.deepEqual([needed.exit, needed.code], [2, 'snapshot-needed']);
  assert.match(needed.message, /^test /);
  await home.json(['detach', 'data']);
  const parent = await inspect(home, 'data', '--unlock');
  assert.deepEqual(
    [
      parent.lineage.state,
      parent.lineage.clones.map(({ name }) => String(name)).sort(),
      parent.snapshots?.map(({ name }) => name),
    ],
    ['closed', ['guest', 'test'], ['base']],
  );
  const kept = await home.error(['volume', 'rm', 'data', '--yes']);
  assert.deepEqual([kept.exit, kept.code], [4, 'volume-needed']);
  assert.match(kept.message, /guest/);
  assert.match(kept.message, /test/);
  for (const name of ['test', 'guest']) {
    await home.json(['detach', name]);
    const removed = (await home.json(['volume', 'rm', name, '--yes'])) as unknown as { parent: { name: string } };
    assert.equal(removed.parent.name, 'data');
  }
  await home.json(['snapshot', 'rm', 'data', 'base']);
  await home.json(['volume', 'rm', 'data', '--yes']);
});

test('what is missing, taken, wrong or misspelt is refused by name', async (context) => {
  const home = new Home(context);
  const key = await home.createVolume('data');
  const wrongKey = home.keyFile('wrong');
  await home.json(['snapshot', 'create', 'data', 'monday']);
  const refusals: [number, string, string[]][] = [
    [3, 'name-missing', ['snapshot', 'create', 'nobody', 'monday']],
    [3, 'name-missing', ['snapshot', 'ls', 'nobody']],
    [3, 'name-missing', ['snapshot', 'rm', 'nobody', 'monday']],
    [3, 'name-missing', ['snapshot', 'diff', 'nobody', 'monday']],
    [3, 'name-missing', ['snapshot', 'restore', 'nobody', 'monday', '--yes']],
    [3, 'name-missing', ['volume', 'clone', 'nobody', 'test']],
    [2, 'name-invalid', ['snapshot', 'create', 'data', 'a@b']],
    [2, 'name-invalid', ['snapshot', 'create', 'data', '../x']],
    [2, 'name-invalid', ['snapshot', 'create', 'data@monday', 'x']],
    [2, 'name-invalid', ['volume', 'clone', 'data', 'a@b']],
    [2, 'name-invalid', ['volume', 'create', 'a@b', '--size', '1M', '--key-file', key]],
    [2, 'name-invalid', ['serve', 'data@']],
    [2, 'snapshot-exists', ['snapshot', 'create', 'data', 'monday']],
    [3, 'snapshot-missing', ['snapshot', 'rm', 'data', 'friday']],
    [3, 'snapshot-missing', ['snapshot', 'diff', 'data', 'friday']],
    [3, 'snapshot-missing', ['snapshot', 'diff', 'data', 'monday', 'friday']],
    [3, 'snapshot-missing', ['snapshot', 'restore', 'data', 'friday', '--yes']],
    [3, 'snapshot-missing', ['volume', 'clone', 'data', 'test', '--snapshot', 'friday']],
    [3, 'snapshot-missing', ['serve', 'data@friday']],
    [2, 'name-exists', ['volume', 'clone', 'data', 'data']],
    [4, 'key-wrong', ['snapshot', 'create', 'data', 'x', '--key-file', wrongKey]],
    [4, 'key-wrong', ['snapshot', 'ls', 'data', '--key-file', wrongKey]],
    [4, 'key-wrong', ['snapshot', 'diff', 'data', 'monday', '--key-file', wrongKey]],
    [4, 'key-wrong', ['volume', 'clone', 'data', 'test', '--key-file', wrongKey]],
    [2, 'argument-invalid', ['snapshot', 'restore', 'data', 'monday']],
    [2, 'argument-invalid', ['snapshot', 'diff', 'data', 'monday', '--compact']],
    [1, 'daemon-unreachable', ['attach', 'data@monday']],
  ];
  for (const [exit, code, args] of refusals) {
    const refused = await home.error(args);
    assert.deepEqual([refused.exit, refused.code], [exit, code], args.join(' '));
    assert.ok(refused.remedy !== null || code === 'key-wrong', `${args.join(' ')} says what to do`);
  }
  const shown = await inspect(home, 'data', '--unlock');
  assert.deepEqual([shown.lineage.snapshotCount, shown.lineage.clones], [1, []]);
  assert.equal((await inspect(home, 'data')).snapshots, undefined);
  const people = await home.run(['volume', 'inspect', 'data', '--unlock']);
  assert.match(people.stdout, /^snapshots +1: monday$/m);
  assert.match((await home.run(['snapshot', 'ls', 'data'])).stdout, /^monday +\d{4}-\d\d-\d\dT/m);
  assert.deepEqual(fs.readdirSync(home.path('.config/caisson')), ['volumes.json', 'volumes.json.lock']);
});
