/** TLS with an own authority, and proxies for both kinds of connection. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pattern, rejects } from '../../../test/conformance/store.ts';
import { FakeS3 } from '../../../test/support/fake-s3.ts';
import { JumpClock } from '../../../test/support/jump-clock.ts';
import { requireTool, toolOutput } from '../../../test/support/tools.ts';
import { DirectAnswers } from '../../aws/direct-answers.ts';
import { systemRandom } from '../../crypto/random.ts';
import { Region } from '../../lib/region.ts';
import * as paths from '../paths.ts';
import { openS3Store } from './open-s3-store.ts';
import type { S3Store } from './s3-store.ts';

const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-s3-tls-'));
const key = paths.headKey(paths.volumePrefix(new Uint8Array(16)));
const certificate = path.join(base, 'certificate.pem');
const keys = { AWS_ACCESS_KEY_ID: 'AK', AWS_SECRET_ACCESS_KEY: 'SK' };
const rangeBytes = 1024 * 1024;
const passed: string[] = [];
const proxy = http.createServer((request, response) => {
  passed.push(`${request.method} ${new URL(request.url ?? '').pathname}`);
  const { method, headers } = request;
  request.pipe(
    http.request(request.url ?? '', { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 0, answer.headers);
      answer.pipe(response);
    }),
  );
});
proxy.on('connect', (request: http.IncomingMessage, client: net.Socket) => {
  passed.push(`CONNECT ${request.url}`);
  const [host, port] = (request.url ?? '').split(':');
  const upstream = net.connect(Number(port), host, () => {
    client.write('HTTP/1.1 200 OK\r\n\r\n');
    upstream.pipe(client).pipe(upstream);
  });
  upstream.on('error', () => client.destroy());
  client.on('error', () => upstream.destroy());
});
let proxyUrl = '';

before(async () => {
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  proxyUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
});
after(() => {
  proxy.closeAllConnections();
  proxy.close();
  fs.rmSync(base, { recursive: true, force: true });
});

function open(options: string, environment: Record<string, string> = {}): Promise<S3Store> {
  const clock = new JumpClock();
  return openS3Store(`//bucket/p?${options}`, {
    ...{ create: true, environment: { ...keys, ...environment }, spoolFolder: base, random: systemRandom, clock },
  });
}

async function useOnce(store: S3Store): Promise<void> {
  await store.create(key, pattern(5000, 1));
  assert.deepEqual(await store.get(key, 5000), pattern(5000, 1));
  await store.close();
}

describe('s3 over TLS', () => {
  let server: FakeS3 | undefined;
  before(async (t) => {
    if (!requireTool(t as never, 'openssl')) return;
    const names = ['-subj', '/CN=s3', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
    const files = ['-keyout', path.join(base, 'key.pem'), '-out', certificate];
    const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
    await toolOutput('openssl', ['req', ...kind, ...files, ...names]);
    server = await FakeS3.start({
      key: fs.readFileSync(path.join(base, 'key.pem')),
      cert: fs.readFileSync(certificate),
    });
  });
  after(() => server?.stop());

  it('trusts the authority it was given, no other', async (t) => {
    if (server === undefined) return t.skip('no openssl');
    const endpoint = `endpoint=https://127.0.0.1:${server.port}`;
    await rejects(open(endpoint), 'store-unreachable');
    await rejects(open(`${endpoint}&ca=${base}/absent.pem`), 'configuration-invalid');
    await useOnce(await open(`${endpoint}&ca=${certificate}`));
    const { headers } = server.requests.find(({ method }) => method === 'PUT')!;
    assert.equal(headers['x-amz-content-sha256'], 'UNSIGNED-PAYLOAD');
    server.objects.clear();
  });

  it('lands large ranges over TLS, side by side, from a server that has shown its certificate', async (t) => {
    if (server === undefined) return t.skip('no openssl');
    const endpoint = `https://127.0.0.1:${server.port}`;
    const store = await open(`endpoint=${endpoint}&ca=${certificate}`);
    const content = pattern(4 * rangeBytes, 7);
    await store.create(key, content);
    const reader = await store.open(key);
    const readRange = async (index: number): Promise<void> => {
      const start = (index % 4) * rangeBytes;
      const region = new Region(rangeBytes);
      await reader.read(start, rangeBytes, region, 0);
      assert.deepEqual(region.bytes, content.subarray(start, start + rangeBytes));
    };
    await Promise.all(Array.from({ length: 24 }, (_, index) => readRange(index)));
    await reader.close();
    await store.close();
    const stranger = new DirectAnswers({
      endpoint: new URL(endpoint),
      authorities: undefined,
      idleMilliseconds: 60_000,
    });
    const landing = { room: () => new Uint8Array(rangeBytes), landed: () => assert.fail('bytes of a stranger') };
    await assert.rejects(stranger.get({ path: '/', headers: {}, landing, check: () => {} }), /self-signed/);
    stranger.close();
    server.objects.clear();
  });

  it('goes through a proxy by CONNECT', async (t) => {
    if (server === undefined) return t.skip('no openssl');
    passed.length = 0;
    await useOnce(await open(`endpoint=https://127.0.0.1:${server.port}&ca=${certificate}&proxy=${proxyUrl}`));
    assert.ok(passed.length > 0 && passed.every((line) => line === `CONNECT 127.0.0.1:${server!.port}`), passed.join());
  });
});

describe('s3 over HTTP', () => {
  it('signs the payload, and goes through the proxy of the environment unless that names an exception', async () => {
    const server = await FakeS3.start();
    passed.length = 0;
    await useOnce(await open(`endpoint=http://127.0.0.1:${server.port}`, { HTTP_PROXY: proxyUrl }));
    assert.ok(passed.includes(`PUT /bucket/p/${key}`), passed.join());
    const put = server.requests.find((request) => request.key.endsWith('head'))!;
    assert.match(String(put.headers['x-amz-content-sha256']), /^[0-9a-f]{64}$/);
    passed.length = 0;
    server.objects.clear();
    const environment = { HTTP_PROXY: proxyUrl, NO_PROXY: '127.0.0.1' };
    await useOnce(await open(`endpoint=http://127.0.0.1:${server.port}`, environment));
    assert.deepEqual(passed, []);
    await server.stop();
  });
});
