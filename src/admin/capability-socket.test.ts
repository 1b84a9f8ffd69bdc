/** The capability socket against clients that mean no good, and the client of it against a daemon that is none. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { capabilityRequestBytesMax } from '../lib/limits.ts';
import { askForCapability, listenForCapabilities } from './capability-socket.ts';
import type { CapabilityAnswers } from './capability-socket.ts';

const question = { token: 'csncap1.x', challenge: 'ab'.repeat(16), signature: 'cd'.repeat(64) };
const answer = { export: '0'.repeat(32), size: 4096, rights: ['read'], expiresAt: 1 };

const never = (): never => assert.fail('nobody asked for this');
const nothing: Omit<CapabilityAnswers, 'challenge' | 'open'> = {
  ...{ 'open-snapshot': never, serve: never, snapshots: never, resize: never },
  ...{ 'snapshot-create': never, 'snapshot-remove': never },
};

function socketOf(context: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-parts-'));
  context.after(() => fs.rmSync(folder, { recursive: true }));
  return path.join(folder, 'socket');
}

async function listen(context: TestContext, open: CapabilityAnswers['open']): Promise<string> {
  const socket = socketOf(context);
  const answers = { ...nothing, challenge: () => ({ challenge: 'ab' }), open };
  const server = await listenForCapabilities(socket, answers, () => undefined);
  context.after(() => server.close());
  return socket;
}

function post(socketPath: string, place: string, body: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath, method: 'POST', path: place, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

test('what is no question is refused before anybody thinks about it', async (context) => {
  let asked = 0;
  const socket = await listen(context, () => {
    asked++;
    return answer;
  });
  assert.deepEqual(await askForCapability(socket, 'open', question), answer);
  const wrong = [
    '',
    'x',
    '[]',
    '{}',
    JSON.stringify({ ...question, more: 1 }),
    JSON.stringify({ ...question, token: 'x'.repeat(4097) }),
    JSON.stringify({ ...question, challenge: 'abc' }),
    JSON.stringify({ ...question, signature: 'cd'.repeat(65) }),
    JSON.stringify({ ...question, token: 'x'.repeat(capabilityRequestBytesMax) }),
  ];
  for (const body of wrong) {
    const { status, text } = await post(socket, '/v1/open', body);
    assert.deepEqual([status, Object.keys(JSON.parse(text) as object)], [400, ['error']], body.substring(0, 80));
  }
  for (const place of ['/v1/stop', '/v1/attachVolume', '/metrics', '/'])
    assert.equal((await post(socket, place, '{}')).status, 400, place);
  assert.equal(asked, 1);
});

test('a refusal arrives as it is; what went wrong inside stays inside', async (context) => {
  const secret = 'held at 0x1234';
  let failure: Error = new CaissonError('denied', 'capability-refused', 'expired');
  const socket = await listen(context, () => {
    throw failure;
  });
  await assert.rejects(
    askForCapability(socket, 'open', question),
    (error) => isCaissonError(error, 'capability-refused') && error.kind === 'denied',
  );
  for (failure of [new TypeError(secret), new CaissonError('bug', 'assertion-failed', secret)]) {
    const { status, text } = await post(socket, '/v1/open', JSON.stringify(question));
    assert.equal(status, 500);
    assert.ok(!text.includes(secret));
  }
});

test('a client that never ends its request holds nothing up', async (context) => {
  const socket = socketOf(context);
  const answers = { ...nothing, challenge: () => ({ challenge: 'ab' }), open: () => answer };
  const server = await listenForCapabilities(socket, answers, () => undefined);
  const client = net.connect(socket);
  const ended = new Promise((resolve) => client.on('error', () => undefined).on('close', resolve));
  client.write('POST /v1/open HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{');
  assert.deepEqual(await askForCapability(socket, 'challenge', {}), { challenge: 'ab' });
  await server.close();
  await ended;
});

test('answers that no daemon gives are named as such', async (context) => {
  const bodies = ['', 'x', '{}', JSON.stringify({ ...answer, export: 'data' }), `"${'x'.repeat(100_000)}"`];
  for (const body of bodies) {
    const socket = socketOf(context);
    const server = http.createServer((_request, response) => void response.end(body));
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    await assert.rejects(
      askForCapability(socket, 'open', question),
      (error) => isCaissonError(error, 'daemon-refused'),
      body.substring(0, 40),
    );
    await new Promise((resolve) => server.close(resolve));
  }
});
