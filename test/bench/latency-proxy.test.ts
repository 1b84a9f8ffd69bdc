/** The proxy that stands between a volume and its server in the benchmark: it delays, counts and changes nothing. */
import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { LatencyProxy, requestCount } from '../../bench/latency-proxy.ts';

test('requests and their bodies are counted and passed on whole; those that go together are one round trip', async () => {
  const server = http.createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => response.end(Buffer.concat(pieces).subarray().toReversed()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const proxy = await LatencyProxy.start(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 50);
  const send = async (bytes: number): Promise<void> => {
    const body = Uint8Array.from({ length: bytes }, (_, index) => index % 251);
    const answer = await fetch(proxy.endpoint, { method: 'PUT', body });
    assert.deepEqual(new Uint8Array(await answer.arrayBuffer()), body.toReversed());
  };
  const start = performance.now();
  await send(1_000_000);
  assert.ok(performance.now() - start >= 45, 'it waited');
  await Promise.all([send(10), send(20), send(300_000)]);
  const counts = await proxy.takeCounts();
  assert.deepEqual([counts.requests, counts.uploadedBytes, counts.roundTrips], [{ PUT: 4 }, 1_300_030, 2]);
  assert.equal(await proxy.uploadsSinceLook(), 1_300_030);
  assert.equal(requestCount(await proxy.takeCounts()), 0);
  await proxy.stop();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});
