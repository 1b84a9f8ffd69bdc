/** `caisson mount` and `umount` as a person uses them, with the daemon that they start and stop. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { Home } from '../support/caisson.ts';
import { requireFile, requireRoot, requireTool, run } from '../support/tools.ts';

test('mount starts a daemon, umount ends it, and the files are there again', async (context) => {
  if (!requireRoot(context) || !requireFile(context, '/dev/fuse') || !requireTool(context, 'mkfs.ext4')) return;
  const home = new Home(context);
  await home.createVolume('data', '64M');
  const directory = home.path('mnt');
  fs.mkdirSync(directory);
  home.clearing.push(() => run('umount', ['-l', directory]));
  const blank = await home.error(['mount', 'data', directory]);
  assert.equal(blank.code, 'mount-failed');
  assert.equal((await home.error(['status'])).code, 'daemon-unreachable');

  const mounted = await home.json(['mount', 'data', directory, '--mkfs', 'ext4']);
  assert.deepEqual([mounted['directory'], mounted['fileSystem']], [directory, 'ext4']);
  fs.writeFileSync(`${directory}/letter`, 'dear reader');
  const status = (await home.json(['status'])) as unknown as { background: boolean; volumes: { mountedOn: string }[] };
  assert.deepEqual([status.background, status.volumes[0]?.mountedOn], [true, directory]);
  assert.equal((await home.error(['detach', 'data'])).code, 'volume-busy');
  assert.equal((await home.error(['mount', 'data', directory])).exit !== 0, true);
  const unmounted = await home.json(['umount', directory]);
  assert.equal(unmounted['name'], 'data');
  await ended(home);

  await home.json(['mount', 'data', directory]);
  assert.equal(fs.readFileSync(`${directory}/letter`, 'utf8'), 'dear reader');
  const { pid } = (await home.json(['status'])) as unknown as { pid: number };
  process.kill(pid, 'SIGKILL');
  await ended(home);
  // What the killed daemon left is put right by the next command, with no daemon there.
  await home.json(['umount', 'data']);
  await home.json(['mount', 'data', directory]);
  assert.equal(fs.readFileSync(`${directory}/letter`, 'utf8'), 'dear reader');
  await home.json(['umount', 'data']);
  await ended(home);
  const report = await home.json(['volume', 'verify', 'data']);
  assert.deepEqual(report['findings'], []);
});

test('SIGTERM unmounts before it closes', async (context) => {
  if (!requireRoot(context) || !requireFile(context, '/dev/fuse') || !requireTool(context, 'mkfs.ext4')) return;
  const home = new Home(context);
  await home.createVolume('data', '64M');
  const directory = home.path('mnt');
  fs.mkdirSync(directory);
  home.clearing.push(() => run('umount', ['-l', directory]));
  const served = await home.serve(['data']);
  await home.json(['mount', 'data', directory, '--mkfs', 'ext4']);
  fs.writeFileSync(`${directory}/letter`, 'dear reader');
  served.child.kill('SIGTERM');
  const { code, stderr } = await served.ended;
  assert.equal(code, 0, stderr);
  assert.deepEqual(fs.readdirSync(directory), []);
  assert.deepEqual((await home.json(['volume', 'verify', 'data']))['findings'], []);
});

async function ended(home: Home): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const outcome = await home.run(['status', '-o', 'json']);
    if (outcome.stderr.includes('daemon-unreachable')) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail('the daemon did not end');
}
