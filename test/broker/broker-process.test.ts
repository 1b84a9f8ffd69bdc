/** A broker as a process: its start without any configuration, kill -9 under load, and what it refuses to start with. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BrokerAnchor } from '../../src/anchor/broker-anchor.ts';
import { BrokerClient } from '../../src/broker-client/broker-client.ts';
import { parseBrokerConfiguration } from '../../src/broker/configuration.ts';
import { systemRandom } from '../../src/crypto/random.ts';
import { patientClock } from '../../src/lib/clock.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { stateAt, volumeId } from '../conformance/anchor.ts';
import { rejects } from '../conformance/store.ts';
import { Home } from '../support/caisson.ts';
import { startCliBroker } from '../support/cli-broker.ts';
import { startTestBroker } from '../support/test-broker.ts';
import { openSqliteDatabase } from '../../src/broker/state/sqlite-database.ts';

test('a broker makes what it needs, keeps it private, and finds it again', async (t) => {
  const home = new Home(t);
  const first = await startCliBroker(home);
  const state = home.path('broker');
  for (const name of ['admin.token', 'master.key', 'authority.key', 'broker.sqlite'])
    assert.equal(fs.statSync(`${state}/${name}`).mode & 0o777, 0o600, name);
  const token = fs.readFileSync(`${state}/admin.token`, 'utf8').trim();
  await first.admin('tenant-add', 'acme', '--save-token', home.path('acme.token'));
  assert.equal(fs.statSync(home.path('acme.token')).mode & 0o777, 0o600);
  await assert.rejects(first.admin('tenant-add', 'acme', '--save-token', home.path('again.token')));
  assert.ok(!fs.existsSync(home.path('again.token')), 'a refused request leaves no file in the way of the next');
  assert.equal(await first.stop(), 0);
  assert.ok(!first.stderr().includes(token), 'the log names no token');
  const second = await startCliBroker(home);
  assert.equal(second.identity, first.identity);
  assert.deepEqual((await second.admin('tenant-ls'))['tenants'], ['acme']);
  second.child.kill('SIGKILL');
  fs.writeFileSync(`${state}/master.key`, `${'7'.repeat(63)}8\n`);
  await assert.rejects(startCliBroker(home), /key-wrong|not the master key/);
});

test('a client believes no other certificate, and no other broker', async (t) => {
  const broker = await startTestBroker();
  const other = await startTestBroker();
  t.after(() => Promise.all([broker.close(), other.close()]));
  const at = (trust: object, brokerId?: Uint8Array): Promise<unknown> => {
    const client = new BrokerClient({ url: broker.url, trust, brokerId, clock: patientClock, random: systemRandom });
    const source = {
      technology: 'tpm',
      describe: '',
      gather: async () => assert.fail('evidence for a stranger'),
    } as const;
    return client.release({ tenant: 'acme', key: 'data' }, source).finally(() => client.close());
  };
  await rejects(at({ authority: other.authority }), 'broker-untrusted');
  await rejects(at({}), 'broker-untrusted');
  await rejects(at({ fingerprint: '0'.repeat(64) }), 'broker-untrusted');
  await rejects(at({}, new Uint8Array(32)), 'broker-untrusted');
});

test('an advance that was answered is there after kill -9, and nothing is there twice', async (t) => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'caisson-kill-'));
  const after = `${folder}-after`;
  t.after(() => [folder, after].forEach((path) => fs.rmSync(path, { recursive: true, force: true })));
  const file = `${folder}/broker.sqlite`;
  const broker = await startTestBroker({ database: await openSqliteDatabase({ file }) });
  const access = broker.access('data');
  const anchor = new BrokerAnchor({ access, clock: patientClock });
  for (let sequence = 1; sequence <= 20; sequence++) await anchor.advance(stateAt(1, 1, sequence));
  // What a killed process leaves: the files as they are now, with nothing closed.
  fs.cpSync(folder, after, { recursive: true });
  access.close();
  await broker.close();
  const survivor = await openSqliteDatabase({ file: `${after}/broker.sqlite` });
  assert.equal((await survivor.anchor('acme', volumeId))?.sequence, 20);
  const leaves = await survivor.logLeaves(0, 1000);
  assert.equal(leaves.filter(({ bytes }) => new TextDecoder().decode(bytes).includes('"anchor-advance"')).length, 20);
  await survivor.close();
});

test('a configuration is strict, and names the line', () => {
  const refused = (text: string, words: RegExp): void =>
    assert.throws(
      () => parseBrokerConfiguration(text, 'broker.yaml'),
      (error) => isCaissonError(error, 'configuration-invalid') && words.test(error.message),
      text,
    );
  assert.equal(parseBrokerConfiguration('', 'broker.yaml').listen, '127.0.0.1:7443');
  refused('lisen: 1.2.3.4:1\n', /broker\.yaml:1: lisen: there is no such field/);
  refused('logLevel: info\nlisten: nowhere\n', /broker\.yaml:2: listen/);
  refused('listen: 1.2.3.4:1\nlisten: 1.2.3.4:2\n', /broker\.yaml:\d/);
  refused('limits: {address: {perSecond: -1, burst: 1}}\n', /perSecond/);
  refused('a: &a [1]\nb: [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n', /broker\.yaml/);
});
