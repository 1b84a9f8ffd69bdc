import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { rejects } from '../../test/conformance/store.ts';
import { CaissonError } from '../lib/errors.ts';
import { openStore, parseStoreUrl } from './open-store.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-open-store-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));

describe('open-store', () => {
  it('takes dir: and a plain path for the same', async () => {
    const folder = path.join(base, 'a');
    const store = await openStore(`dir:${folder}`, { create: true });
    assert.equal(store.url, `dir:${folder}`);
    await store.close();
    const again = await openStore(`${folder}/../a/`, { create: false });
    assert.equal(again.url, `dir:${folder}`);
    await again.close();
  });

  it('names the kinds it knows when it meets another', async () => {
    await assert.rejects(openStore('s4://bucket', { create: true }), (error) => {
      assert.ok(error instanceof CaissonError && error.code === 'argument-invalid');
      assert.match(error.remedy ?? '', /dir:/);
      return true;
    });
    for (const url of ['toString:x', 'constructor:', 'file:/x'])
      await rejects(openStore(url, { create: true }), 'argument-invalid');
  });

  it('refuses no folder, the root folder and a null byte', () => {
    for (const url of ['', 'dir:', '/', 'dir:/', 'dir:/tmp/..', 'a\0b']) {
      assert.throws(
        () => parseStoreUrl(url),
        (error) => error instanceof CaissonError && error.code === 'argument-invalid',
        url,
      );
    }
  });

  it('a relative path is one below the working folder', () => {
    assert.deepEqual(parseStoreUrl('dir:x/y'), { scheme: 'dir', location: path.resolve('x/y') });
    assert.deepEqual(parseStoreUrl('./a:b'), { scheme: 'dir', location: path.resolve('a:b') });
  });
});
