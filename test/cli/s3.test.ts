/** The command with volumes in a bucket: the whole life of one, and every mistake a person makes on the way there. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { Home } from '../support/caisson.ts';
import { FakeS3 } from '../support/fake-s3.ts';
import { requireTool, run } from '../support/tools.ts';

let server: FakeS3;
before(async () => {
  server = await FakeS3.start();
});
after(() => server.stop());

function homeWith(t: TestContext, environment: Record<string, string>): Home {
  const home = new Home(t);
  Object.assign(home.environment, { AWS_EC2_METADATA_DISABLED: 'true', ...environment });
  return home;
}

const keys = { AWS_ACCESS_KEY_ID: 'AK', AWS_SECRET_ACCESS_KEY: 'SK' };
const url = (place: string): string => `s3://${place}?endpoint=http://127.0.0.1:${server.port}`;
const create = (home: Home, store: string): string[] => [
  ...['volume', 'create', 'data', '--size', '8M', '--store', store, '--key-file', home.keyFile()],
];

test('a volume in a bucket is made, listed, verified and removed', async (t) => {
  const home = homeWith(t, keys);
  await home.json(create(home, url('bucket/life')));
  const listed = (await home.json(['volume', 'ls'])) as unknown as { volumes: { store: string }[] };
  assert.match(JSON.stringify(listed), /s3:\/\/bucket\/life\?endpoint=/);
  assert.doesNotMatch(JSON.stringify(listed), /SK/);
  assert.deepEqual((await home.json(['volume', 'verify', 'data']))['findings'], []);
  await home.json(['volume', 'rm', 'data', '--yes']);
  assert.deepEqual([...server.objects.keys()], ['life/caisson-store']);
});

test('its snapshots, clones and erasure work in a bucket, and FLUSH waits for it unless told otherwise', async (t) => {
  if (!requireTool(t, 'qemu-io')) return;
  const home = homeWith(t, keys);
  await home.json(create(home, url('bucket/branch')));
  const details = (await home.json(['volume', 'inspect', 'data', '--unlock'])) as unknown as {
    sealed: { durability: string };
  };
  assert.equal(details.sealed.durability, 'remote');
  const served = await home.serve(['data']);
  const patterns = async (uri: string, ...commands: string[]): Promise<void> => {
    const mode = commands.some((command) => command.startsWith('write')) ? [] : ['-r'];
    const outcome = await run('qemu-io', [
      ...mode,
      '-f',
      'raw',
      ...commands.flatMap((command) => ['-c', command]),
      uri,
    ]);
    assert.equal(outcome.status, 0, outcome.output);
    assert.doesNotMatch(outcome.output, /verification failed/, outcome.output);
  };
  const uri = served.ready.volumes[0]?.uri ?? '';
  await patterns(uri, 'write -P 1 0 64k', 'flush');
  await home.json(['snapshot', 'create', 'data', 'monday']);
  await patterns(uri, 'write -P 2 0 64k', 'flush');
  const old = (await home.json(['attach', 'data@monday'])) as unknown as { uri: string };
  await patterns(old.uri, 'read -P 1 0 64k');
  await home.json(['volume', 'clone', 'data', 'test', '--snapshot', 'monday']);
  const { stdout } = await home.run(['snapshot', 'diff', 'data', 'monday', '--compact']);
  assert.equal(stdout, '0 65536 data\n');
  for (const name of ['data@monday', 'data']) await home.json(['detach', name]);
  await home.json(['volume', 'erase', 'data', '--yes']);
  const report = await home.json(['volume', 'verify', 'data', '--public']);
  assert.deepEqual([report['erased'], report['findings']], [true, []]);
  const clone = (await home.json(['attach', 'test'])) as unknown as { uri: string };
  await patterns(clone.uri, 'read -P 1 0 64k', 'write -P 3 0 64k', 'flush', 'read -P 3 0 64k');
});

interface StoreStatus {
  readonly stores: { store: string; requests: number; retries: number; sentBytes: number; receivedBytes: number }[];
  readonly readCache: { hits: number; misses: number; evictions: number; heldBytes: number; bytesMax: number } | null;
}

test('the daemon tells what went to a bucket and came from it, and what the read cache did', async (t) => {
  if (!requireTool(t, 'qemu-io')) return;
  const home = homeWith(t, keys);
  await home.json(create(home, url('bucket/counted')));
  const served = await home.serve(['data']);
  const uri = served.ready.volumes[0]?.uri ?? '';
  const { requests } = server;
  const before = requests.length;
  assert.equal((await run('qemu-io', ['-f', 'raw', '-c', 'write -P 5 0 2M', '-c', 'flush', uri])).status, 0);
  await home.json(['detach', 'data']);
  await home.json(['attach', 'data']);
  server.inject(({ method, key }) => method === 'HEAD' && key.includes('/segments/'), {
    ...{ kind: 'answer', status: 503, code: 'SlowDown' },
  });
  assert.equal((await run('qemu-io', ['-r', '-f', 'raw', '-c', 'read -P 5 0 2M', uri])).status, 0);
  const status = (await home.json(['status'])) as unknown as StoreStatus;
  const [store] = status.stores;
  assert.equal(status.stores.length, 1);
  assert.ok(store !== undefined && store.requests > requests.length - before);
  assert.equal(store.retries, 1);
  assert.ok(store.sentBytes > 2 ** 21 && store.receivedBytes > 2 ** 21, JSON.stringify(store));
  assert.ok(status.readCache !== null && status.readCache.misses > 0 && status.readCache.heldBytes >= 2 ** 21);
  assert.match(
    (await home.run(['status'])).stdout,
    /: \d+ requests \(1 throttled, 0 failed, 1 retries\), .* received\nread cache: /,
  );

  const page = (await home.run(['status', '--metrics'])).stdout;
  const value = (name: string, labels = ''): number => {
    const start = `${name}{store="${store.store}"${labels === '' ? '' : `,${labels}`}} `;
    const line = page.split('\n').find((text) => text.startsWith(start));
    assert.ok(line !== undefined, `${start} in ${page}`);
    return Number(line.slice(start.length));
  };
  assert.equal(value('caisson_store_retries_total'), 1);
  assert.equal(value('caisson_store_requests_total', 'operation="head",outcome="throttled"'), 1);
  const read = value('caisson_store_requests_total', 'operation="read",outcome="ok"');
  assert.equal(value('caisson_store_request_seconds_count', 'operation="read"'), read);
  assert.equal(value('caisson_store_request_seconds_bucket', 'operation="read",le="+Inf"'), read);
  assert.ok(read > 0);
  assert.ok(value('caisson_store_request_seconds_sum', 'operation="put"') > 0);
  assert.ok(value('caisson_store_sent_bytes_total') >= store.sentBytes);
  assert.ok(value('caisson_store_received_bytes_total') >= store.receivedBytes);
  assert.match(page, /^# TYPE caisson_store_request_seconds histogram$/m);
  for (const name of ['hits_total', 'misses_total', 'evictions_total', 'held_bytes', 'bytes_max'])
    assert.match(page, new RegExp(`^caisson_read_cache_${name} \\d+$`, 'm'));
  assert.doesNotMatch(page, /SK/);
});

test('each mistake is named, and says what to do', async (t) => {
  const home = homeWith(t, keys);
  server.objects.set('taken/photo.jpg', { bytes: new Uint8Array(3), etag: 'x' });
  for (const [environment, store, code] of [
    [keys, url('nobucket/x'), 'store-missing'],
    [keys, url('bucket/taken'), 'store-foreign'],
    [{ ...keys, AWS_ACCESS_KEY_ID: 'who' }, url('bucket/x'), 'store-credentials-refused'],
    [{ ...keys, AWS_SECRET_ACCESS_KEY: 'wrong' }, url('bucket/x'), 'store-credentials-refused'],
    [{ AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' }, url('bucket/x'), 'store-credentials-missing'],
    [keys, 's3://bucket/x', 'argument-invalid'],
    [keys, `${url('bucket/x')}&colour=blue`, 'argument-invalid'],
    [keys, 's3://AK:SK@bucket/x?region=a', 'argument-invalid'],
  ] as const) {
    Object.assign(home.environment, environment);
    const error = await home.error(create(home, store));
    assert.equal(error.code, code, store);
    assert.notEqual(error.remedy, null, code);
  }
});

test('a server that ignores conditions takes no volume', async (t) => {
  const home = homeWith(t, keys);
  server.honoursConditions = 'none';
  t.after(() => (server.honoursConditions = 'yes'));
  assert.equal((await home.error(create(home, url('bucket/y')))).code, 'store-conditions-ignored');
  assert.ok(![...server.objects.keys()].some((key) => key.startsWith('y/')));
});
