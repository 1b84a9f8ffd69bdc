/** The daemon as a process: what it exports, whom it admits, and how it reacts to signals. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { test } from 'node:test';
import { Home } from '../support/caisson.ts';
import { requireTool, run } from '../support/tools.ts';

async function eventually(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`never: ${what}`);
}

test('what is written over NBD is there after SIGTERM and a new start', async (context) => {
  if (!requireTool(context, 'nbdcopy')) return;
  const home = new Home(context);
  await home.createVolume('data');
  const served = await home.serve(['data']);
  const [volume] = served.ready.volumes;
  assert.ok(volume !== undefined);
  assert.equal(fs.statSync(volume.socket).mode & 0o777, 0o600);
  assert.equal(fs.statSync(served.ready.adminSocket).mode & 0o777, 0o600);
  const image = home.path('image');
  fs.writeFileSync(image, crypto.getRandomValues(new Uint8Array(65536)));
  fs.truncateSync(image, 16 * 2 ** 20);
  assert.equal((await run('nbdcopy', ['--flush', image, volume.uri])).status, 0);
  served.child.kill('SIGTERM');
  const { code, stderr } = await served.ended;
  assert.equal(code, 0, stderr);
  assert.match(stderr, /"msg":"stopped"/);
  assert.deepEqual([fs.existsSync(volume.socket), fs.existsSync(served.ready.adminSocket)], [false, false]);
  const report = await home.json(['volume', 'verify', 'data']);
  assert.deepEqual(report['findings'], []);
  const again = await home.serve(['data', '--read-only']);
  const copy = home.path('copy');
  assert.equal((await run('nbdcopy', [volume.uri, copy])).status, 0);
  assert.ok(fs.readFileSync(copy).equals(fs.readFileSync(image)));
  again.child.kill('SIGINT');
  assert.equal((await again.ended).code, 0);
});

test('a daemon that was killed leaves sockets that the next one replaces', async (context) => {
  const home = new Home(context);
  await home.createVolume('data');
  const first = await home.serve(['data']);
  first.child.kill('SIGKILL');
  await first.ended;
  const socket = first.ready.volumes[0]?.socket ?? '';
  assert.ok(fs.existsSync(socket) && fs.existsSync(first.ready.adminSocket));
  const gone = await home.error(['status']);
  assert.equal(gone.code, 'daemon-unreachable');
  const second = await home.serve(['data']);
  assert.equal((await home.json(['status']))['pid'], second.child.pid);
});

test('a socket path that is taken is left alone', async (context) => {
  const home = new Home(context);
  await home.createVolume('data');
  const file = home.write('taken', 'mine');
  const occupied = await home.error(['serve', 'data', '--socket', file]);
  assert.deepEqual([occupied.exit, occupied.code], [7, 'socket-in-use']);
  assert.equal(fs.readFileSync(file, 'utf8'), 'mine');
  const listening = home.path('listening');
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(listening, resolve));
  context.after(() => server.close());
  const busy = await home.error(['serve', 'data', '--socket', listening]);
  assert.deepEqual([busy.exit, busy.code], [7, 'socket-in-use']);
  assert.ok(fs.existsSync(listening));
  const long = await home.error(['serve', 'data', '--socket', home.path('x'.repeat(120))]);
  assert.deepEqual([long.exit, long.code], [2, 'argument-invalid']);
  // Nothing of the failed starts is in the way of a good one.
  await home.serve(['data']);
});

test('one daemon a folder; others are told how to join it', async (context) => {
  const home = new Home(context);
  await home.createVolume('data');
  await home.createVolume('logs');
  await home.serve(['data']);
  const second = await home.error(['serve', 'logs']);
  assert.deepEqual([second.exit, second.code], [7, 'socket-in-use']);
  assert.match(second.remedy ?? '', /caisson attach/);
  const attached = await home.json(['attach', 'logs', '--socket', home.path('l.sock')]);
  assert.equal(attached['socket'], home.path('l.sock'));
  const { volumes } = (await home.json(['volume', 'ls'])) as unknown as { volumes: { name: string; open: boolean }[] };
  assert.deepEqual(
    volumes.map(({ name, open }) => [name, open]),
    [
      ['data', true],
      ['logs', true],
    ],
  );
  assert.equal((await home.error(['attach', 'logs'])).code, 'volume-busy');
  assert.equal((await home.error(['volume', 'rm', 'logs', '--yes'])).code, 'volume-busy');
  await home.json(['detach', 'logs']);
  assert.equal((await home.error(['detach', 'logs'])).code, 'volume-missing');
  await home.json(['volume', 'rm', 'logs', '--yes']);
});

test('an open volume is resized, inspected, verified and re-keyed through the daemon', async (context) => {
  if (!requireTool(context, 'nbdinfo')) return;
  const home = new Home(context);
  await home.createVolume('data');
  const { ready } = await home.serve(['data']);
  const resized = await home.json(['volume', 'resize', 'data', '--size', '32M']);
  assert.equal((resized['sealed'] as unknown as { size: number }).size, 32 * 2 ** 20);
  assert.match((await run('nbdinfo', ['--size', ready.volumes[0]?.uri ?? ''])).output, /33554432/);
  const inspected = await home.json(['volume', 'inspect', 'data']);
  assert.equal(inspected['open'], true);
  const report = await home.json(['volume', 'verify', 'data']);
  assert.deepEqual([report['public'], report['findings']], [false, []]);
  const slot = await home.json(['key', 'add', 'data', '--new-key-file', home.keyFile('second')]);
  assert.equal(slot['slot'], 1);
  await home.json(['key', 'rm', 'data', '1']);
  const shrunk = await home.error(['volume', 'resize', 'data', '--size', '4M']);
  assert.deepEqual([shrunk.exit, shrunk.code], [2, 'argument-invalid']);
  await home.json(['volume', 'resize', 'data', '--size', '4M', '--yes']);
});

test('SIGHUP reloads the level and the list; a faulty file changes nothing', async (context) => {
  const home = new Home(context);
  for (const name of ['one', 'two', 'three']) await home.createVolume(name);
  const configuration = (text: string): string => home.write('.config/caisson/config.yaml', text);
  configuration('volumes: [one]\n');
  const served = await home.serve([]);
  const names = async (): Promise<string> => {
    const { volumes } = (await home.json(['status'])) as unknown as { volumes: { name: string }[] };
    return volumes
      .map(({ name }) => name)
      .sort()
      .join(' ');
  };
  await home.json(['attach', 'three']);
  assert.equal(await names(), 'one three');
  configuration('volumes: [two]\nlogLevel: debug\n');
  served.child.kill('SIGHUP');
  await eventually('the new list is served', async () => (await names()) === 'three two');
  configuration('volumes: [two\n');
  served.child.kill('SIGHUP');
  await eventually('the fault is logged', () => served.stderr().includes('the configuration was not reloaded'));
  configuration('volumes: [two, nobody]\n');
  served.child.kill('SIGHUP');
  await eventually('the missing name is logged', () => served.stderr().includes('"code":"name-missing"'));
  assert.equal(await names(), 'three two');
  served.child.kill('SIGTERM');
  assert.equal((await served.ended).code, 0);
});

test('readiness is told on a descriptor, and a failed start tells nothing', async (context) => {
  const home = new Home(context);
  await home.createVolume('data');
  const script = (name: string): string =>
    `${process.execPath} --disable-warning=ExperimentalWarning ${new URL('../../src/cli/main.ts', import.meta.url).pathname} serve ${name} --ready-fd 7 7>ready & echo $! >pid; wait`;
  const good = home.path('ready');
  const shell = (name: string): ChildProcess =>
    spawn('bash', ['-c', script(name)], { env: home.environment, cwd: home.folder, stdio: 'ignore' });
  const child = shell('data');
  await eventually('ready', () => fs.existsSync(good) && fs.readFileSync(good, 'utf8') === 'ready\n');
  process.kill(Number(fs.readFileSync(home.path('pid'), 'utf8')), 'SIGTERM');
  await new Promise((resolve) => child.once('close', resolve));
  const bad = shell('nobody');
  await new Promise((resolve) => bad.once('close', resolve));
  assert.equal(fs.readFileSync(good, 'utf8'), '');
});

test('TCP needs TLS unless it is waived by name', async (context) => {
  if (!requireTool(context, 'nbdinfo') || !requireTool(context, 'openssl')) return;
  const home = new Home(context);
  await home.createVolume('data');
  const bare = await home.error(['serve', 'data', '--tcp', '127.0.0.1:0']);
  assert.deepEqual([bare.exit, bare.code], [2, 'tls-required']);
  const both = await home.error(['serve', 'data', '--tcp', '127.0.0.1:0', '--insecure-no-tls', '--psk-file', 'x']);
  assert.deepEqual([both.exit, both.code], [2, 'argument-invalid']);
  const wrong = await home.error([
    'serve',
    'data',
    '--tcp',
    '127.0.0.1:0',
    '--psk-file',
    home.write('psk', 'alice:xyz\n'),
  ]);
  assert.deepEqual([wrong.exit, wrong.code], [2, 'configuration-invalid']);
  const address = await home.error(['serve', 'data', '--tcp', 'localhost', '--insecure-no-tls']);
  assert.deepEqual([address.exit, address.code], [2, 'argument-invalid']);

  const open = await home.serve(['data', '--tcp', '127.0.0.1:0', '--insecure-no-tls']);
  assert.equal((await run('nbdinfo', ['--size', `nbd://${open.ready.tcp}/data`])).output.trim(), '16777216');
  open.child.kill('SIGTERM');
  await open.ended;

  const certificate = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost'];
  fs.mkdirSync(home.path('pki'));
  const [key, cert] = [home.path('pki/server-key.pem'), home.path('pki/server-cert.pem')];
  const made = spawnSync('openssl', [
    ...certificate,
    '-addext',
    'subjectAltName=DNS:localhost,IP:127.0.0.1',
    '-keyout',
    key,
    '-out',
    cert,
  ]);
  assert.equal(made.status, 0, made.stderr.toString());
  fs.copyFileSync(cert, home.path('pki/ca-cert.pem'));
  const secure = await home.serve(['data', '--tcp', '127.0.0.1:0', '--tls-cert', cert, '--tls-key', key]);
  const [, port] = (secure.ready.tcp ?? '').split(':');
  const asked = await run('nbdinfo', ['--size', `nbds://localhost:${port}/data?tls-certificates=${home.path('pki')}`]);
  assert.equal(asked.output.trim(), '16777216');
  const plain = await run('nbdinfo', ['--size', `nbd://localhost:${port}/data`]);
  assert.notEqual(plain.status, 0);
  secure.child.kill('SIGHUP');
  await eventually('the reload', () => secure.stderr().includes('configuration reloaded'));
  fs.writeFileSync(cert, 'not a certificate');
  secure.child.kill('SIGHUP');
  await eventually('the refusal', () => secure.stderr().includes('did not take effect'));
  const still = await run('nbdinfo', ['--size', `nbds://localhost:${port}/data?tls-certificates=${home.path('pki')}`]);
  assert.equal(still.output.trim(), '16777216');
});

test('the fields of -o json stay as they are', async (context) => {
  const home = new Home(context);
  for (const name of ['data', 'old']) await home.createVolume(name);
  await home.serve(['data']);
  const shapes: Record<string, unknown> = {};
  const commands = [
    'snapshot create data monday',
    'volume clone data test --snapshot monday',
    'snapshot ls data',
    'volume ls',
    'volume inspect data',
    'key ls data',
    'status',
    'volume verify data --public',
    'volume rm test --yes',
    'snapshot rm data monday',
    'volume erase old --yes',
    'volume inspect old',
    'volume verify old --public',
    'doctor',
  ];
  for (const command of commands) shapes[command] = shapeOf(await home.json(command.split(' ')));
  shapes['error'] = shapeOf(JSON.parse((await home.run(['volume', 'inspect', 'nobody', '-o', 'json'])).stderr));
  const file = new URL('json-fields.json', import.meta.url);
  // Fields may be added here on purpose; one that goes or changes its type breaks somebody's script.
  assert.deepEqual(shapes, JSON.parse(fs.readFileSync(file, 'utf8')), JSON.stringify(shapes));
});

/** Names and types of fields, arrays by their first element. */
function shapeOf(value: unknown): unknown {
  if (value === null) return 'null';
  if (Array.isArray(value)) return value.length === 0 ? [] : [shapeOf(value[0])];
  if (typeof value !== 'object') return typeof value;
  return Object.fromEntries(Object.entries(value).map(([field, inner]) => [field, shapeOf(inner)]));
}
