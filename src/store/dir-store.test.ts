import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { pattern, rejects, storeConformance } from '../../test/conformance/store.ts';
import { isCaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import { openDirStore } from './dir-store.ts';
import { nodeFileSystem } from './node-file-system.ts';
import * as paths from './paths.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-dir-store-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));
let folderCount = 0;
const newFolder = (): string => path.join(base, String(++folderCount));

const prefix = paths.volumePrefix(new Uint8Array(16).fill(1));
const head = paths.headKey(prefix);
const digest = new Uint8Array(32).fill(2);

storeConformance('dir on the real file system', async () => {
  const root = newFolder();
  return {
    open: () => openDirStore(nodeFileSystem, root, { create: true }),
    dispose: async () => fs.rmSync(root, { recursive: true, force: true }),
  };
});

describe('dir store', () => {
  it('never creates a store that it was not told to create', async () => {
    const root = newFolder();
    await rejects(openDirStore(nodeFileSystem, root, { create: false }), 'store-missing');
    assert.ok(!fs.existsSync(root));
    fs.mkdirSync(root);
    await rejects(openDirStore(nodeFileSystem, root, { create: false }), 'store-missing');
    assert.deepEqual(fs.readdirSync(root), []);
  });

  it('refuses a foreign folder in both modes, and leaves it as it is', async () => {
    const root = newFolder();
    fs.mkdirSync(root);
    fs.writeFileSync(path.join(root, 'photo.jpg'), 'x');
    await rejects(openDirStore(nodeFileSystem, root, { create: false }), 'store-foreign');
    await rejects(openDirStore(nodeFileSystem, root, { create: true }), 'store-foreign');
    assert.deepEqual(fs.readdirSync(root), ['photo.jpg']);
  });

  it('takes a fresh file system and the leftovers of an interrupted creation as empty', async () => {
    const root = newFolder();
    fs.mkdirSync(path.join(root, 'lost+found'), { recursive: true });
    fs.writeFileSync(path.join(root, 'caisson-store.new'), 'caiss');
    await (await openDirStore(nodeFileSystem, root, { create: true })).close();
    assert.equal(fs.readFileSync(path.join(root, 'caisson-store'), 'latin1'), 'caisson store 1\n');
    await (await openDirStore(nodeFileSystem, root, { create: false })).close();
  });

  it('tells another version from a foreign marker', async () => {
    for (const [text, code] of [
      ['caisson store 2\n', 'format-version'],
      ['caisson store 1', 'store-foreign'],
      ['caisson store 1\nmore\n', 'store-foreign'],
      ['', 'store-foreign'],
      ['x'.repeat(10_000), 'store-foreign'],
    ] as const) {
      const root = newFolder();
      fs.mkdirSync(root);
      fs.writeFileSync(path.join(root, 'caisson-store'), text);
      await rejects(openDirStore(nodeFileSystem, root, { create: true }), code);
    }
  });

  it('a root that is a file is not a store', async () => {
    const root = newFolder();
    fs.writeFileSync(root, 'x');
    await assert.rejects(openDirStore(nodeFileSystem, root, { create: true }), (error) => isCaissonError(error));
  });

  it('leaves nothing behind when the last object and the lock of a volume are gone', async () => {
    const root = newFolder();
    const store = await openDirStore(nodeFileSystem, root, { create: true });
    const lock = await store.lock(prefix);
    await store.swap(head, null, pattern(10, 1));
    await store.create(paths.manifestKey(prefix, 1, digest), pattern(10, 1));
    await (await (await store.spool(prefix)).create('aa')).close();
    await (await store.spool(prefix)).remove('aa');
    await store.remove(paths.manifestKey(prefix, 1, digest));
    await store.remove(head);
    await lock.release();
    await store.close();
    assert.deepEqual(fs.readdirSync(root).sort(), ['caisson-store', 'tmp']);
  });

  it('removes the temporary files of the dead, not of the living', async () => {
    const root = newFolder();
    const living = await openDirStore(nodeFileSystem, root, { create: true });
    await living.create(paths.manifestKey(prefix, 1, digest), pattern(10, 1)); // owns tmp/0
    fs.writeFileSync(path.join(root, 'tmp/0/in-use'), 'x');
    fs.mkdirSync(path.join(root, 'tmp/7'));
    fs.writeFileSync(path.join(root, 'tmp/7/left-over'), 'x');
    fs.writeFileSync(path.join(root, 'tmp/7.lock'), '');
    const other = await openDirStore(nodeFileSystem, root, { create: false });
    const lock = await other.lock(prefix);
    assert.deepEqual(fs.readdirSync(path.join(root, 'tmp/0')), ['in-use']);
    assert.deepEqual(fs.readdirSync(path.join(root, 'tmp/7')), []);
    await lock.release();
    await living.close();
    await (await other.lock(prefix)).release();
    assert.deepEqual(fs.readdirSync(path.join(root, 'tmp/0')), []);
    await other.close();
  });

  it('names the object that was cut off', async () => {
    const root = newFolder();
    const store = await openDirStore(nodeFileSystem, root, { create: true });
    const key = paths.manifestKey(prefix, 1, digest);
    await store.create(key, pattern(5000, 1));
    const reader = await store.open(key);
    fs.truncateSync(path.join(root, key), 100);
    await assert.rejects(reader.read(0, 5000, new Region(5000), 0), (error) => {
      assert.ok(isCaissonError(error, 'format-invalid'));
      assert.equal(error.details['key'], key);
      assert.equal(error.details['count'], 100);
      return true;
    });
    await reader.close();
    await store.close();
  });
});
