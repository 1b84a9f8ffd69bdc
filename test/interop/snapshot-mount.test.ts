/** A file system through its life of snapshots: taken while it is used, mounted beside it, cloned, restored. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Home } from '../support/caisson.ts';
import { requireFile, requireRoot, requireTool, run } from '../support/tools.ts';

function isPossible(context: TestContext, tools: readonly string[]): boolean {
  return (
    requireRoot(context) &&
    requireFile(context, '/dev/fuse') &&
    tools.every((tool) => requireTool(context, tool)) &&
    requireTool(context, 'fsfreeze')
  );
}

function makeDirectory(home: Home, name: string): string {
  const directory = home.path(name);
  fs.mkdirSync(directory);
  home.clearing.push(() => run('umount', ['-l', directory]));
  return directory;
}

/** Relative path to content, of every file. */
function contentOf(directory: string): Record<string, string> {
  const files = fs.readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files.map(({ parentPath, name }) => {
      const path = `${parentPath}/${name}`;
      return [path.slice(directory.length + 1), fs.readFileSync(path).toString('hex')];
    }),
  );
}

function fill(directory: string, count: number): void {
  fs.mkdirSync(`${directory}/folder`, { recursive: true });
  // Never synced by the writer: the snapshot has to see to it.
  for (let at = 0; at < count; at++) fs.writeFileSync(`${directory}/folder/${at}`, randomBytes(20_000 + at * 100));
}

test('ext4: a snapshot of a mounted volume holds every file, clean, beside the changing volume', async (context) => {
  if (!isPossible(context, ['mkfs.ext4', 'e2fsck', 'nbdcopy'])) return;
  const home = new Home(context);
  await home.createVolume('data', '128M');
  const [live, old, copy] = ['live', 'old', 'copy'].map((name) => makeDirectory(home, name)) as [
    string,
    string,
    string,
  ];
  await home.json(['mount', 'data', live, '--mkfs', 'ext4']);
  fill(live, 40);
  const before = contentOf(live);
  const taken = await home.json(['snapshot', 'create', 'data', 'before']);
  assert.equal(taken['frozen'], true);
  fill(live, 30);
  fs.rmSync(`${live}/folder/35`);
  fs.writeFileSync(`${live}/new`, 'written after the snapshot');
  const after = contentOf(live);
  assert.notDeepEqual(after, before);

  const mounted = await home.json(['mount', 'data@before', old]);
  assert.equal(mounted['name'], 'data@before');
  assert.deepEqual(contentOf(old), before);
  assert.throws(() => fs.writeFileSync(`${old}/x`, 'x'), { code: 'EROFS' });
  assert.deepEqual(contentOf(live), after);
  const held = await home.error(['snapshot', 'rm', 'data', 'before']);
  assert.deepEqual([held.exit, held.code], [7, 'volume-busy']);
  const mountedStill = await home.error(['snapshot', 'restore', 'data', 'before', '--yes']);
  assert.deepEqual([mountedStill.exit, mountedStill.code], [7, 'volume-busy']);
  assert.match(mountedStill.remedy ?? '', /caisson umount data"/);

  // The clone of a snapshot is clean without any replay, and writable.
  await home.json(['volume', 'clone', 'data', 'copy', '--snapshot', 'before']);
  const { uri } = (await home.json(['attach', 'copy'])) as unknown as { uri: string };
  await assertClean(home, uri);
  await home.json(['detach', 'copy']);
  await home.json(['mount', 'copy', copy]);
  assert.deepEqual(contentOf(copy), before);
  fs.writeFileSync(`${copy}/mine`, 'only in the clone');
  await home.json(['umount', 'copy']);
  assert.deepEqual(contentOf(live), after);

  await home.json(['umount', 'data@before']);
  await home.json(['umount', live]);
  await home.json(['snapshot', 'restore', 'data', 'before', '--yes']);
  await home.json(['mount', 'data', live]);
  assert.deepEqual(contentOf(live), before);
  await home.json(['umount', 'data']);
  for (const name of ['data', 'copy']) {
    const report = await home.json(['volume', 'verify', name]);
    assert.deepEqual([report['findings'], report['freshness']], [[], 'current'], name);
  }
});

test('xfs: snapshot and volume are mounted at once although their identifiers are the same', async (context) => {
  if (!isPossible(context, ['mkfs.xfs'])) return;
  const home = new Home(context);
  await home.createVolume('data', '512M');
  const [live, old] = ['live', 'old'].map((name) => makeDirectory(home, name)) as [string, string];
  await home.json(['mount', 'data', live, '--mkfs', 'xfs']);
  fill(live, 10);
  const before = contentOf(live);
  assert.equal((await home.json(['snapshot', 'create', 'data', 'before']))['frozen'], true);
  fs.writeFileSync(`${live}/new`, 'written after the snapshot');
  await home.json(['mount', 'data@before', old]);
  assert.deepEqual(contentOf(old), before);
  await home.json(['umount', old]);
  await home.json(['umount', 'data']);
});

test('a snapshot whose journal must be replayed is mounted through a clone, as the error says', async (context) => {
  if (!isPossible(context, ['mkfs.ext4', 'sync'])) return;
  const home = new Home(context);
  await home.createVolume('data', '64M');
  const [live, copy] = ['live', 'copy'].map((name) => makeDirectory(home, name)) as [string, string];
  await home.json(['mount', 'data', live, '--mkfs', 'ext4']);
  fill(live, 5);
  assert.equal((await run('sync', ['-f', live])).status, 0);
  const before = contentOf(live);
  const { pid } = (await home.json(['status'])) as unknown as { pid: number };
  process.kill(pid, 'SIGKILL');
  while (fs.existsSync(`/proc/${pid}`)) await setTimeout(50);
  await home.json(['umount', 'data']);
  assert.equal((await home.json(['snapshot', 'create', 'data', 'crashed']))['frozen'], false);
  const refused = await home.error(['mount', 'data@crashed', copy]);
  assert.equal(refused.code, 'mount-failed');
  assert.match(refused.remedy ?? '', /caisson volume clone data NEW --snapshot crashed/);
  await home.json(['volume', 'clone', 'data', 'copy', '--snapshot', 'crashed']);
  await home.json(['mount', 'copy', copy]);
  assert.deepEqual(contentOf(copy), before);
  await home.json(['umount', 'copy']);
});

/** Looks at the file system as it is, on a copy: no journal to replay, nothing to repair. */
async function assertClean(home: Home, uri: string): Promise<void> {
  const image = home.path('clone.img');
  const copied = await run('nbdcopy', [uri, image]);
  assert.equal(copied.status, 0, copied.output);
  const checked = await run('e2fsck', ['-f', '-n', image]);
  assert.equal(checked.status, 0, checked.output);
  assert.doesNotMatch(checked.output, /journal|recover/i, checked.output);
  fs.rmSync(image);
}
