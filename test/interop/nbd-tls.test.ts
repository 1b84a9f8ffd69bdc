/** TLS of the NBD export against clients with GnuTLS (libnbd, qemu) and with OpenSSL (Node): certificates and pre-shared keys. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import type { NbdTlsOptions, TlsMode } from '../../src/export/nbd/nbd.ts';
import { infoData, metaContextData, type NbdClient } from '../support/nbd-client.ts';
import { mebibyte, serveMemory, until, type NbdFixture } from '../support/nbd-fixture.ts';
import { requireTool, runTool, toolOutput } from '../support/tools.ts';

const key = Buffer.from('00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff', 'hex');
const preSharedKey = (identity: string): Uint8Array | undefined => (identity === 'alice' ? key : undefined);

async function serveTls(t: TestContext, material: NbdTlsOptions, listenTls: TlsMode = 'require'): Promise<NbdFixture> {
  return await serveMemory(t, { tlsMaterial: material, listenTls });
}

/** A certificate authority, a server and a client below it, in the layout that libnbd and qemu look for. */
async function makeCertificates(folder: string): Promise<void> {
  const run = async (...parameters: string[]): Promise<string> => await toolOutput('openssl', parameters, { folder });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await run(
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    'ca-key.pem',
    '-out',
    'ca-cert.pem',
    '-subj',
    '/CN=test authority',
    '-days',
    '2',
  );
  for (const who of ['server', 'client']) {
    await run('req', ...newKey, '-keyout', `${who}-key.pem`, '-out', `${who}.csr`, '-subj', `/CN=${who}`);
    writeFileSync(
      join(folder, `${who}.ext`),
      `subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=${who}Auth\nkeyUsage=digitalSignature\n`,
    );
    const sign = [
      'x509',
      '-req',
      '-in',
      `${who}.csr`,
      '-CA',
      'ca-cert.pem',
      '-CAkey',
      'ca-key.pem',
      '-CAcreateserial',
      '-days',
      '2',
    ];
    await run(...sign, '-extfile', `${who}.ext`, '-out', `${who}-cert.pem`);
  }
}

function materialOf(folder: string, verifyClients: boolean): NbdTlsOptions {
  const read = (name: string): Buffer => readFileSync(join(folder, name));
  return {
    certificate: { cert: read('server-cert.pem'), key: read('server-key.pem') },
    ...(verifyClients ? { clientCa: read('ca-cert.pem') } : {}),
  };
}

/** STARTTLS, then the client speaks through TLS. */
async function upgrade(client: NbdClient, options: ConnectionOptions): Promise<void> {
  assert.equal((await client.option(5)).type, 1);
  client.socket.removeAllListeners('data');
  const secure = connectTls({ socket: client.socket, checkServerIdentity: () => undefined, ...options });
  await new Promise<void>((resolve, reject) => secure.once('secureConnect', resolve).once('error', reject));
  client.listen(secure);
}

const pskClient: ConnectionOptions = {
  pskCallback: () => ({ psk: key, identity: 'alice' }),
  ciphers: 'TLS_AES_128_GCM_SHA256',
  minVersion: 'TLSv1.3',
};

test('STARTTLS forgets what was negotiated before, and may not come twice', async (t) => {
  const { connect, device, server } = await serveTls(t, { preSharedKey }, 'allow');
  const client = await connect();
  await client.greet();
  assert.equal((await client.option(8)).type, 1);
  await client.optionReplies(10, metaContextData('disk', ['base:allocation']));
  await upgrade(client, pskClient);
  assert.equal((await client.option(5)).type, 0x80000003);
  assert.equal(
    (await client.option(10, metaContextData('disk', []))).type,
    0x80000003,
    'structured replies are forgotten',
  );
  assert.equal((await client.option(8)).type, 1);
  assert.equal((await client.optionReplies(7, infoData('disk'))).at(-1)!.type, 1);
  assert.equal(await client.ask(7, { length: 4096 }), 22, 'the context is forgotten');
  assert.equal(await client.ask(1, { offset: 100, payload: Buffer.alloc(3 * mebibyte, 5) }), 0);
  assert.deepEqual(await client.read(100, 3 * mebibyte), Buffer.alloc(3 * mebibyte, 5));
  assert.equal(device.openWrites, 0);
  assert.equal(server.metrics.tlsHandshakes, 1);
});

test('where TLS is required, it opens the door', async (t) => {
  const { connect, events } = await serveTls(t, { preSharedKey });
  const client = await connect();
  await client.greet();
  assert.equal((await client.option(3)).type, 0x80000005);
  await upgrade(client, pskClient);
  assert.equal((await client.optionReplies(7, infoData('disk'))).at(-1)!.type, 1);
  assert.equal(await client.ask(3), 0);
  assert.ok(events.some((event) => event.event === 'export-opened' && event.secure));
});

test('a stranger, a wrong key and garbage do not get in, and the server goes on', async (t) => {
  const { connect, server } = await serveTls(t, { preSharedKey });
  for (const pskCallback of [
    () => ({ psk: key, identity: 'mallory' }),
    () => ({ psk: Buffer.alloc(32), identity: 'alice' }),
  ]) {
    const client = await connect();
    await client.greet();
    await assert.rejects(upgrade(client, { ...pskClient, pskCallback }));
  }
  const client = await connect();
  await client.greet();
  await client.option(5);
  client.send(Buffer.alloc(1000, 0x41));
  await client.untilClosed();
  await until(() => server.metrics.tlsFailures === 3 && server.metrics.connectionsOpen === 0);
});

test('libnbd with certificates, client certificates verified', async (t) => {
  if (!requireTool(t, 'openssl', 'nbdinfo', 'nbdcopy')) return;
  const plain = await serveMemory(t);
  const good = join(plain.folder, 'good');
  const bad = join(plain.folder, 'bad');
  for (const folder of [good, bad]) {
    mkdirSync(folder);
    await makeCertificates(folder);
  }
  const { path } = await serveTls(t, materialOf(good, true));
  const uri = (certificates: string): string =>
    `nbds+unix://localhost/disk?socket=${path}&tls-certificates=${certificates}&tls-verify-peer=false`;
  const found = JSON.parse(await toolOutput('nbdinfo', ['--json', uri(good)]));
  assert.deepEqual([found.TLS, found.exports[0]['export-size']], [true, 8 * mebibyte]);
  assert.notEqual((await runTool('nbdinfo', [uri(bad)])).status, 0, 'another authority does not count');
  assert.notEqual((await runTool('nbdinfo', [`nbd+unix:///disk?socket=${path}`])).status, 0, 'nothing in the clear');
});

test('libnbd with pre-shared keys, copying through TLS both ways', async (t) => {
  if (!requireTool(t, 'psktool', 'nbdinfo', 'nbdcopy')) return;
  const keys = await serveMemory(t);
  const file = join(keys.folder, 'keys.psk');
  await toolOutput('psktool', ['-u', 'alice', '-p', file]);
  const made = Buffer.from(readFileSync(file, 'utf8').trim().split(':')[1]!, 'hex');
  const { path, device, folder } = await serveTls(t, {
    preSharedKey: (identity) => (identity === 'alice' ? made : undefined),
  });
  const uri = (who: string): string => `nbds+unix://${who}@localhost/disk?socket=${path}&tls-psk-file=${file}`;
  assert.equal(JSON.parse(await toolOutput('nbdinfo', ['--json', uri('alice')])).TLS, true);
  assert.notEqual((await runTool('nbdinfo', [uri('mallory')])).status, 0);
  const source = join(folder, 'source');
  const back = join(folder, 'back');
  const bytes = Buffer.alloc(8 * mebibyte, 'caisson ');
  writeFileSync(source, bytes);
  await toolOutput('nbdcopy', ['--connections=2', source, uri('alice')]);
  assert.equal(Buffer.compare(Buffer.from(device.content), bytes), 0);
  await toolOutput('nbdcopy', [uri('alice'), back]);
  assert.equal(Buffer.compare(readFileSync(back), bytes), 0);
});

test('qemu with certificates and with pre-shared keys', async (t) => {
  if (!requireTool(t, 'openssl', 'qemu-img', 'qemu-io')) return;
  const plain = await serveMemory(t);
  await makeCertificates(plain.folder);
  const { path } = await serveTls(t, { ...materialOf(plain.folder, true), preSharedKey });
  const image = `driver=nbd,server.type=unix,server.path=${path},export=disk,tls-creds=tls0,tls-hostname=localhost`;
  const certificates = `tls-creds-x509,id=tls0,endpoint=client,dir=${plain.folder}`;
  const commands = ['write -P 9 4k 1M', 'read -P 9 4k 1M', 'flush'].flatMap((command) => ['-c', command]);
  const printed = await toolOutput('qemu-io', ['--object', certificates, '--image-opts', ...commands, image]);
  assert.doesNotMatch(printed, /verification failed/);

  const only = await serveTls(t, { preSharedKey });
  writeFileSync(join(only.folder, 'keys.psk'), `alice:${key.toString('hex')}\n`);
  const keyed = `tls-creds-psk,id=tls0,endpoint=client,dir=${only.folder},username=alice`;
  const keyedImage = `driver=nbd,server.type=unix,server.path=${only.path},export=disk,tls-creds=tls0`;
  await toolOutput('qemu-img', ['info', '--object', keyed, '--image-opts', keyedImage]);
});
