import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { toolOutput } from '../../test/support/tools.ts';
import { systemClock } from '../lib/clock.ts';
import { isCaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import { makeErofsImage } from './erofs-image.ts';
import { openImageFile } from './image-file.ts';
import type { ToolResult } from './run-tool.ts';

function inFolder(act: (folder: string) => Promise<void>): () => Promise<void> {
  return async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-source-'));
    try {
      await act(folder);
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  };
}

test(
  'a file is read as it is, and its holes are found',
  inFolder(async (folder) => {
    const file = path.join(folder, 'image');
    fs.writeFileSync(file, 'content');
    fs.truncateSync(file, 8 * 2 ** 20);
    const source = await openImageFile(file);
    assert.equal(source.size, 8 * 2 ** 20);
    const target = new Region(100);
    await source.read(3, 10, target, 5);
    assert.equal(Buffer.from(target.bytes.subarray(5, 9)).toString(), 'tent');
    assert.equal(source.nextData(0)?.offset, 0);
    await source.checkUnchanged();
    await source.close();
  }),
);

test(
  'a file that is cut or written to while it is read is no source',
  inFolder(async (folder) => {
    const file = path.join(folder, 'image');
    fs.writeFileSync(file, Buffer.alloc(10_000, 1));
    const source = await openImageFile(file);
    fs.truncateSync(file, 5_000);
    const target = new Region(10_000);
    await assert.rejects(source.read(0, 10_000, target, 0), (error) => isCaissonError(error, 'import-ended-early'));
    await assert.rejects(source.checkUnchanged(), (error) => isCaissonError(error, 'import-source-changed'));
    fs.truncateSync(file, 10_000);
    fs.utimesSync(file, 1, 1);
    await assert.rejects(source.checkUnchanged(), (error) => isCaissonError(error, 'import-source-changed'));
    await source.close();
  }),
);

test(
  'what is no file and no device is refused by name, and nothing waits for a pipe',
  inFolder(async (folder) => {
    const pipe = path.join(folder, 'pipe');
    await toolOutput('mkfifo', [pipe]);
    await assert.rejects(openImageFile(pipe), (error) => isCaissonError(error, 'import-source-invalid'));
    await assert.rejects(openImageFile(folder), (error) => isCaissonError(error, 'import-source-invalid'));
    await assert.rejects(openImageFile('/dev/null'), (error) => isCaissonError(error, 'import-source-invalid'));
    const missing = path.join(folder, 'missing');
    await assert.rejects(openImageFile(missing), (error) => isCaissonError(error, 'import-source-missing'));
  }),
);

test('mkfs.erofs gets everything that depends on the machine, and the block size where it takes one', async () => {
  for (const [help, options] of [
    [' -zX   X=compressor\n', ['--all-root']],
    [' -b#   set block size # (# = page size by default)\n', ['--all-root', '-b4096']],
  ] as const) {
    const calls: (readonly string[])[] = [];
    const run = async (name: string, parameters: readonly string[]): Promise<ToolResult> => {
      assert.equal(name, 'mkfs.erofs');
      calls.push(parameters);
      return { status: 0, output: parameters.includes('--help') ? help : '', errorText: '' };
    };
    await makeErofsImage('/tree', '/image', systemClock, run);
    const fixed = ['--quiet', '-x-1', '-T0', '-U00000000-0000-0000-0000-000000000000'];
    assert.deepEqual(calls[1], [...fixed, ...options, '/image', '/tree']);
  }
});

test('an mkfs.erofs that fails says so', async () => {
  const run = async (_name: string, parameters: readonly string[]): Promise<ToolResult> => ({
    status: parameters.includes('--help') ? 0 : 1,
    output: '',
    errorText: 'no space left',
  });
  await assert.rejects(
    makeErofsImage('/tree', '/image', systemClock, run),
    (error) => isCaissonError(error, 'tool-failed') && /no space left/.test(error.message),
  );
});
