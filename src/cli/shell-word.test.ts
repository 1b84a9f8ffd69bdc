import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { shellWord } from './shell-word.ts';

test('a plain store stays as it is', () => {
  assert.equal(shellWord('dir:/srv/volumes'), 'dir:/srv/volumes');
  assert.equal(shellWord('block:/dev/sdb'), 'block:/dev/sdb');
});

test('a shell reads every word back as one, whatever is in it', () => {
  for (const text of [
    's3://bucket/p?endpoint=http://host:9000&region=us-east-1',
    "dir:/it's here",
    'dir:/$(id);`id`',
    '',
  ]) {
    const read = execFileSync('sh', ['-c', `printf %s ${shellWord(text)}`], { encoding: 'utf8' });
    assert.equal(read, text);
  }
});
