import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { isCaissonError } from '../lib/errors.ts';
import { SegmentDigester } from './segment-digester.ts';

const prefix = `${'a'.repeat(32)}/`;

test('digests files of any length, in part, at once, and fails by name', async () => {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-digest-'));
  const digester = new SegmentDigester(root);
  try {
    fs.mkdirSync(path.join(root, prefix, 'spool'), { recursive: true });
    const contents = [0, 1, 2 ** 20, 3 * 2 ** 20 + 5].map((length) => randomBytes(length));
    contents.forEach((content, index) => fs.writeFileSync(path.join(root, prefix, 'spool', `s${index}`), content));
    const digests = await Promise.all(
      contents.map((content, index) => digester.digest(prefix, `s${index}`, content.length)),
    );
    for (const [index, content] of contents.entries()) {
      assert.deepEqual(Buffer.from(digests[index] ?? []), createHash('sha256').update(content).digest());
    }
    const part = await digester.digest(prefix, 's3', 1000);
    assert.deepEqual(
      Buffer.from(part),
      createHash('sha256')
        .update(contents[3]?.subarray(0, 1000) ?? '')
        .digest(),
    );
    await assert.rejects(
      digester.digest(prefix, 'missing', 1),
      (error) => isCaissonError(error, 'store-io') && error.details['errno'] === 'ENOENT',
    );
    await assert.rejects(digester.digest(prefix, 's1', 2), (error) => isCaissonError(error, 'store-io'));
  } finally {
    await digester.close();
    fs.rmSync(root, { recursive: true });
  }
  await assert.rejects(digester.digest(prefix, 's0', 0), (error) => isCaissonError(error, 'volume-closed'));
});

test('only the worker steps back in priority', { skip: process.platform !== 'linux' }, async () => {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-digest-'));
  const digester = new SegmentDigester(root);
  try {
    fs.mkdirSync(path.join(root, prefix, 'spool'), { recursive: true });
    fs.writeFileSync(path.join(root, prefix, 'spool', 's'), 'x');
    await digester.digest(prefix, 's', 1);
    const nice = fs.readdirSync('/proc/self/task').map((thread) => {
      const fields = fs
        .readFileSync(`/proc/self/task/${thread}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ');
      return Number(fields[16]);
    });
    assert.ok(nice.includes(19), `priorities ${nice.join(' ')}`);
    assert.equal(os.getPriority(), nice[0]);
    assert.notEqual(nice[0], 19);
  } finally {
    await digester.close();
    fs.rmSync(root, { recursive: true });
  }
});
