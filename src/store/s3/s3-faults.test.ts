/** What the store makes of servers that fail, lie, are somebody else's, or are gone for a while. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { pattern, rejects } from '../../../test/conformance/store.ts';
import { FakeS3 } from '../../../test/support/fake-s3.ts';
import { JumpClock } from '../../../test/support/jump-clock.ts';
import { systemRandom } from '../../crypto/random.ts';
import { isCaissonError } from '../../lib/errors.ts';
import { Region } from '../../lib/region.ts';
import * as paths from '../paths.ts';
import { openS3Store } from './open-s3-store.ts';
import type { S3StoreOptions } from './open-s3-store.ts';
import type { S3Store } from './s3-store.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-s3-faults-'));
const prefix = paths.volumePrefix(new Uint8Array(16).fill(3));
const head = paths.headKey(prefix);
const key = paths.segmentKey(prefix, new Uint8Array(16).fill(4));
const keys = { AWS_ACCESS_KEY_ID: 'AK', AWS_SECRET_ACCESS_KEY: 'SK' };
let server: FakeS3;
let clock: JumpClock;
const opened: S3Store[] = [];

before(() => fs.mkdirSync(base, { recursive: true }));
after(() => fs.rmSync(base, { recursive: true, force: true }));
beforeEach(async () => {
  server = await FakeS3.start();
  clock = new JumpClock();
});
afterEach(async () => {
  for (const store of opened.splice(0)) await store.close();
  await server.stop();
});

async function open(options: Partial<S3StoreOptions> = {}, where = 'bucket/p', port = server.port): Promise<S3Store> {
  const url = `//${where}?endpoint=http://127.0.0.1:${port}`;
  const store = await openS3Store(url, {
    ...{ create: true, environment: keys, spoolFolder: base, random: systemRandom, clock },
    ...options,
  });
  opened.push(store);
  return store;
}

describe('s3 outages', () => {
  it('ten minutes of 503 make an operation wait, and it goes on by itself', async () => {
    const store = await open();
    await store.create(key, pattern(100, 1));
    server.inject(() => clock.monotonic() < 600_000, { kind: 'answer', status: 503, code: 'SlowDown' }, Infinity);
    assert.deepEqual(await store.get(key, 1000), pattern(100, 1));
    assert.ok(clock.monotonic() >= 600_000 && clock.monotonic() < 700_000, `${clock.monotonic()} ms`);
    assert.ok(server.requests.length < 200, `${server.requests.length} requests`);
  });

  it('after a quarter of an hour the caller hears of it, by a kind that says "later"', async () => {
    const store = await open();
    server.inject(() => true, { kind: 'hang-up', applies: false }, Infinity);
    await assert.rejects(store.create(key, pattern(10, 1)), (error) => {
      assert.ok(isCaissonError(error, 'store-unreachable'));
      assert.equal(error.kind, 'transient');
      return true;
    });
    assert.ok(clock.monotonic() > 800_000 && clock.monotonic() <= 900_000, `${clock.monotonic()} ms`);
  });

  it('an address where nobody answers is named within seconds', async () => {
    const gone = await FakeS3.start();
    await gone.stop();
    await rejects(open({}, 'bucket', gone.port), 'store-unreachable');
    assert.ok(clock.monotonic() <= 15_000, `${clock.monotonic()} ms`);
  });

  it('closing the store ends every wait', async () => {
    const store = await open();
    server.requests.length = 0;
    server.inject(() => true, { kind: 'answer', status: 500, code: 'InternalError' }, Infinity);
    clock.isStopped = true;
    const waiting = assert.rejects(store.get(key, 10), (error) => isCaissonError(error, 'store-closed'));
    while (server.requests.length < 1) await clock.turn();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await store.close();
    await waiting;
  });

  it('a page of a list that fails is asked for again alone', async () => {
    const store = await open();
    server.listPageKeysMax = 3;
    const wanted: string[] = [];
    for (let id = 0; id < 10; id++) {
      wanted.push(paths.segmentKey(prefix, new Uint8Array(16).fill(id)));
      await store.create(wanted[id]!, pattern(id, 1));
    }
    server.requests.length = 0;
    const isThird = (): boolean => server.countOf('GET') === 3;
    server.inject(isThird, { kind: 'answer', status: 500, code: 'InternalError' });
    const found: string[] = [];
    for await (const object of store.list(prefix)) found.push(object.key);
    assert.deepEqual(found, wanted);
    assert.equal(server.countOf('GET'), 5);
  });

  it('a read goes on where the connection broke', async () => {
    const store = await open();
    await store.create(key, pattern(50_000, 1));
    const reader = await store.open(key);
    server.requests.length = 0;
    server.inject('GET', { kind: 'cut', bytes: 20_000 });
    const target = new Region(40_000);
    await reader.read(5_000, 40_000, target, 0);
    assert.deepEqual(target.bytes, pattern(50_000, 1).subarray(5_000, 45_000));
    const ranges = server.requests.map(({ headers }) => headers.range);
    assert.equal(ranges[0], 'bytes=5000-44999');
    assert.match(ranges[1] ?? '', /^bytes=(?!5000)\d+-44999$/);
  });

  it('silence on a connection ends the attempt, not the operation', async () => {
    const store = await open({ idleMilliseconds: 60 });
    await store.create(key, pattern(100, 1));
    server.inject('GET', { kind: 'stall' });
    assert.deepEqual(await store.get(key, 100), pattern(100, 1));
  });
});

describe('s3 lost answers', () => {
  for (const fault of [
    { kind: 'hang-up', applies: true },
    { kind: 'hang-up', applies: false },
    { kind: 'answer', status: 500, code: 'InternalError', applies: true },
    { kind: 'answer', status: 500, code: 'InternalError' },
    { kind: 'answer', status: 409, code: 'ConditionalRequestConflict' },
    { kind: 'answer', status: 503, code: 'SlowDown' },
  ] as const) {
    it(`create, swap and publish succeed once: ${JSON.stringify(fault)}`, async () => {
      const store = await open();
      await store.lock(prefix).then((lock) => lock.release());
      server.inject('PUT', fault);
      await store.create(key, pattern(100, 1));
      await rejects(store.create(key, pattern(100, 1)), 'object-exists');
      server.inject('PUT', fault);
      const first = await store.swap(head, null, pattern(50, 1));
      server.inject('PUT', fault);
      const second = await store.swap(head, first, pattern(50, 2));
      assert.deepEqual(await store.getVersioned(head, 100), { bytes: pattern(50, 2), version: second });
      await rejects(store.swap(head, first, pattern(50, 3)), 'object-changed');
      server.inject('PUT', fault);
      const published = paths.segmentKey(prefix, new Uint8Array(16).fill(9));
      await publish(store, 'aa', published, pattern(70_000, 3));
      assert.deepEqual(await store.get(published, 70_000), pattern(70_000, 3));
    });
  }

  it('a swap that somebody else won meanwhile is lost', async () => {
    const store = await open();
    const first = await store.swap(head, null, pattern(50, 1));
    const name = `p/${head}`;
    server.inject('PUT', { kind: 'answer', status: 500, code: 'InternalError' });
    server.inject((request) => request.method === 'GET' && request.key === name, {
      kind: 'before',
      run: () => server.objects.set(name, { bytes: pattern(50, 9), etag: 'theirs' }),
    });
    await rejects(store.swap(head, first, pattern(50, 2)), 'object-changed');
    assert.deepEqual(await store.get(head, 100), pattern(50, 9));
  });

  it('a refusal after a lost answer is a success if the bytes are ours: the first attempt came late', async () => {
    const store = await open();
    await store.lock(prefix).then((lock) => lock.release());
    const bytes = pattern(50, 1);
    server.inject('PUT', { kind: 'hang-up', applies: false });
    server.inject('PUT', {
      kind: 'before',
      run: () => server.objects.set(`p/${head}`, { bytes: Uint8Array.from(bytes), etag: 'late' }),
    });
    assert.equal(await store.swap(head, null, bytes), 'late');
    server.inject('PUT', { kind: 'hang-up', applies: false });
    server.inject('PUT', {
      kind: 'before',
      run: () => server.objects.set(`p/${head}`, { bytes: pattern(50, 9), etag: 'theirs' }),
    });
    await rejects(store.swap(head, 'late', pattern(50, 2)), 'object-changed');
  });

  it('at most eight spool files are on their way', async () => {
    const store = await open();
    await store.lock(prefix).then((lock) => lock.release());
    let running = 0;
    let most = 0;
    const isUpload = (request: { method: string; key: string }): boolean => {
      if (request.method === 'PUT') most = Math.max(most, ++running);
      return false;
    };
    server.inject(isUpload, { kind: 'stall' }, Infinity);
    const bytes = pattern(5000, 1);
    const names = Array.from({ length: 24 }, (_, index) => index);
    await Promise.all(
      names.map(async (id) => {
        await publish(store, `f${id}`, paths.segmentKey(prefix, new Uint8Array(16).fill(id + 50)), bytes);
        // Its answer is here, and the next request has yet to reach the server.
        running--;
      }),
    );
    assert.ok(most > 1 && most <= 8, `${most} at one time`);
  });
});

describe('s3 refusals', () => {
  it('wrong credentials are named, each kind', async () => {
    const environment = (access: string, secret: string): Partial<S3StoreOptions> => ({
      environment: { AWS_ACCESS_KEY_ID: access, AWS_SECRET_ACCESS_KEY: secret },
    });
    await rejects(open(environment('nobody', 'SK')), 'store-credentials-refused');
    await rejects(open(environment('AK', 'wrong')), 'store-credentials-refused');
    await rejects(
      open({ environment: { AWS_EC2_METADATA_DISABLED: 'true', HOME: base } }),
      'store-credentials-missing',
    );
    server.inject('GET', { kind: 'answer', status: 403, code: 'AccessDenied' });
    await rejects(open(), 'store-access-denied');
    assert.equal(server.objects.size, 0);
  });

  it('a bucket that is not there, or lies in another region, is named', async () => {
    await rejects(open({}, 'other-bucket/p'), 'store-missing');
    server.inject('GET', { kind: 'answer', status: 301, code: 'PermanentRedirect' });
    await rejects(open(), 'store-region-wrong');
  });

  it('credentials that expire in mid-write are renewed once, for HEAD too', async () => {
    const file = path.join(base, 'credentials');
    const write = (access: string): void =>
      fs.writeFileSync(file, `[default]\naws_access_key_id = ${access}\naws_secret_access_key=SK\n`);
    write('AK');
    server.identities.set('AK2', { secret: 'SK' }).set('AK3', { secret: 'SK' });
    const store = await open({ environment: { AWS_SHARED_CREDENTIALS_FILE: file } });
    await store.create(head, pattern(10, 1));
    write('AK2');
    server.identities.get('AK')!.expired = true;
    await store.create(key, pattern(10, 1));
    write('AK3');
    server.identities.get('AK2')!.expired = true;
    assert.equal((await store.stat(key)).size, 10);
    server.identities.get('AK3')!.expired = true;
    await rejects(
      store.create(paths.segmentKey(prefix, new Uint8Array(16)), pattern(1, 1)),
      'store-credentials-expired',
    );
    await rejects(store.stat(key), 'store-credentials-expired');
  });

  it("a clock that is wrong takes the server's time; if that does not help, it is named", async () => {
    server.skewMilliseconds = server.toldSkewMilliseconds = 7_200_000;
    const store = await open();
    await store.create(key, pattern(10, 1));
    assert.ok(server.requests.length < 15, 'the time is taken once');
    server.skewMilliseconds = -7_200_000;
    await rejects(store.get(key, 10), 'store-clock-skewed');
  });

  it('a bucket with something else in it is left alone', async () => {
    server.objects.set('p/photo.jpg', { bytes: pattern(10, 1), etag: 'x' });
    await rejects(open(), 'store-foreign');
    await rejects(open({ create: false }), 'store-foreign');
    server.objects.set('q/caisson-store', { bytes: pattern(10, 1), etag: 'x' });
    await rejects(open({}, 'bucket/q'), 'store-foreign');
    server.objects.set('r/caisson-store', { bytes: new TextEncoder().encode('caisson store 2\n'), etag: 'x' });
    await rejects(open({}, 'bucket/r'), 'format-version');
    await rejects(open({ create: false }, 'bucket/new'), 'store-missing');
    assert.equal(server.objects.size, 3);
    await open({}, 'bucket/new');
    await open({ create: false }, 'bucket/new');
  });

  it('foreign names below the prefix are never listed', async () => {
    const store = await open();
    for (const name of ['p/a b/<&>"', 'p/UPPER/x', 'p/caisson-probe/0', `p/${prefix}segments/00/`])
      server.objects.set(name, { bytes: pattern(1, 1), etag: 'x' });
    await store.create(key, pattern(1, 1));
    const found: string[] = [];
    for await (const object of store.list('')) found.push(object.key);
    assert.deepEqual(found, [key]);
  });

  it('an object that vanished, was cut off, or grew is named', async () => {
    const store = await open();
    await store.create(key, pattern(5000, 1));
    const reader = await store.open(key);
    const target = new Region(5000);
    server.inject('GET', { kind: 'short', bytes: 100 });
    await rejects(reader.read(0, 5000, target, 0), 'format-invalid');
    server.objects.get(`p/${key}`)!.bytes = pattern(40, 1);
    await rejects(reader.read(4096, 904, target, 0), 'format-invalid');
    server.objects.delete(`p/${key}`);
    await rejects(reader.read(0, 10, target, 0), 'object-missing');
    await rejects(store.open(key), 'object-missing');
  });

  it('a server that is no S3 server is named', async () => {
    server.inject('GET', {
      kind: 'before',
      run: () => server.objects.set('p/caisson-store', { bytes: pattern(9, 1), etag: '' }),
    });
    await rejects(open(), 'protocol-violation');
  });
});

describe('s3 probe', () => {
  for (const honours of ['none', 'create-only', 'not-implemented'] as const) {
    it(`a server that honours ${honours} is refused for writing, not for reading`, async () => {
      const before = await open();
      await before.create(key, pattern(10, 1));
      server.honoursConditions = honours;
      const store = await open({ create: false });
      assert.deepEqual(await store.get(key, 10), pattern(10, 1));
      await rejects(store.lock(prefix), 'store-conditions-ignored');
      await rejects(store.create(head, pattern(10, 1)), 'store-conditions-ignored');
      await rejects(store.swap(head, null, pattern(10, 1)), 'store-conditions-ignored');
      await rejects(publish(store, 'aa', head, pattern(10, 1)), 'store-conditions-ignored');
      await rejects(open({}, 'bucket/new'), 'store-conditions-ignored');
      assert.deepEqual([...server.objects.keys()].sort(), [`p/${key}`, 'p/caisson-store'].sort());
      server.honoursConditions = 'yes';
      await (await store.lock(prefix)).release();
    });
  }

  it('finds out that versions are compared without quotes', async () => {
    server.comparesUnquoted = true;
    const store = await open();
    const first = await store.swap(head, null, pattern(10, 1));
    await store.swap(head, first, pattern(10, 2));
    await rejects(store.swap(head, first, pattern(10, 3)), 'object-changed');
  });

  it('asks once, and reads ask nothing', async () => {
    await (await open()).close();
    server.requests.length = 0;
    const store = await open({ create: false });
    await rejects(store.get(key, 1), 'object-missing');
    assert.equal(server.countOf('PUT'), 0);
    await Promise.all([store.create(key, pattern(1, 1)), store.create(head, pattern(1, 1))]);
    assert.equal(server.countOf('PUT', 'caisson-probe'), 4);
    assert.equal(server.countOf('DELETE', 'caisson-probe'), 1);
  });
});

async function publish(store: S3Store, name: string, as: string, bytes: Uint8Array): Promise<void> {
  const spool = await store.spool(prefix);
  const file = await spool.create(name);
  await file.write(0, Region.from(bytes), 0, bytes.length);
  await file.close();
  try {
    await spool.publish(name, as);
  } finally {
    await spool.remove(name);
  }
}
