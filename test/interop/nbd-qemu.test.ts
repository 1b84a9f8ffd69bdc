/** The NBD export against QEMU's client: qemu-img and qemu-io. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { mebibyte, serveMemory } from '../support/nbd-fixture.ts';
import { requireTool, runTool, toolOutput } from '../support/tools.ts';

const uri = (path: string): string => `nbd+unix:///disk?socket=${path}`;

test('qemu-img converts in and out, compares, and maps holes', async (t) => {
  if (!requireTool(t, 'qemu-img')) return;
  const { path, folder, device } = await serveMemory(t, { size: 16 * mebibyte });
  const source = join(folder, 'source.raw');
  const back = join(folder, 'back.qcow2');
  const bytes = Buffer.concat([randomBytes(3 * mebibyte), Buffer.alloc(9 * mebibyte), randomBytes(4 * mebibyte)]);
  writeFileSync(source, bytes);
  await toolOutput('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', '-W', '-m', '8', source, uri(path)]);
  assert.equal(Buffer.compare(Buffer.from(device.content), bytes), 0);
  await toolOutput('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', source, uri(path)]);
  const map = JSON.parse(await toolOutput('qemu-img', ['map', '-f', 'raw', '--output=json', uri(path)]));
  assert.deepEqual(
    map.map((extent: Record<string, unknown>) => [extent['start'], extent['length'], extent['zero'], extent['data']]),
    [
      [0, 3 * mebibyte, false, true],
      [3 * mebibyte, 9 * mebibyte, true, false],
      [12 * mebibyte, 4 * mebibyte, false, true],
    ],
  );
  await toolOutput('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', uri(path), back]);
  await toolOutput('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', back, source]);
  assert.ok(readFileSync(back).length < 9 * mebibyte, 'holes stayed holes');
  bytes[5] = bytes[5]! ^ 1;
  writeFileSync(source, bytes);
  assert.equal((await runTool('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', source, uri(path)])).status, 1);
});

test('qemu-io writes, discards, zeroes and checks patterns, late device included', async (t) => {
  if (!requireTool(t, 'qemu-io')) return;
  for (const late of [false, true]) {
    const { path, device } = await serveMemory(t, late ? { device: { asyncSeed: 2 } } : {});
    const commands = [
      'aio_write -P 0x11 0 1M',
      'aio_write -P 0x22 1M 1M',
      'aio_flush',
      'write -f -P 0x33 1000 3000',
      'read -P 0x33 1000 3000',
      'read -P 0x11 4096 100k',
      'write -z 128k 64k',
      'read -P 0 128k 64k',
      'write -z -u 256k 64k',
      'read -P 0 256k 64k',
      'discard 1M 512k',
      'flush',
      'read -P 0x22 1536k 512k',
      'read -P 0x11 512k 512k',
    ];
    const printed = await toolOutput('qemu-io', [
      '-f',
      'raw',
      ...commands.flatMap((command) => ['-c', command]),
      uri(path),
    ]);
    assert.doesNotMatch(printed, /[Pp]attern verification failed|error/i);
    assert.ok(device.flushes > 0);
    assert.ok(device.calls.some((call) => call.startsWith('zero punch')));
    assert.ok(device.calls.some((call) => call.startsWith('write fua') || call.startsWith('flush')));
  }
});
