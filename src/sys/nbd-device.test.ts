import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { listLoopDevices } from './loop.ts';
import { attachNbd, findFreeNbdDevice, isNbdConnectedTo } from './nbd-device.ts';
import type { NbdTools } from './nbd-device.ts';

async function fakeSystem(
  t: TestContext,
  onModprobe?: (folder: string) => Promise<void>,
): Promise<{ tools: NbdTools; calls: string[] }> {
  const folder = await mkdtemp(`${tmpdir()}/caisson-sysfs-`);
  t.after(() => rm(folder, { recursive: true }));
  const calls: string[] = [];
  const tools: NbdTools = {
    clock: systemClock,
    sysfsFolder: folder,
    processFolder: folder,
    run: async (name, parameters) => {
      calls.push([name, ...parameters].join(' '));
      if (name === 'modprobe') await onModprobe?.(folder);
      return { status: name === 'modprobe' && onModprobe === undefined ? 1 : 0, output: '', errorText: '' };
    },
  };
  return { tools, calls };
}

test('without the module there is no device', async (t) => {
  const { tools, calls } = await fakeSystem(t);
  assert.equal(await findFreeNbdDevice(tools), undefined);
  assert.deepEqual(calls, ['modprobe -q nbd']);
});

test('the first device that nobody has connected is taken', async (t) => {
  const { tools } = await fakeSystem(t, async (folder) => {
    for (const name of ['nbd0', 'nbd10', 'nbd2']) await mkdir(`${folder}/${name}`);
    await writeFile(`${folder}/nbd0/pid`, '77\n');
  });
  assert.equal(await findFreeNbdDevice(tools), '/dev/nbd2');
});

test('a device is ours only when its client talks to our socket', async (t) => {
  const { tools } = await fakeSystem(t);
  await mkdir(`${tools.sysfsFolder}/nbd0`);
  assert.equal(await isNbdConnectedTo('/dev/nbd0', '/run/s', tools), false);
  await writeFile(`${tools.sysfsFolder}/nbd0/pid`, '77\n');
  assert.equal(await isNbdConnectedTo('/dev/nbd0', '/run/s', tools), false);
  await mkdir(`${tools.processFolder}/77`);
  await writeFile(`${tools.processFolder}/77/cmdline`, 'nbd-client\0-unix\0/run/s\0/dev/nbd0\0');
  assert.equal(await isNbdConnectedTo('/dev/nbd0', '/run/s', tools), true);
  assert.equal(await isNbdConnectedTo('/dev/nbd0', '/run/other', tools), false);
});

test('the client is told name, block size and to come back', async (t) => {
  const { tools, calls } = await fakeSystem(t);
  await attachNbd('/dev/nbd2', { socketPath: '/run/s', exportName: 'vol' }, 4096, tools);
  assert.deepEqual(calls, ['nbd-client -unix /run/s /dev/nbd2 -name vol -block-size 4096 -persist -nonetlink']);
});

test('loop devices are listed from sysfs alone', async (t) => {
  const { tools } = await fakeSystem(t);
  for (const name of ['loop0', 'loop1', 'vda']) await mkdir(`${tools.sysfsFolder}/${name}`);
  await mkdir(`${tools.sysfsFolder}/loop1/loop`);
  await writeFile(`${tools.sysfsFolder}/loop1/loop/backing_file`, '/run/a b/disk\n');
  await writeFile(`${tools.sysfsFolder}/loop1/loop/dio`, '1\n');
  assert.deepEqual(await listLoopDevices(tools.sysfsFolder), [
    { path: '/dev/loop1', backingFile: '/run/a b/disk', direct: true },
  ]);
});
