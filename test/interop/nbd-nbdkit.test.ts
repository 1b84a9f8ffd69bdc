/** The NBD export behind nbdkit's nbd plugin: another client stack, and filters that check us. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { mebibyte, serveMemory, until } from '../support/nbd-fixture.ts';
import { requireTool, toolOutput } from '../support/tools.ts';

test('nbdkit proxies us, and its filters find no write that does not match', async (t) => {
  if (!requireTool(t, 'nbdkit', 'nbdcopy', 'nbdinfo')) return;
  const { path, folder, device } = await serveMemory(t, { size: 12 * mebibyte });
  const source = join(folder, 'source');
  const back = join(folder, 'back');
  const bytes = Buffer.concat([randomBytes(5 * mebibyte), Buffer.alloc(2 * mebibyte), randomBytes(5 * mebibyte)]);
  writeFileSync(source, bytes);
  const proxy = async (name: string, filters: string[]): Promise<string> => {
    const socket = join(folder, name);
    const child = spawn('nbdkit', ['-f', '-U', socket, ...filters, 'nbd', `socket=${path}`, 'export=disk'], {
      stdio: 'ignore',
    });
    t.after(async () => {
      child.kill();
      await until(() => child.exitCode !== null || child.signalCode !== null);
    });
    await until(() => child.exitCode !== null || statSync(socket, { throwIfNoEntry: false }) !== undefined);
    assert.equal(child.exitCode, null, 'nbdkit runs');
    return `nbd+unix:///?socket=${socket}`;
  };
  const plain = await proxy('plain.sock', []);
  const found = JSON.parse(await toolOutput('nbdinfo', ['--json', plain]));
  assert.equal(found.exports[0]['export-size'], 12 * mebibyte);
  await toolOutput('nbdcopy', ['--flush', source, plain]);
  assert.equal(Buffer.compare(Buffer.from(device.content), bytes), 0);
  await toolOutput('nbdcopy', [plain, back]);
  assert.equal(Buffer.compare(readFileSync(back), bytes), 0);
  const checked = await proxy('checked.sock', ['--filter=checkwrite']);
  await toolOutput('nbdcopy', [source, checked]);
});
