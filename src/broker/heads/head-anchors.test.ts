import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { head, headAnchorConformance } from '../../../test/conformance/log-head-anchor.ts';
import { logKey, otherLogKey } from '../../../test/support/log-file.ts';
import { requireSwtpm, hasSwtpm, startSwtpm } from '../../../test/support/swtpm.ts';
import { toHex } from '../../lib/hex.ts';
import { logIdOf, signHead } from '../../wire/release-log.ts';
import { nvReadPublic, nvWrite } from '../../tpm/tpm-nv.ts';
import { withTpm } from '../../tpm/tpm.ts';
import { decodeFileHead, encodeFileHead, openFileHeadAnchor } from './file-head-anchor.ts';
import { openPeerHeadAnchor } from './peer-head-anchor.ts';
import { encodeHeadBody, PeerHeads } from './peer-heads.ts';
import { openTpmHeadAnchor } from './tpm-head-anchor.ts';

const newFolder = (): string => fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-heads-'));
const logId = logIdOf(logKey.publicKey);
const now = (): number => 1_790_000_000_000;

headAnchorConformance('file', async () => {
  const folder = newFolder();
  const file = path.join(folder, 'log.head');
  return {
    open: async () => openFileHeadAnchor(file),
    damage: async () => fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('"size":9', '"size":09')),
    dispose: async () => fs.rmSync(folder, { recursive: true }),
  };
});

/** What the broker's server does with the same two calls. */
async function servePeer(folder: string, logIds: readonly string[]): Promise<{ url: string; server: http.Server }> {
  const heads = new PeerHeads(folder, logIds);
  const server = http.createServer((request, response) => void serve(request, response));
  const serve = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const id = request.url!.split('/').at(-1)!;
    const answer =
      request.method === 'GET'
        ? await heads.get(id)
        : await heads.put(id, new Uint8Array(Buffer.concat(pieces)), request.headers['if-match']);
    response.writeHead(answer.status).end(answer.body);
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/log-heads/`, server };
}

headAnchorConformance('peer', async () => {
  const folder = newFolder();
  const { url, server } = await servePeer(folder, [toHex(logId)]);
  const file = path.join(folder, `${toHex(logId)}.head`);
  return {
    open: async () => openPeerHeadAnchor({ url, key: logKey, authority: undefined, now }),
    damage: async () => fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('"size":9', '"size":8')),
    dispose: async () => {
      server.close();
      server.closeAllConnections();
      fs.rmSync(folder, { recursive: true });
    },
  };
});

const handle = 0x0180_ca15;

if (hasSwtpm()) {
  headAnchorConformance('TPM', async () => {
    const { device, stop } = await startSwtpm();
    return {
      open: async () => openTpmHeadAnchor({ device, handle, logId }),
      damage: () =>
        withTpm(device, async (tpm) => {
          const index = await nvReadPublic(tpm, handle);
          await nvWrite(tpm, index!, new Uint8Array(64));
        }),
      dispose: stop,
    };
  });
}

test('a TPM is there to keep a head', (t) => {
  requireSwtpm(t);
});

test('an index of a TPM belongs to one log, and has to be one of the range of owners', async (t) => {
  if (!requireSwtpm(t)) return;
  const { device, stop } = await startSwtpm();
  t.after(stop);
  await openTpmHeadAnchor({ device, handle, logId }).advance(head(3));
  const other = openTpmHeadAnchor({ device, handle, logId: logIdOf(otherLogKey.publicKey) });
  await assert.rejects(other.read(), { code: 'anchor-tampered', message: /another log/ });
  await assert.rejects(other.advance(head(3)), { code: 'anchor-tampered' });
  assert.throws(() => openTpmHeadAnchor({ device, handle: 0x01c0_0002, logId }), { code: 'argument-invalid' });
});

test('a head in a file has one encoding', () => {
  const text = new TextDecoder().decode(encodeFileHead(head(5)));
  assert.deepEqual(decodeFileHead(new TextEncoder().encode(text), 'here'), head(5));
  for (const wrong of [
    '',
    '\n',
    text.trimEnd(),
    `${text}\n`,
    ` ${text}`,
    text.replace('5', '-5'),
    text.replace('-1', '-2'),
  ])
    assert.throws(() => decodeFileHead(new TextEncoder().encode(wrong), 'here'), { code: 'anchor-tampered' }, wrong);
});

test('a file that cannot be written is named', async () => {
  await assert.rejects(openFileHeadAnchor('/nowhere/at/all').advance(head(1)), { code: 'store-io' });
});

test('a peer keeps what the key of the log signed, for the logs that it was told of', async (t) => {
  const folder = newFolder();
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const heads = new PeerHeads(folder, [toHex(logId)]);
  const put = (size: number, key = logKey, id = toHex(logId)): Promise<{ status: number }> =>
    heads.put(id, encodeHeadBody(key.publicKey, signHead(key, size, new Uint8Array(32), 0)));
  const otherId = toHex(logIdOf(otherLogKey.publicKey));
  assert.deepEqual(await heads.get(toHex(logId)), { status: 404 });
  assert.equal((await put(3, otherLogKey, otherId)).status, 403);
  assert.equal((await put(3, otherLogKey)).status, 400);
  assert.equal((await put(3)).status, 204);
  assert.equal((await heads.get(toHex(logId))).status, 200);
  assert.equal((await heads.get('../../../etc/passwd')).status, 404);
  const forged = encodeHeadBody(logKey.publicKey, { ...signHead(logKey, 4, new Uint8Array(32), 0), size: 5 });
  assert.equal((await heads.put(toHex(logId), forged)).status, 400);
  assert.equal((await heads.put(toHex(logId), new Uint8Array(5000))).status, 413);
  assert.equal((await heads.put(toHex(logId), new Uint8Array(5))).status, 400);
  const restore = encodeHeadBody(logKey.publicKey, signHead(logKey, 2, new Uint8Array(32), 0));
  assert.equal((await heads.put(toHex(logId), restore, '"4"')).status, 409);
  assert.equal((await heads.put(toHex(logId), restore, '"3"')).status, 204);
  assert.throws(() => new PeerHeads(folder, ['../x']), { code: 'configuration-invalid' });
});

test('a peer that lies, is away or says too much is named', async (t) => {
  const other = encodeHeadBody(otherLogKey.publicKey, signHead(otherLogKey, 4, new Uint8Array(32), 0));
  let answer: { status: number; body: Uint8Array } = { status: 200, body: other };
  const server = http.createServer((_, response) => response.writeHead(answer.status).end(answer.body));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const peer = openPeerHeadAnchor({ url, key: logKey, authority: undefined, now });
  await assert.rejects(peer.read(), { code: 'anchor-tampered', message: /another log/ });
  answer = { status: 200, body: new TextEncoder().encode('<html>') };
  await assert.rejects(peer.read(), { code: 'anchor-tampered' });
  answer = { status: 200, body: new Uint8Array(1_000_000) };
  await assert.rejects(peer.read(), { code: 'broker-unreachable', message: /too long/ });
  answer = { status: 403, body: new Uint8Array(0) };
  await assert.rejects(peer.advance(head(1)), { code: 'broker-unreachable', message: /does not keep/ });
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await assert.rejects(peer.read(), { code: 'broker-unreachable', kind: 'transient' });
  for (const wrong of ['', 'ftp://x', 'https://user@host/'])
    assert.throws(() => openPeerHeadAnchor({ url: wrong, key: logKey, authority: undefined, now }), {
      code: 'configuration-invalid',
    });
});
