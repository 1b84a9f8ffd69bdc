/** The command with volumes in a bucket: the whole life of one, and every mistake a person makes on the way there. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { Home } from '../support/caisson.ts';
import { FakeS3 } from '../support/fake-s3.ts';

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
