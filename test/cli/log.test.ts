/** `caisson log …` by the real command, on copies of a release log that hold and that do not. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { toHex } from '../../src/lib/hex.ts';
import { encodeHead, encodeLeaf } from '../../src/wire/release-log.ts';
import { Home } from '../support/caisson.ts';
import { entryAt, logKey, MemoryLog, otherLogKey } from '../support/log-file.ts';

const key = toHex(logKey.publicKey);

async function writeCopy(home: Home, name: string, log: MemoryLog): Promise<void> {
  fs.writeFileSync(home.path(name), await log.file());
}

test('a copy is verified, with and without its key, and a later copy continues the head that was saved', async (t) => {
  const home = new Home(t);
  await writeCopy(home, 'early.log', new MemoryLog(7));
  await writeCopy(home, 'late.log', new MemoryLog(12));
  const report = await home.json(['log', 'verify', 'early.log', '--key', key, '--save-head', 'seen.head']);
  assert.deepEqual(
    [report['size'], report['key'], report['isKeyGiven'], report['isContinuation'], report['headCount']],
    [7, key, true, false, 1],
  );
  assert.deepEqual(report['kinds'], { 'anchor-advance': 2, refusal: 2, release: 3 });
  fs.writeFileSync(home.path('key.txt'), `${key}\n`);
  for (const since of ['seen.head', 'early.log']) {
    const later = await home.json(['log', 'verify', 'late.log', '--key', 'key.txt', '--since', since]);
    assert.deepEqual([later['size'], later['isContinuation']], [12, true]);
  }
  const text = await home.run(['log', 'verify', 'late.log']);
  assert.equal(text.code, 0);
  assert.match(text.stdout, /the log holds/);
  assert.match(text.stdout, /from the copy itself/);
  assert.match(text.stdout, /earlier head: none given/);
});

test('a log that was changed, cut, or of another key is refused with exit code 5', async (t) => {
  const home = new Home(t);
  const log = new MemoryLog(7);
  await writeCopy(home, 'good.log', log);
  const good = fs.readFileSync(home.path('good.log'), 'utf8');
  fs.writeFileSync(home.path('edited.log'), good.replace('key-3', 'key-X'));
  fs.writeFileSync(home.path('cut.log'), good.substring(0, good.lastIndexOf('\n', good.length - 2) + 1));
  fs.writeFileSync(home.path('other.head'), encodeHead(new MemoryLog(9).head()));
  for (const args of [
    ['edited.log'],
    ['cut.log'],
    ['good.log', '--key', toHex(otherLogKey.publicKey)],
    ['good.log', '--since', 'other.head'],
  ]) {
    assert.equal((await home.error(['log', 'verify', ...args])).code, 'log-tampered', args.join(' '));
    assert.equal((await home.run(['log', 'verify', ...args])).code, 5, args.join(' '));
    assert.equal((await home.error(['log', 'show', ...args])).code, 'log-tampered', args.join(' '));
  }
  assert.ok(!fs.existsSync(home.path('seen.head')));
});

test('lines are listed by kind and tenant, and cannot pretend to be others', async (t) => {
  const home = new Home(t);
  const log = new MemoryLog(5);
  log.append({ ...entryAt(5), kind: 'refusal', tenant: 'evil\n6  forged', facts: { rule: '\u001b[2J\nforged' } });
  await writeCopy(home, 'some.log', log);
  const shown = await home.json(['log', 'show', 'some.log', '--kind', 'refusal']);
  assert.deepEqual(
    (shown['entries'] as unknown as { index: number }[]).map(({ index }) => index),
    [1, 4, 5],
  );
  const few = await home.json(['log', 'show', 'some.log', '--tenant', 'main', '--from', '1', '--count', '2']);
  assert.deepEqual([few['matching'], (few['entries'] as unknown as unknown[]).length], [4, 2]);
  const text = await home.run(['log', 'show', 'some.log']);
  assert.equal(text.stdout.trimEnd().split('\n').length, 6);
  assert.ok(!text.stdout.includes('\u001b'));
  assert.equal((await home.error(['log', 'show', 'some.log', '--count', 'x'])).code, 'argument-invalid');
});

test('proofs are made from a copy and checked by themselves', async (t) => {
  const home = new Home(t);
  await writeCopy(home, 'early.log', new MemoryLog(7));
  await writeCopy(home, 'late.log', new MemoryLog(300));
  const inclusion = await home.run(['log', 'prove', 'late.log', '211']);
  fs.writeFileSync(home.path('line.proof'), inclusion.stdout);
  const line = await home.json(['log', 'check-proof', 'line.proof', '--key', key]);
  assert.deepEqual(
    [line['kind'], line['size'], (line['entry'] as unknown as { index: number }).index],
    ['inclusion', 300, 211],
  );
  const consistency = await home.run(['log', 'prove', 'late.log', '--since', 'early.log']);
  fs.writeFileSync(home.path('more.proof'), consistency.stdout);
  const more = await home.json(['log', 'check-proof', 'more.proof']);
  assert.deepEqual([more['kind'], more['from'], more['size'], more['isKeyGiven']], ['consistency', 7, 300, false]);
  fs.writeFileSync(home.path('bad.proof'), inclusion.stdout.replace('key-211', 'key-212'));
  assert.equal((await home.error(['log', 'check-proof', 'bad.proof'])).code, 'log-tampered');
  assert.equal((await home.error(['log', 'prove', 'late.log', '300'])).code, 'range-outside');
  assert.equal((await home.error(['log', 'prove', 'late.log'])).code, 'argument-invalid');
});

test('what is no log, or not there, is named', async (t) => {
  const home = new Home(t);
  fs.writeFileSync(home.path('no.log'), 'hello\n');
  fs.writeFileSync(home.path('new.log'), '{"format":"caisson-log-9"}\n');
  fs.writeFileSync(home.path('some.bin'), encodeLeaf(entryAt(0), 0));
  await writeCopy(home, 'good.log', new MemoryLog(1));
  for (const [args, code] of [
    [['verify', 'no.log'], 'format-invalid'],
    [['verify', 'new.log'], 'format-version'],
    [['verify', 'missing.log'], 'name-missing'],
    [['verify', 'good.log', '--key', 'no.log'], 'argument-invalid'],
    [['verify', 'good.log', '--key', 'missing.key'], 'name-missing'],
    [['verify', 'good.log', '--since', 'some.bin'], 'format-invalid'],
    [['verify', 'good.log', '--save-head', 'no/folder.head'], 'store-io'],
    [['check-proof', 'no.log'], 'format-invalid'],
    [['check-proof', 'missing.proof'], 'name-missing'],
  ] as const)
    assert.equal((await home.error(['log', ...args])).code, code, args.join(' '));
});
