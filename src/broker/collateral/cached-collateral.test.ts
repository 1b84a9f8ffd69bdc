import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { systemClock, type Clock } from '../../lib/clock.ts';
import { CaissonError } from '../../lib/errors.ts';
import { collateralFreshMilliseconds, collateralMissingMilliseconds } from '../../lib/limits.ts';
import type { Collateral, CollateralSource } from '../attest/collateral.ts';
import { decodeBundle, encodeBundle } from './bundle-format.ts';
import { cachedCollateral, type CacheOptions } from './cached-collateral.ts';
import { firstOf, newestOf, offlineBundle } from './offline-bundle.ts';

const start = Date.UTC(2026, 5, 15);

interface Vendor extends CollateralSource {
  readonly asked: string[];
  failure: CaissonError | undefined;
}

function vendor(clock: Clock): Vendor {
  const asked: string[] = [];
  return {
    asked,
    failure: undefined,
    async get(name) {
      const bytes = Buffer.from(`${name} ${asked.push(name)}`);
      await Promise.resolve();
      if (this.failure !== undefined) throw this.failure;
      return { bytes, obtainedAt: clock.wall() };
    },
  };
}

function setup(options: Partial<CacheOptions> = {}): {
  cache: CollateralSource;
  source: Vendor;
  wait: (by: number) => void;
} {
  let now = start;
  const clock: Clock = { ...systemClock, wall: () => now };
  const source = vendor(clock);
  return { cache: cachedCollateral({ source, clock, ...options }), source, wait: (by) => (now += by) };
}

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'caisson-collateral-'));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

const unanswered = new CaissonError('transient', 'collateral-missing', 'no answer');
const missing = new CaissonError('invalid', 'collateral-missing', 'not there');
const textOf = ({ bytes }: Collateral): string => Buffer.from(bytes).toString();

test('is asked once while it is fresh, and again after it', async () => {
  const { cache, source, wait } = setup();
  assert.equal(textOf(await cache.get('a')), 'a 1');
  wait(collateralFreshMilliseconds - 1);
  assert.equal(textOf(await cache.get('a')), 'a 1');
  wait(1);
  assert.equal(textOf(await cache.get('a')), 'a 2');
  assert.equal(source.asked.length, 2);
});

test('several that ask at one time cause one question', async () => {
  const { cache, source } = setup();
  const answers = await Promise.all([cache.get('a'), cache.get('a'), cache.get('b')]);
  assert.deepEqual(answers.map(textOf), ['a 1', 'a 1', 'b 2']);
  assert.deepEqual(source.asked, ['a', 'b']);
});

test('a date in the future is not fresh', async () => {
  const { cache, source, wait } = setup();
  await cache.get('a');
  wait(-1);
  await cache.get('a');
  assert.equal(source.asked.length, 2);
});

test('what never changes is not asked for again', async () => {
  const { cache, source, wait } = setup({ isImmutable: (name) => name === 'chip' });
  await cache.get('chip');
  wait(collateralFreshMilliseconds * 1000);
  await cache.get('chip');
  assert.equal(source.asked.length, 1);
});

test('while the vendor does not answer the last known stays in use', async () => {
  const { cache, source, wait } = setup();
  await cache.get('a');
  wait(collateralFreshMilliseconds);
  source.failure = unanswered;
  assert.equal(textOf(await cache.get('a')), 'a 1');
  await assert.rejects(async () => await cache.get('b'), unanswered);
  source.failure = undefined;
  assert.equal(textOf(await cache.get('b')), 'b 4');
});

test('what the vendor took back is not served from the cache', async () => {
  const { cache, source, wait } = setup();
  await cache.get('a');
  wait(collateralFreshMilliseconds);
  source.failure = missing;
  await assert.rejects(async () => await cache.get('a'), missing);
});

test('what is not there is not asked for again so soon', async () => {
  const { cache, source, wait } = setup();
  source.failure = missing;
  await assert.rejects(async () => await cache.get('a'), missing);
  wait(collateralMissingMilliseconds - 1);
  await assert.rejects(async () => await cache.get('a'), missing);
  assert.equal(source.asked.length, 1);
  wait(1);
  await assert.rejects(async () => await cache.get('a'), missing);
  assert.equal(source.asked.length, 2);
});

test('memory is bounded in number and in bytes; what was used longest ago goes', async () => {
  const { cache, source } = setup({ entriesMax: 2 });
  for (const name of ['a', 'b', 'a', 'c', 'a']) await cache.get(name);
  assert.deepEqual(source.asked, ['a', 'b', 'c']);
  await cache.get('b');
  assert.deepEqual(source.asked, ['a', 'b', 'c', 'b']);
  const fitting = setup({ bytesMax: 8 });
  for (const name of ['a', 'b', 'a', 'b']) await fitting.cache.get(name);
  assert.deepEqual(fitting.source.asked, ['a', 'b']);
  const small = setup({ bytesMax: 7 });
  for (const name of ['a', 'b', 'b', 'a']) await small.cache.get(name);
  assert.deepEqual(small.source.asked, ['a', 'b', 'a']);
});

test('files outlive the process, and only for their own name', async (t) => {
  const path = folder(t);
  const first = setup({ folder: path });
  await first.cache.get('a');
  const [file = ''] = readdirSync(path);
  const second = setup({ folder: path });
  assert.equal(textOf(await second.cache.get('a')), 'a 1');
  assert.deepEqual(second.source.asked, []);
  writeFileSync(join(path, file), encodeBundle([{ name: 'b', bytes: Buffer.from('no'), obtainedAt: start }]));
  const third = setup({ folder: path });
  await third.cache.get('a');
  assert.deepEqual(third.source.asked, ['a']);
});

test('a damaged file is as if it were not there', async (t) => {
  const path = folder(t);
  await setup({ folder: path }).cache.get('a');
  const [file = ''] = readdirSync(path);
  writeFileSync(join(path, file), readFileSync(join(path, file)).subarray(0, 40));
  const { cache, source } = setup({ folder: path });
  await cache.get('a');
  assert.deepEqual(source.asked, ['a']);
});

test('files are bounded', async (t) => {
  const path = folder(t);
  const { cache } = setup({ folder: path, entriesMax: 3 });
  for (let index = 0; index < 12; index++) await cache.get(`name-${index}`);
  assert.ok(readdirSync(path).length <= 3, readdirSync(path).join());
});

test('a folder that cannot be written makes the cache slow, not wrong', async (t) => {
  const { cache } = setup({ folder: join(folder(t), 'none', 'below') });
  assert.equal(textOf(await cache.get('a')), 'a 1');
});

test('a name that is no name of collateral makes no file', async (t) => {
  const path = folder(t);
  const { cache } = setup({ folder: path });
  await cache.get('../a');
  assert.deepEqual(readdirSync(path), []);
});

test('a bundle, and a folder of bundles, of which the later entry counts', async (t) => {
  const path = folder(t);
  const bundle = (text: string, obtainedAt: number): Uint8Array =>
    encodeBundle([{ name: 'a/b', bytes: Buffer.from(text), issuerChain: Buffer.from('chain'), obtainedAt }]);
  writeFileSync(join(path, '0.json'), bundle('first', start - 1000));
  writeFileSync(join(path, '1.json'), bundle('later', start + 1000));
  writeFileSync(join(path, '2.json'), bundle('sooner', start));
  writeFileSync(join(path, 'other.txt'), 'not one');
  const found = await (await offlineBundle(path)).get('a/b');
  assert.deepEqual([textOf(found), found.obtainedAt], ['later', start + 1000]);
  assert.equal(textOf(await (await offlineBundle(join(path, '2.json'))).get('a/b')), 'sooner');
  await assert.rejects(async () => await (await offlineBundle(path)).get('c'), { code: 'collateral-missing' });
  await assert.rejects(async () => await offlineBundle(join(path, 'none')), { code: 'configuration-invalid' });
  writeFileSync(join(path, '3.json'), '{}');
  await assert.rejects(async () => await offlineBundle(path), { code: 'format-invalid' });
});

test('of several sources the first that has it counts', async () => {
  const has = (text: string): CollateralSource => ({
    get: () => Promise.resolve({ bytes: Buffer.from(text), obtainedAt: start }),
  });
  const fails = (error: CaissonError): CollateralSource => ({
    get: async () => {
      throw error;
    },
  });
  assert.equal(textOf(await firstOf(fails(missing), has('second'), has('third')).get('a')), 'second');
  assert.equal(textOf(await firstOf(fails(unanswered), has('second')).get('a')), 'second');
  await assert.rejects(
    async () => await firstOf(fails(missing), fails(unanswered), fails(missing)).get('a'),
    unanswered,
  );
  await assert.rejects(async () => await firstOf(fails(missing), fails(missing)).get('a'), missing);
  await assert.rejects(async () => await firstOf().get('a'), { code: 'collateral-missing' });
  const untrusted = new CaissonError('integrity', 'collateral-untrusted', 'too large');
  await assert.rejects(async () => await firstOf(fails(untrusted), has('second')).get('a'), untrusted);
});

test('a fresh bundle is used as it is, of an old one and the vendor the newer counts', async () => {
  const at = (text: string, obtainedAt: number): CollateralSource => ({
    get: async () => ({ bytes: Buffer.from(text), obtainedAt }),
  });
  const clock: Clock = { ...systemClock, wall: () => start };
  const oldest = start - collateralFreshMilliseconds;
  const pick = async (bundle: CollateralSource, fetched: CollateralSource, isImmutable = false): Promise<string> =>
    textOf(await newestOf(bundle, fetched, { clock, isImmutable: () => isImmutable }).get('a'));
  const none = firstOf();
  assert.equal(await pick(at('bundle', oldest + 1), at('fetched', start)), 'bundle');
  assert.equal(await pick(at('bundle', oldest), at('fetched', start)), 'fetched');
  assert.equal(await pick(at('bundle', start + 1), at('fetched', start + 2)), 'fetched');
  assert.equal(await pick(at('bundle', oldest), at('fetched', oldest - 1)), 'bundle');
  assert.equal(await pick(at('bundle', oldest), at('fetched', start), true), 'bundle');
  assert.equal(await pick(none, at('fetched', oldest)), 'fetched');
  assert.equal(await pick(at('bundle', oldest), none), 'bundle');
  await assert.rejects(async () => await pick(none, none), { code: 'collateral-missing' });
});

test('a bundle reads as it was written', () => {
  const entries = [
    { name: 'a', bytes: Uint8Array.of(1, 2), obtainedAt: start },
    { name: 'b/c.d-e', bytes: new Uint8Array(0), issuerChain: Uint8Array.of(3), obtainedAt: start + 1000 },
  ];
  assert.deepEqual(decodeBundle(encodeBundle(entries)), entries);
});
