import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { isCaissonError } from '../lib/errors.ts';
import { VolumeNames } from './volume-names.ts';

const entry = { store: 'dir:/srv', volumeId: '0'.repeat(32), key: { kind: 'passphrase' as const } };

function inFolder(act: (names: VolumeNames, file: string) => Promise<void>): () => Promise<void> {
  return async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-names-'));
    const file = path.join(folder, 'config', 'volumes.json');
    try {
      await act(new VolumeNames(file, async (_file, change) => change()), file);
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  };
}

test(
  'a missing file is an empty list; what is added is found again and the file is private',
  inFolder(async (names, file) => {
    assert.equal(names.list().size, 0);
    await names.add('data', entry);
    await names.add('alpha', { ...entry, key: { kind: 'key-file', path: '/k' } });
    assert.deepEqual([...names.list().keys()], ['alpha', 'data']);
    assert.deepEqual(names.find('data'), entry);
    assert.equal(fs.statSync(file).mode & 0o777, 0o600);
    assert.deepEqual(fs.readdirSync(path.dirname(file)), ['volumes.json']);
  }),
);

test(
  'taken, unknown and odd names',
  inFolder(async (names) => {
    await names.add('data', entry);
    await assert.rejects(names.add('data', entry), (error) => isCaissonError(error, 'name-exists'));
    await assert.rejects(names.add('Data', entry), (error) => isCaissonError(error, 'name-invalid'));
    await assert.rejects(names.add('__proto__', entry), (error) => isCaissonError(error, 'name-invalid'));
    assert.throws(
      () => names.find('other'),
      (error) => isCaissonError(error, 'name-missing'),
    );
    assert.throws(
      () => names.find('constructor'),
      (error) => isCaissonError(error, 'name-missing'),
    );
  }),
);

test(
  'a hint changes, a name goes',
  inFolder(async (names) => {
    await names.add('data', entry);
    await names.replaceKeyHint('data', { kind: 'key-file', path: '/k' });
    assert.equal(names.find('data').key.path, '/k');
    await names.remove('data');
    assert.equal(names.list().size, 0);
  }),
);

test(
  'a damaged file is refused, never taken for an empty one',
  inFolder(async (names, file) => {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    const damaged = [
      '',
      '{',
      '[]',
      '{"version":2,"volumes":{}}',
      '{"version":1,"volumes":{"A":{}}}',
      '{"version":1,"volumes":{},"more":1}',
      '{"version":1,"volumes":[]}',
      '{"version":1,"volumes":{"data":{"store":"dir:/a","volumeId":"x","key":{"kind":"none"}}}}',
      `{"version":1,"volumes":{"data":{"store":"dir:/a","volumeId":"${'0'.repeat(32)}","key":{"kind":"other"}}}}`,
      `{"version":1,"volumes":{"data":{"store":"dir:/a","volumeId":"${'0'.repeat(32)}","key":{"kind":"none","path":1}}}}`,
    ];
    for (const text of damaged) {
      fs.writeFileSync(file, text);
      assert.throws(
        () => names.list(),
        (error) => isCaissonError(error, 'configuration-invalid'),
        text,
      );
      await assert.rejects(names.add('data', entry), (error) => isCaissonError(error, 'configuration-invalid'));
      assert.equal(fs.readFileSync(file, 'utf8'), text);
    }
  }),
);
