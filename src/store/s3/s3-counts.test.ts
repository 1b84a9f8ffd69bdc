/** What is counted of the requests to a bucket, compared with what the server saw. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, beforeEach, test } from 'node:test';
import { pattern, rejects } from '../../../test/conformance/store.ts';
import { FakeS3 } from '../../../test/support/fake-s3.ts';
import { JumpClock } from '../../../test/support/jump-clock.ts';
import { systemRandom } from '../../crypto/random.ts';
import { s3DirectBytesMin } from '../../lib/limits.ts';
import { Region } from '../../lib/region.ts';
import * as paths from '../paths.ts';
import { latencyMilliseconds, requestOutcomes, StoreCounts, storeOperations, StoreTraffic } from '../store-counts.ts';
import type { RequestOutcome, StoreOperation } from '../store-counts.ts';
import { openS3Store } from './open-s3-store.ts';
import type { S3Store } from './s3-store.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-s3-counts-'));
const prefix = paths.volumePrefix(new Uint8Array(16).fill(3));
const key = paths.segmentKey(prefix, new Uint8Array(16).fill(4));
const head = paths.headKey(prefix);
const identity = { AWS_ACCESS_KEY_ID: 'AK', AWS_SECRET_ACCESS_KEY: 'SK' };
let server: FakeS3;
let counts: StoreCounts;
let store: S3Store;
let traffic: StoreTraffic;

beforeEach(async () => {
  server = await FakeS3.start();
  counts = new StoreCounts();
  store = await open();
  traffic = counts.trafficOf(store.url);
});
afterEach(async () => {
  await store.close();
  await server.stop();
});
after(() => fs.rmSync(base, { recursive: true, force: true }));

function open(): Promise<S3Store> {
  return openS3Store(`//bucket/p?endpoint=http://127.0.0.1:${server.port}`, {
    ...{ create: true, environment: identity, spoolFolder: base, random: systemRandom, counts },
    clock: new JumpClock(),
  });
}

/** What the act added to a number. */
async function added(read: () => number, act: () => Promise<unknown>): Promise<number> {
  const before = read();
  await act();
  return read() - before;
}

const of = (operation: StoreOperation, outcome: RequestOutcome) => (): number =>
  traffic.operations[operation].outcomes[outcome];

function total(): number {
  const each = storeOperations.flatMap((operation) => Object.values(traffic.operations[operation].outcomes));
  return each.reduce((sum, count) => sum + count, 0);
}

test('every request is counted once, by operation and outcome, and so are the bytes of bodies', async () => {
  const bytes = pattern(3 * s3DirectBytesMin, 1);
  await store.create(key, bytes);
  const region = new Region(bytes.length);
  const reader = await store.open(key);
  // A small range by the ordinary way, a large one straight into its place.
  for (const length of [100, 2 * s3DirectBytesMin])
    assert.equal(
      await added(
        () => traffic.receivedBytes,
        () => reader.read(10, length, region, 0),
      ),
      length,
    );
  assert.deepEqual([of('read', 'ok')(), of('head', 'ok')()], [2, 1]);
  const version = await store.swap(head, null, pattern(50, 2));
  assert.equal(
    await added(
      () => traffic.receivedBytes,
      () => store.get(head, 1000),
    ),
    50,
  );
  assert.equal(
    await added(of('put', 'condition'), () => rejects(store.swap(head, 'other', pattern(5, 3)), 'object-changed')),
    1,
  );
  assert.equal(
    await added(
      () => traffic.sentBytes,
      () => store.swap(head, version, pattern(70, 4)),
    ),
    70,
  );
  await store.remove(head);
  assert.equal(await added(of('get', 'missing'), () => rejects(store.get(head, 1000), 'object-missing')), 1);
  const list = async (): Promise<void> => {
    for await (const found of store.list(prefix)) assert.equal(found.key, key);
  };
  assert.equal(await added(of('list', 'ok'), list), 1);
  assert.equal(of('delete', 'ok')(), server.countOf('DELETE'));
  assert.equal(
    traffic.sentBytes,
    server.requests.reduce((sum, { body }) => sum + body.length, 0),
  );
  assert.equal(total(), server.requests.length);
  assert.equal(traffic.retries, 0);
});

test('what fails and is made again', async () => {
  await store.create(key, pattern(1000, 1));
  const again = async (): Promise<void> => assert.deepEqual(await store.get(key, 1000), pattern(1000, 1));
  server.inject('GET', { kind: 'answer', status: 503, code: 'SlowDown' }, 3);
  assert.equal(await added(() => traffic.retries, again), 3);
  server.inject('GET', { kind: 'answer', status: 500, code: 'InternalError' });
  assert.equal(await added(() => traffic.retries, again), 1);
  server.inject('GET', { kind: 'hang-up', applies: false });
  assert.equal(await added(() => traffic.retries, again), 1);
  assert.deepEqual([of('get', 'throttled')(), of('get', 'failed')(), of('get', 'unanswered')()], [3, 1, 1]);
  server.inject('GET', { kind: 'answer', status: 403, code: 'AccessDenied' });
  assert.equal(await added(of('get', 'refused'), () => rejects(store.get(key, 1000), 'store-access-denied')), 1);
  // Refused for its time it is made once more, with the server's.
  server.inject('GET', { kind: 'answer', status: 403, code: 'RequestTimeTooSkewed' });
  assert.equal(await added(() => traffic.retries, again), 1);
  // A body that is cut off counts as far as it came, and only the rest is asked for again.
  const reader = await store.open(key);
  server.inject('GET', { kind: 'cut', bytes: 300 });
  const region = new Region(1000);
  assert.equal(
    await added(
      () => traffic.receivedBytes,
      () => reader.read(0, 1000, region, 0),
    ),
    1000,
  );
  assert.deepEqual([of('read', 'unanswered')(), of('read', 'ok')()], [1, 1]);
  assert.equal(total(), server.requests.length);
});

test('a store that is opened again goes on with its numbers, and every request has a latency', async () => {
  await store.create(key, pattern(1000, 1));
  await store.close();
  const before = total();
  store = await open();
  await store.get(key, 1000);
  assert.ok(total() > before);
  assert.deepEqual([...counts.traffic().keys()], [store.url]);
  for (const operation of storeOperations) {
    const { outcomes, latencies } = traffic.operations[operation];
    const sum = (numbers: readonly number[]): number => numbers.reduce((left, right) => left + right, 0);
    assert.equal(sum(latencies), sum(requestOutcomes.map((outcome) => outcomes[outcome])));
  }
});

test('a latency is in the first bucket whose bound it does not exceed, and places are bounded', () => {
  const counted = new StoreTraffic();
  const last = latencyMilliseconds.at(-1)!;
  for (const milliseconds of [0, 2, 2.1, last, last + 1]) counted.requested('get', 'ok', milliseconds);
  const { latencies, milliseconds } = counted.operations.get;
  assert.deepEqual(latencies, [2, 1, ...Array(latencyMilliseconds.length - 3).fill(0), 1, 1]);
  assert.equal(milliseconds, 2 * last + 5.1);
  const many = new StoreCounts();
  for (let place = 0; place < 1000; place++) many.trafficOf(`s3://bucket/${place}`).retried();
  assert.equal(many.traffic().size, 257);
  assert.equal(many.trafficOf('s3://bucket/999').retries, 744);
  assert.equal(many.trafficOf('s3://bucket/1').retries, 1);
});
