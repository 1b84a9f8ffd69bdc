import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { pattern, rejects } from '../../test/conformance/store.ts';
import { isCaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import { nativeFiles } from '../sys/files.ts';
import { fileError } from './file-errors.ts';
import { lockFile } from './file-lock.ts';
import { nodeFileSystem } from './node-file-system.ts';

const folders = [os.tmpdir(), '/dev/shm']
  .filter((folder) => fs.existsSync(folder))
  .map((folder) => fs.mkdtempSync(path.join(folder, 'caisson-fs-')));
const base = folders[0]!;
after(() => folders.forEach((folder) => fs.rmSync(folder, { recursive: true, force: true })));

describe('node file system', () => {
  for (const folder of folders) {
    it(`readNow gives what was just written, or declines, in ${path.dirname(folder)}`, async () => {
      const file = await nodeFileSystem.open(path.join(folder, 'read-now'), 'exclusive');
      const content = pattern(3 * 4096, 7);
      await file.write(0, content.length, Region.from(content), 0);
      const target = new Region(8192);
      const count = file.readNow(4000, 4112, target, 10);
      if (count !== -1) assert.deepEqual(target.bytes.subarray(10, 10 + 4112), content.subarray(4000, 4000 + 4112));
      if (nativeFiles !== undefined) assert.equal(count, 4112);
      assert.equal(file.readNow(2 * 4096, 4097, target, 0), -1);
      assert.equal(await file.read(2 * 4096, 8192, target, 0), 4096);
      assert.equal(await file.read(1 << 20, 10, target, 0), 0);
      await file.close();
    });
  }

  it('a closed handle is not read from, and closing waits for what is in flight', async () => {
    const file = await nodeFileSystem.open(path.join(base, 'closing'), 'exclusive');
    const source = Region.from(pattern(1 << 20, 1));
    const writes = Array.from({ length: 8 }, (_, index) => file.write(index << 20, 1 << 20, source, 0));
    await Promise.all([file.close(), file.close(), ...writes]);
    assert.equal(fs.statSync(path.join(base, 'closing')).size, 8 << 20);
    const target = new Region(10);
    assert.throws(
      () => file.readNow(0, 10, target, 0),
      (error) => isCaissonError(error, 'store-closed'),
    );
    await rejects(file.read(0, 10, target, 0), 'store-closed');
    await rejects(file.sync(), 'store-closed');
  });

  it('ranges outside the region are a defect of the caller, found before any byte moves', async () => {
    const file = await nodeFileSystem.open(path.join(base, 'ranges'), 'exclusive');
    const region = new Region(100);
    for (const [position, length, offset] of [
      [0, 101, 0],
      [0, 1, 100],
      [-1, 1, 0],
      [0, -1, 0],
      [0.5, 1, 0],
    ] as const) {
      await rejects(file.read(position, length, region, offset), 'assertion-failed');
      await rejects(file.write(position, length, region, offset), 'assertion-failed');
    }
    await file.close();
  });

  it('makes folders with their parents, and minds what is in the way', async () => {
    const deep = path.join(base, 'a/b/c');
    await Promise.all([nodeFileSystem.makeDirectory(deep), nodeFileSystem.makeDirectory(deep)]);
    assert.ok(fs.statSync(deep).isDirectory());
    fs.writeFileSync(path.join(base, 'file'), '');
    await assert.rejects(nodeFileSystem.makeDirectory(path.join(base, 'file')), (error) =>
      isCaissonError(error, 'object-exists'),
    );
    await assert.rejects(nodeFileSystem.makeDirectory(path.join(base, 'file/x')), (error) => isCaissonError(error));
    await nodeFileSystem.removeDirectory(path.join(base, 'a')); // not empty: stays
    assert.ok(fs.existsSync(deep));
  });

  it('an update needs an existing file and changes it in place', async () => {
    const name = path.join(base, 'update');
    await rejects(nodeFileSystem.open(name, 'update'), 'object-missing');
    fs.writeFileSync(name, 'hello');
    const file = await nodeFileSystem.open(name, 'update');
    await file.write(0, 1, Region.from(Uint8Array.of(0x4a)), 0);
    await file.close();
    assert.equal(fs.readFileSync(name, 'latin1'), 'Jello');
  });

  it('names the failures of the system', () => {
    for (const [errno, kind, code] of [
      ['ENOSPC', 'full', 'store-full'],
      ['EDQUOT', 'full', 'store-full'],
      ['EROFS', 'denied', 'store-read-only'],
      ['EACCES', 'denied', 'permission-missing'],
      ['ENOENT', 'invalid', 'object-missing'],
      ['EEXIST', 'invalid', 'object-exists'],
      ['EMFILE', 'transient', 'store-io'],
      ['EIO', 'io', 'store-io'],
    ] as const) {
      const error = fileError(Object.assign(new Error(errno), { code: errno }), 'write', '/x');
      assert.deepEqual([error.kind, error.code, error.details['errno']], [kind, code, errno]);
    }
  });
});

describe('file lock', () => {
  const ways = [
    ['flock', nativeFiles],
    ['socket', undefined],
  ] as const;
  for (const [way, files] of ways) {
    if (way === 'flock' && files === undefined) continue;

    it(`${way}: one holder, inside one process too`, async () => {
      const name = path.join(base, `lock-${way}`);
      const lock = await lockFile(name, files);
      assert.ok(lock);
      assert.equal(await lockFile(name, files), undefined);
      await lock.release();
      const again = await lockFile(name, files);
      assert.ok(again);
      await again.release();
    });

    it(`${way}: is free when its owner was killed`, async () => {
      const name = path.join(base, `kill-${way}`);
      const program = `
        import { lockFile } from ${JSON.stringify(new URL('./file-lock.ts', import.meta.url).href)};
        import { nativeFiles } from ${JSON.stringify(new URL('../sys/files.ts', import.meta.url).href)};
        const lock = await lockFile(${JSON.stringify(name)}, ${way === 'flock' ? 'nativeFiles' : 'undefined'});
        process.stdout.write(lock === undefined ? 'busy' : 'held');
        process.stdin.resume();`;
      const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
        stdio: ['pipe', 'pipe', 'ignore'],
      });
      const exited = once(child, 'exit');
      try {
        const [said] = (await once(child.stdout, 'data')) as [Buffer];
        assert.equal(said.toString(), 'held');
        assert.equal(await lockFile(name, files), undefined);
      } finally {
        child.kill('SIGKILL');
        await exited;
      }
      const lock = await lockFile(name, files);
      assert.ok(lock);
      await lock.release();
    });
  }

  it('flock: a lock file that was unlinked meanwhile does not count', async () => {
    if (nativeFiles === undefined) return;
    const name = path.join(base, 'unlinked');
    const first = await lockFile(name, nativeFiles);
    fs.unlinkSync(name);
    const second = await lockFile(name, nativeFiles);
    assert.ok(first);
    assert.ok(second, 'the new file is another lock');
    assert.equal(await lockFile(name, nativeFiles), undefined);
    await first.release();
    assert.equal(await lockFile(name, nativeFiles), undefined);
    await second.release();
  });
});
