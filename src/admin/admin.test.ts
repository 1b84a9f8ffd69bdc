/** Server and client against each other, over a real socket, with operations that only record. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { adminRequestBytesMax } from '../lib/limits.ts';
import { clientApiVersion, createAdminClient, isDaemonRunning, readMetrics } from './client.ts';
import { listenAdmin } from './listen.ts';
import type { Operations } from './operations.ts';
import { apiVersion, operationSchemas } from './schema.ts';

const slot = { slot: 1, kind: 'passphrase' as const, description: 'passphrase' };

async function start(
  context: TestContext,
  operations: Partial<Operations>,
): Promise<{ socket: string; client: Operations }> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-admin-'));
  const socket = path.join(folder, 'admin.sock');
  const server = await listenAdmin(socket, {
    operations: operations as Operations,
    metrics: async () => 'caisson_volumes_open 0\n',
  });
  context.after(async () => {
    await server.close();
    fs.rmSync(folder, { recursive: true });
  });
  return { socket, client: createAdminClient(socket) };
}

function post(
  socketPath: string,
  name: string,
  body: string,
  headers: http.OutgoingHttpHeaders = {},
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath, method: 'POST', path: name, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

test('a request arrives as it was sent, secrets as bytes, and the answer comes back', async (context) => {
  const seen: unknown[] = [];
  const secret = Uint8Array.of(0, 255, 10, 65);
  const { client, socket } = await start(context, {
    addKey: async (request) => {
      seen.push(request);
      return slot;
    },
  });
  assert.deepEqual(await client.addKey({ name: 'data', newCredential: { kind: 'passphrase', secret } }), slot);
  assert.deepEqual(seen, [{ name: 'data', newCredential: { kind: 'passphrase', secret } }]);
  assert.equal(fs.statSync(socket).mode & 0o777, 0o600);
  assert.equal(await readMetrics(socket), 'caisson_volumes_open 0\n');
});

test('an error keeps its kind, code, remedy and details, and nothing else', async (context) => {
  const { client } = await start(context, {
    listKeys: async () => {
      throw new CaissonError('denied', 'key-wrong', 'no slot opens with it', {
        remedy: 'Try another.',
        details: { tried: 2 },
        cause: new Error('inner'),
      });
    },
    detachVolume: async () => {
      throw new TypeError('undefined is not a function');
    },
  });
  await assert.rejects(client.listKeys({ name: 'data' }), (error) => {
    assert.ok(isCaissonError(error, 'key-wrong'));
    assert.deepEqual(
      [error.kind, error.message, error.remedy, error.details],
      ['denied', 'no slot opens with it', 'Try another.', { tried: 2 }],
    );
    return true;
  });
  await assert.rejects(
    client.detachVolume({ name: 'data' }),
    (error) => isCaissonError(error, 'assertion-failed') && error.kind === 'bug',
  );
});

test('progress comes before the result, and a failure after progress is still a failure', async (context) => {
  let fails = false;
  const report = {
    ...{
      volumeId: 'a'.repeat(32),
      public: true,
      manifestNumber: 1,
      manifestDigest: 'd',
      writerKey: 'w',
      pinsChecked: 0,
      erased: false,
      manifestsChecked: 1,
    },
    ...{ objectsChecked: 2, objectBytes: 3, unitsChecked: 0, orphans: [], findings: [], freshness: 'current' as const },
  };
  const { client } = await start(context, {
    verifyVolume: async (_request, onProgress) => {
      onProgress?.(1, 2, 'objects');
      if (fails) throw new CaissonError('integrity', 'head-tampered', 'the head is not signed');
      return report;
    },
  });
  const progress: unknown[] = [];
  const request = { name: 'data', public: true };
  assert.deepEqual(await client.verifyVolume(request, (...step) => progress.push(step)), report);
  assert.deepEqual(progress, [[1, 2, 'objects']]);
  fails = true;
  await assert.rejects(client.verifyVolume(request), (error) => isCaissonError(error, 'head-tampered'));
});

test('requests that are wrong are refused before an operation sees them, and no value is echoed', async (context) => {
  const { socket } = await start(context, { addKey: async () => assert.fail('reached') });
  const bad: [string, string, number][] = [
    ['/v1/addKey', '{', 400],
    ['/v1/addKey', '{"name":"data"}', 400],
    ['/v1/addKey', '{"name":"data","newCredential":{"kind":"passphrase","secret":"hunter2!"}}', 400],
    ['/v1/addKey', '{"name":"data","newCredential":{"kind":"key-file","path":"relative/hunter2!"}}', 400],
    ['/v1/addKey', '{"name":"data","newCredential":{"kind":"none"},"hunter2!":1}', 400],
    ['/v1/generateKey', '{"path":"/x"}', 400],
    ['/v1/doctor', '{}', 400],
    ['/v1/nothing', '{}', 400],
    ['/v1/__proto__', '{}', 400],
  ];
  for (const [name, body, status] of bad) {
    const answer = await post(socket, name, body);
    assert.equal(answer.status, status, `${name} ${body}: ${answer.body}`);
    assert.match(answer.body, /"code":"(argument-invalid|unsupported)"/);
    assert.ok(!answer.body.includes('hunter2!":1') && !/secret":"hunter2/.test(answer.body));
  }
  const large = await post(socket, '/v1/addKey', 'x'.repeat(adminRequestBytesMax + 1));
  assert.match(large.body, /limit-exceeded/);
  const other = await post(socket, '/v1/addKey', '{}', { 'caisson-api': '99' });
  assert.match(other.body, /daemon-refused/);
});

test('nobody there, something else there, somebody who hangs up', async (context) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-admin-'));
  context.after(() => fs.rmSync(folder, { recursive: true }));
  const missing = path.join(folder, 'missing.sock');
  assert.equal(await isDaemonRunning(missing), false);
  await assert.rejects(
    createAdminClient(missing).status({}),
    (error) => isCaissonError(error, 'daemon-unreachable') && error.remedy !== undefined,
  );

  const answers = [
    'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}',
    'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{',
    '',
  ];
  const server = net.createServer((peer) => peer.once('data', () => peer.end(answers.shift() ?? '')));
  const socket = path.join(folder, 'other.sock');
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  context.after(() => server.close());
  const client = createAdminClient(socket);
  await assert.rejects(client.status({}), (error) => isCaissonError(error, 'daemon-refused'));
  await assert.rejects(client.status({}), (error) => isCaissonError(error, 'daemon-refused'));
  await assert.rejects(client.status({}), (error) => isCaissonError(error, 'daemon-unreachable'));
  await assert.rejects(client.status({}), (error) => isCaissonError(error, 'daemon-unreachable'));
});

test('both sides name the same version, and every operation has both shapes', () => {
  assert.equal(clientApiVersion, apiVersion);
  for (const [name, { request, response }] of Object.entries(operationSchemas)) {
    assert.ok(request.safeParse !== undefined && response.safeParse !== undefined, name);
  }
});
