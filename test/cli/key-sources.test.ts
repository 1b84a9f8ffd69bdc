/** Volumes whose keys come from services: made, opened by what volumes.json remembers, shared by several, and every way it fails. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Home } from '../support/caisson.ts';
import { FakeKms } from '../support/fake-kms.ts';
import { FakeTang } from '../support/fake-tang.ts';
import { FakeVault } from '../support/fake-vault.ts';

const vault = new FakeVault();
const tang = new FakeTang();
const kms = new FakeKms();
before(async () => {
  await Promise.all([vault.start(), tang.start(), kms.start()]);
  vault.addKey('volumes');
  kms.keys.set('alias/volumes', Buffer.alloc(32, 7));
  kms.identities.set('AK', { secret: 'SK' });
});
after(() => {
  for (const server of [vault, tang, kms]) server.stop();
});

function vaultUrl(home: Home): string {
  return `vault:${vault.origin}/transit/volumes?token-file=${home.write('token', vault.addToken())}`;
}

const create = (home: Home, ...key: string[]): string[] => [
  ...['volume', 'create', 'data', '--size', '8M', '--store', home.store],
  ...key,
];
const unlock = ['volume', 'inspect', 'data', '--unlock'];

async function kindsOf(home: Home): Promise<string[]> {
  const { slots } = (await home.json(['key', 'ls', 'data'])) as unknown as { slots: { kind: string }[] };
  return slots.map(({ kind }) => kind);
}

test('a volume under a key of Vault opens by its name alone, and no secret is remembered', async (t) => {
  const home = new Home(t);
  const url = vaultUrl(home);
  await home.json(create(home, '--key', url));
  assert.deepEqual(await kindsOf(home), ['vault']);
  const { volumes } = (await home.json(['volume', 'ls'])) as unknown as { volumes: { key: object }[] };
  assert.deepEqual(volumes[0]?.key, { kind: 'vault', url });
  assert.match((await home.run(['key', 'ls', 'data'])).stdout, /^0 +vault/m);
  assert.notEqual((await home.json(unlock))['sealed'], null);
  const names = fs.readFileSync(path.join(home.folder, '.config/caisson/volumes.json'), 'utf8');
  assert.doesNotMatch(names, /hvs/);
  await home.json(['volume', 'rm', 'data', '--yes']);
});

test('keys of several services open one volume; one is taken away, one put in the place of another', async (t) => {
  const home = new Home(t);
  const url = vaultUrl(home);
  await home.json(create(home, '--key-file', home.keyFile()));
  await home.json(['key', 'add', 'data', '--new-key', url]);
  await home.json(['key', 'add', 'data', '--new-key', tang.url]);
  assert.deepEqual(await kindsOf(home), ['key-file', 'vault', 'tang']);
  await home.json(['key', 'rm', 'data', '0', '--key', tang.url]);
  assert.deepEqual(await kindsOf(home), ['vault', 'tang']);
  const lost = await home.error(unlock);
  assert.deepEqual([lost.exit, lost.code], [3, 'key-slot-missing']);
  assert.notEqual((await home.json([...unlock, '--key', url]))['sealed'], null);
  await home.json(['key', 'change', 'data', '1', '--key', url, '--new-key', tang.url]);
  assert.deepEqual(await kindsOf(home), ['tang', 'tang']);
  assert.notEqual((await home.json(unlock))['sealed'], null, 'the new key is remembered');
});

test('a volume under a key of AWS KMS is served, its clone under another service too', async (t) => {
  const home = new Home(t);
  Object.assign(home.environment, { AWS_ACCESS_KEY_ID: 'AK', AWS_SECRET_ACCESS_KEY: 'SK' });
  const url = `aws-kms:alias/volumes?region=eu-central-1&endpoint=${kms.origin}`;
  await home.json(create(home, '--key', url));
  const served = await home.serve(['data']);
  await home.json(['volume', 'clone', 'data', 'guest', '--new-key', tang.url]);
  served.child.kill('SIGTERM');
  await served.ended;
  const { sealed } = (await home.json(['volume', 'inspect', 'guest', '--unlock'])) as unknown as {
    sealed: object | null;
  };
  assert.notEqual(sealed, null);
  assert.notEqual((await home.json(unlock))['sealed'], null);
});

test('a service that is away, refuses or lost its key says so, and nothing half made stays behind', async (t) => {
  const home = new Home(t);
  const refused = await home.error(create(home, '--key', `vault:${vault.origin}/transit/none?token-file=/none`));
  assert.deepEqual([refused.exit, refused.code], [4, 'key-source-unavailable']);
  const away = await home.error(create(home, '--key', `tang:http://127.0.0.1:1?thumbprint=${tang.thumbprint}`));
  assert.deepEqual([away.exit, away.code], [4, 'key-source-unavailable']);
  const { volumes } = (await home.json(['volume', 'ls'])) as unknown as { volumes: object[] };
  assert.deepEqual(volumes, []);
  await home.json(create(home, '--key', vaultUrl(home)));
  vault.isSealed = true;
  const sealed = await home.error(unlock);
  vault.isSealed = false;
  assert.deepEqual([sealed.exit, sealed.code], [4, 'key-source-unavailable']);
  assert.match(sealed.message, /sealed/);
  vault.keys.clear();
  vault.addKey('volumes');
  const lost = await home.error(unlock);
  assert.deepEqual([lost.exit, lost.code], [4, 'key-wrong']);
});

test('a keystore sealed twice opens by either key, and holds the keys of several volumes', async (t) => {
  const home = new Home(t);
  const store = home.path('keys');
  const recovery = home.keyFile('recovery');
  await home.json(['key', 'generate', store, '--key', tang.url, '--new-key-file', recovery]);
  const byTang = `keystore:${store}?unlock=${encodeURIComponent(tang.url)}`;
  const byFile = `keystore:${store}?unlock=file:${recovery}`;
  await home.json(create(home, '--key', byTang));
  assert.deepEqual(await kindsOf(home), ['keystore']);
  assert.notEqual((await home.json(unlock))['sealed'], null);
  assert.notEqual((await home.json([...unlock, '--key', byFile]))['sealed'], null);
  const other = await home.error([...unlock, '--key', `${byFile}&name=other`]);
  assert.deepEqual([other.exit, other.code], [4, 'key-wrong']);
  const again = await home.error(['key', 'generate', store, '--key', tang.url]);
  assert.equal(again.code, 'store-io');
});

test('--key takes a file and asks for a passphrase; what it cannot be is refused', async (t) => {
  const home = new Home(t);
  const file = home.keyFile();
  await home.json(create(home, '--key', `file:${file}`));
  assert.deepEqual(await kindsOf(home), ['key-file']);
  assert.notEqual((await home.json(unlock))['sealed'], null);
  const asked = await home.error([...unlock, '--key', 'passphrase']);
  assert.deepEqual([asked.exit, asked.code], [4, 'key-source-unavailable']);
  for (const key of [
    'hunter2',
    'file:',
    'gcp-kms:x',
    'vault:https://host',
    'tang:http://x?thumbprint=a&token=hunter2',
  ]) {
    const refused = await home.error([...unlock, '--key', key]);
    assert.deepEqual([refused.exit, refused.code], [2, 'argument-invalid'], key);
    assert.doesNotMatch(`${refused.message} ${refused.remedy}`, /hunter2/);
  }
  const two = await home.error([...unlock, '--key', 'passphrase', '--key-file', file]);
  assert.deepEqual([two.exit, two.code], [2, 'argument-invalid']);
});
