/** Crypto-erase at the command line: its receipt, what it refuses, and what a receipt check refuses. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { Home } from '../support/caisson.ts';

test('an erased volume is gone for every key, and its receipt convinces whoever has nothing else', async (context) => {
  const home = new Home(context);
  await home.createVolume('data');
  await home.json(['snapshot', 'create', 'data', 'monday']);
  await home.json(['volume', 'clone', 'data', 'test']);
  const old = home.path('old');
  fs.cpSync(home.store, old, { recursive: true });
  const file = home.path('receipt.json');
  const receipt = await home.json(['volume', 'erase', 'data', '--yes', '--receipt', file]);
  const written = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>;
  assert.deepEqual([written['format'], written['manifest']], ['caisson-erase-receipt', receipt['manifest']]);

  const inspected = await home.json(['volume', 'inspect', 'data']);
  assert.equal((inspected['lineage'] as unknown as { state: string }).state, 'erased');
  for (const args of [
    ['serve', 'data'],
    ['serve', 'data@monday'],
    ['snapshot', 'ls', 'data'],
    ['key', 'rm', 'data', '0'],
  ]) {
    const refused = await home.error(args);
    assert.deepEqual([refused.exit, refused.code], [4, 'volume-erased'], args.join(' '));
  }
  for (const args of [
    ['volume', 'verify', 'data', '--public'],
    ['volume', 'verify', 'data'],
  ]) {
    const report = await home.json(args);
    assert.deepEqual([report['erased'], report['findings'], report['freshness']], [true, [], 'current']);
    assert.equal((report['receipt'] as unknown as { manifest: string }).manifest, receipt['manifest']);
  }
  assert.match((await home.run(['volume', 'verify', 'data', '--public'])).stdout, /data is erased/);
  await home.serve(['test']);
  // The same receipt again, for who lost the file.
  const again = await home.json(['volume', 'erase', 'data', '--yes']);
  assert.equal(again['manifestDigest'], receipt['manifestDigest']);

  const elsewhere = new Home(context);
  const checked = await elsewhere.json(['volume', 'verify', '--receipt', file]);
  assert.deepEqual([checked['sound'], checked['volumeId']], [true, receipt['volumeId']]);
  assert.match((await elsewhere.run(['volume', 'verify', '--receipt', file])).stdout, /the receipt is sound/);
  await home.json(['volume', 'verify', 'data', '--receipt', file]);

  // An old copy of the store has the keys, and the anchor knows better.
  await home.run(['stop']);
  fs.rmSync(home.store, { recursive: true });
  fs.renameSync(old, home.store);
  const back = await home.error(['serve', 'data']);
  assert.deepEqual([back.exit, back.code], [6, 'rolled-back']);
});

test('an erasure that nobody confirmed, or that may not begin, destroys nothing', async (context) => {
  const home = new Home(context);
  await home.createVolume('data');
  const wrongKey = home.keyFile('wrong');
  const taken = home.write('taken.json', 'something of mine');
  const erase = ['volume', 'erase', 'data'];
  const file = home.path('receipt.json');
  const refusals: [number, string, string[]][] = [
    [2, 'argument-invalid', erase],
    [3, 'name-missing', ['volume', 'erase', 'nobody', '--yes']],
    [2, 'name-invalid', ['volume', 'erase', 'data@monday', '--yes']],
    [4, 'key-wrong', [...erase, '--yes', '--key-file', wrongKey, '--receipt', file]],
    [2, 'object-exists', [...erase, '--yes', '--receipt', taken]],
    [2, 'argument-invalid', [...erase, '--yes', '--receipt', home.path('no/such/folder/receipt.json')]],
  ];
  for (const [exit, code, args] of refusals) {
    const refused = await home.error(args);
    assert.deepEqual([refused.exit, refused.code], [exit, code], args.join(' '));
  }
  assert.equal(fs.readFileSync(taken, 'utf8'), 'something of mine');
  assert.ok(!fs.existsSync(file), 'a receipt of nothing must not stay');
  await home.serve(['data']);
  const open = await home.error([...erase, '--yes']);
  assert.deepEqual([open.exit, open.code], [7, 'volume-busy']);
  assert.match(open.remedy ?? '', /caisson detach data/);
  const removed = await home.error(['volume', 'rm', 'data', '--yes']);
  assert.equal(removed.code, 'volume-busy');
  await home.json(['snapshot', 'create', 'data', 'monday']);
  await home.json(['attach', 'data@monday']);
  await home.json(['detach', 'data']);
  const exported = await home.error([...erase, '--yes']);
  assert.deepEqual([exported.exit, exported.code], [7, 'volume-busy']);
  assert.match(exported.remedy ?? '', /caisson detach data@monday/);
  await home.json(['detach', 'data@monday']);

  fs.rmSync(home.path('.local'), { recursive: true });
  const unanchored = await home.error([...erase, '--yes']);
  assert.deepEqual([unanchored.exit, unanchored.code], [6, 'anchor-missing']);
  await home.json([...erase, '--yes', '--accept-missing-anchor', '--keep-objects']);
  await home.json(['volume', 'rm', 'data', '--yes']);
});

test('a receipt that was changed, is none, or is of another volume is refused', async (context) => {
  const home = new Home(context);
  for (const name of ['data', 'other']) await home.createVolume(name);
  const file = home.path('receipt.json');
  await home.json(['volume', 'erase', 'data', '--yes', '--receipt', file]);
  const good = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>;
  const bytes = Buffer.from(good['manifest'] as string, 'base64');
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  const bad = (change: Record<string, unknown>): string =>
    home.write('bad.json', JSON.stringify({ ...good, ...change }));
  const { volumes } = (await home.json(['volume', 'ls'])) as unknown as {
    volumes: { name: string; volumeId: string }[];
  };
  const otherId = volumes.find(({ name }) => name === 'other')?.volumeId;
  const refusals: [number, string, () => string[]][] = [
    [5, 'manifest-tampered', () => [bad({ manifest: bytes.toString('base64') })]],
    [5, 'manifest-tampered', () => [bad({ time: 0 })]],
    [5, 'manifest-tampered', () => [bad({ volumeId: otherId })]],
    [5, 'manifest-tampered', () => [bad({ manifest: '' })]],
    [5, 'format-invalid', () => [bad({ manifest: undefined })]],
    [9, 'format-version', () => [bad({ version: 2 })]],
    [5, 'format-invalid', () => [home.write('bad.json', '{"format":')]],
    [5, 'format-invalid', () => [home.write('bad.json', 'null')]],
    [3, 'object-missing', () => [home.path('nothing.json')]],
    [5, 'manifest-tampered', () => [file, 'other']],
    [3, 'name-missing', () => [file, 'nobody']],
  ];
  for (const [exit, code, argsOf] of refusals) {
    const args = argsOf();
    const refused = await home.error(['volume', 'verify', '--receipt', ...args]);
    assert.deepEqual([refused.exit, refused.code], [exit, code], `${args.join(' ')}: ${refused.message}`);
  }
  const nothing = await home.error(['volume', 'verify']);
  assert.deepEqual([nothing.exit, nothing.code], [2, 'argument-invalid']);
  await home.json(['volume', 'verify', '--receipt', file]);
});
