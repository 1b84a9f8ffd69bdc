/** A real file system on a loop device, frozen and thawed; skipped where that is not possible. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { TestContext } from 'node:test';
import { requireRoot, requireTool, run } from '../../test/support/tools.ts';
import { systemClock } from '../lib/clock.ts';
import { freezeFileSystem } from './freeze.ts';
import { runTool } from './run-tool.ts';

const tools = { run: runTool, clock: systemClock, log: (): void => undefined };

async function mounted(context: TestContext): Promise<string | undefined> {
  const needed = ['mkfs.ext4', 'fsfreeze', 'mount', 'losetup'];
  if (!requireRoot(context) || !needed.every((tool) => requireTool(context, tool))) return undefined;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-freeze-'));
  const [image, directory] = [path.join(folder, 'image'), path.join(folder, 'mnt')];
  fs.mkdirSync(directory);
  fs.writeFileSync(image, '');
  fs.truncateSync(image, 16 * 2 ** 20);
  assert.equal((await run('mkfs.ext4', ['-q', image])).status, 0);
  const mounting = await run('mount', ['-o', 'loop', image, directory]);
  assert.equal(mounting.status, 0, mounting.output);
  context.after(async () => {
    await run('fsfreeze', ['-u', directory]);
    await run('umount', ['-l', directory]);
    fs.rmSync(folder, { recursive: true, force: true });
  });
  return directory;
}

/** Tries to write by another program: a frozen file system holds it back, where no signal reaches it, until it is thawed. */
async function isWritable(directory: string): Promise<boolean> {
  return Promise.race([written(directory), setTimeout(500, false)]);
}

/** However long that takes. */
async function written(directory: string): Promise<boolean> {
  const child = spawn('touch', [`${directory}/x`], { stdio: 'ignore' });
  const [status] = await once(child, 'exit');
  return status === 0;
}

test('a frozen file system holds writers back until it is thawed', async (context) => {
  const directory = await mounted(context);
  if (directory === undefined) return;
  const frozen = await freezeFileSystem(directory, tools);
  assert.ok(frozen !== undefined);
  assert.equal(await isWritable(directory), false);
  // What somebody froze is not frozen again, nor thawed by the one who tried.
  assert.equal(await freezeFileSystem(directory, tools), undefined);
  assert.equal(await isWritable(directory), false);
  assert.equal(await frozen.thaw(), true);
  assert.equal(await written(directory), true);
  assert.equal(await freezeFileSystem('/proc', tools), undefined);
});

test('it is thawed when the process that froze it is killed', async (context) => {
  const directory = await mounted(context);
  if (directory === undefined) return;
  const script = `
    const { freezeFileSystem } = await import(${JSON.stringify(new URL('freeze.ts', import.meta.url).href)});
    const { runTool } = await import(${JSON.stringify(new URL('run-tool.ts', import.meta.url).href)});
    const { systemClock } = await import(${JSON.stringify(new URL('../lib/clock.ts', import.meta.url).href)});
    const tools = { run: runTool, clock: systemClock, log: () => undefined };
    if ((await freezeFileSystem(${JSON.stringify(directory)}, tools)) !== undefined) console.log('frozen');
    setInterval(() => undefined, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  assert.equal(await isWritable(directory), false);
  child.kill('SIGKILL');
  await once(child, 'exit');
  for (let tries = 0; !(await isWritable(directory)); tries++) assert.ok(tries < 120, 'still frozen');
});
