/** Life and death of connections and of the server: hostile clients, pressure, slow readers, shutdown, sockets. */
import assert from 'node:assert/strict';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCaissonError } from '../../lib/errors.ts';
import { MemoryDevice } from '../../../test/support/memory-device.ts';
import { NbdClient, optionBytes, requestBytes } from '../../../test/support/nbd-client.ts';
import { mebibyte, serveMemory, until } from '../../../test/support/nbd-fixture.ts';
import { VirtualClock } from '../../../test/sim/clock.ts';
import { createNbdServer } from './nbd.ts';

const [READ, WRITE, DISC, FLUSH] = [0, 1, 2, 3] as const;
const ESHUTDOWN = 108;

test('a client that dies in the middle of a payload leaves no open write', async (t) => {
  for (const directReads of [true, false]) {
    const { connect, device, server } = await serveMemory(t, { directReads });
    const client = await connect();
    await client.open('disk');
    client.send(
      requestBytes(WRITE, { length: 4 * mebibyte, payload: Buffer.alloc(mebibyte, 1) }).subarray(0, mebibyte),
    );
    await until(() => device.openWrites === 1);
    client.destroy();
    await until(() => server.metrics.connectionsOpen === 0);
    assert.deepEqual([device.openWrites, device.abortedWrites], [0, 1]);
  }
});

test('a client that dies while the device works: the late results go nowhere', async (t) => {
  const { connect, device, server } = await serveMemory(t);
  for (const operation of ['read', 'write', 'flush', 'extents', 'trim'] as const) device.held.add(operation);
  const client = await connect();
  await client.open('disk', { structured: true, context: true });
  client.send(
    Buffer.concat([
      requestBytes(READ, { length: 4096 }),
      requestBytes(READ, { length: mebibyte }),
      requestBytes(WRITE, { payload: Buffer.alloc(4096) }),
      requestBytes(FLUSH),
      requestBytes(7, { length: 4096 }),
      requestBytes(4, { length: 4096 }),
    ]),
  );
  await until(() => device.calls.length === 6);
  client.destroy();
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  for (const operation of ['read', 'write', 'flush', 'extents', 'trim'] as const) device.release(operation);
  await until(() => server.metrics.connectionsOpen === 0);
  const next = await connect();
  await next.open('disk');
  assert.equal(await next.ask(FLUSH), 0);
});

test('half-closed clients get their answers', async (t) => {
  const { connect, device } = await serveMemory(t);
  device.held.add('read');
  const client = await connect();
  await client.open('disk');
  client.socket.end(Buffer.concat([requestBytes(READ, { length: 512 }), requestBytes(READ, { length: 512 })]));
  await until(() => device.calls.length === 2);
  device.release('read');
  assert.equal((await client.untilClosed()).length, 2 * 528);
});

test('requests in flight are bounded, and the rest waits in the socket', async (t) => {
  const { connect, device, server } = await serveMemory(t);
  device.held.add('flush');
  const client = await connect();
  await client.open('disk');
  client.send(Buffer.concat(Array.from({ length: 1000 }, () => requestBytes(FLUSH))));
  await until(() => device.flushes === 256);
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(device.flushes, 256);
  assert.ok(server.metrics.waits.inFlight > 0);
  device.release('flush');
  for (let index = 0; index < 1000; index++) assert.equal((await client.reply()).kind, 'simple');
  assert.equal(device.flushes, 1000);
});

test('a client that does not read its replies stops being served, and goes on when it reads', async (t) => {
  for (const directReads of [true, false]) {
    const { connect, device, server } = await serveMemory(t, { directReads });
    const client = await connect();
    await client.open('disk');
    client.socket.pause();
    const count = 400;
    client.send(
      Buffer.concat(
        Array.from({ length: count }, (_, index) => requestBytes(READ, { length: 100_000, cookie: BigInt(index) })),
      ),
    );
    await until(() => server.metrics.waits.unsent > 0);
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    // 4 MiB of replies, what the system's socket buffers take, and one batch more.
    assert.ok(device.calls.length < 100, `${device.calls.length} reads were done`);
    client.socket.resume();
    for (let index = 0; index < count; index++) {
      assert.equal((await client.reply()).cookie, BigInt(index));
      await client.take(100_000);
    }
    assert.equal(device.calls.length, count);
  }
});

test('while the device is under pressure reads are answered, and nothing that changes it is taken', async (t) => {
  for (const directReads of [true, false]) {
    const { connect, device, server } = await serveMemory(t, { directReads });
    let relieve = (): void => {};
    const client = await connect();
    await client.open('disk');
    device.relief = new Promise((resolve) => (relieve = resolve));
    assert.equal(await client.ask(WRITE, { payload: Buffer.alloc(512) }), 0);
    client.request(READ, { length: 512 });
    const { kind, ...read } = await client.reply();
    assert.deepEqual([kind, 'error' in read && read.error], ['simple', 0]);
    await client.take(512);
    client.request(WRITE, { payload: Buffer.alloc(mebibyte, 1) });
    client.request(FLUSH);
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(server.metrics.waits.pressure, 1);
    assert.equal(device.flushes, 0);
    device.relief = undefined;
    relieve();
    await client.reply();
    await client.reply();
    assert.equal(device.flushes, 1);
  }
});

test('a client that stalls in the middle of a request is cut off; an idle one is not', async (t) => {
  const clock = new VirtualClock();
  const { connect, device, server, events } = await serveMemory(t, { clock });
  const idle = await connect();
  await idle.open('disk');
  const inHeader = await connect();
  await inHeader.open('disk');
  inHeader.send(requestBytes(FLUSH).subarray(0, 27));
  const inPayload = await connect();
  await inPayload.open('disk');
  inPayload.send(requestBytes(WRITE, { length: mebibyte }));
  const waiting = await connect();
  await waiting.open('disk');
  device.held.add('flush');
  waiting.request(FLUSH);
  await until(() => device.openWrites === 1 && device.flushes === 1);
  clock.advance(60_000);
  inPayload.send(Buffer.alloc(1000));
  await until(() => server.metrics.bytesWritten === 1000);
  for (let step = 0; step < 2; step++) clock.advance(60_000);
  await inHeader.untilClosed();
  assert.equal(server.metrics.connectionsOpen, 3);
  assert.equal(device.openWrites, 1);
  clock.advance(60_000);
  await inPayload.untilClosed();
  assert.deepEqual([device.openWrites, server.metrics.connectionsOpen], [0, 2]);
  assert.equal(events.filter((event) => event.event === 'connection-failed').length, 2);
  device.release('flush');
  await waiting.reply();
  assert.equal(await idle.ask(FLUSH), 0);
});

test('garbage of every kind closes the connection or is refused, and the server goes on', async (t) => {
  const { connect, server } = await serveMemory(t);
  const garbage = [
    Buffer.alloc(100_000, 0xff),
    Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    Buffer.concat([Buffer.of(0, 0, 0, 3), Buffer.alloc(1_000_000)]),
    Buffer.concat([Buffer.of(0, 0, 0, 3), optionBytes(10, Buffer.alloc(20_000, 0xff)), Buffer.alloc(16)]),
  ];
  for (const bytes of garbage) {
    const client = await connect();
    client.send(bytes);
    await client.untilClosed();
  }
  const client = await connect();
  await client.open('disk');
  client.send(Buffer.alloc(1_000_000, 0x5a));
  await client.untilClosed();
  await until(() => server.metrics.connectionsOpen === 0);
  assert.equal(server.metrics.connectionsFailed, 5);
  assert.equal(await (await openClient(connect)).ask(FLUSH), 0);
});

async function openClient(connect: () => Promise<NbdClient>): Promise<NbdClient> {
  const client = await connect();
  await client.open('disk');
  return client;
}

test('connections are bounded, and a place that is free again can be taken', async (t) => {
  const { connect, server } = await serveMemory(t, { connectionCountMax: 2 });
  const first = await openClient(connect);
  await openClient(connect);
  const third = await connect();
  assert.equal((await third.untilClosed()).length, 0);
  assert.equal(server.metrics.connectionsRefused, 1);
  first.request(DISC);
  await first.untilClosed();
  first.destroy();
  await until(() => server.metrics.connectionsOpen === 1);
  assert.equal(await (await openClient(connect)).ask(FLUSH), 0);
});

test('close answers what is in flight, refuses the rest, and ends within its grace', async (t) => {
  const { connect, device, server, path } = await serveMemory(t);
  device.held.add('flush');
  const busy = await openClient(connect);
  const idle = await openClient(connect);
  const haggling = await connect();
  busy.request(FLUSH, { cookie: 1n });
  await until(() => device.flushes === 1);
  const closed = server.close({ graceMilliseconds: 10_000 });
  busy.request(WRITE, { cookie: 2n, payload: Buffer.alloc(512, 1) });
  assert.deepEqual(await busy.reply(), { kind: 'simple', error: ESHUTDOWN, cookie: 2n });
  await idle.untilClosed();
  await haggling.untilClosed();
  await assert.rejects(NbdClient.connect({ path }));
  device.release('flush');
  assert.deepEqual(await busy.reply(), { kind: 'simple', error: 0, cookie: 1n });
  busy.destroy();
  await closed;
  assert.equal(device.content[0], 0);
  assert.equal(statSync(path, { throwIfNoEntry: false }), undefined);
});

test('close does not wait longer than its grace', async (t) => {
  const clock = new VirtualClock();
  const { connect, device, server } = await serveMemory(t, { clock });
  device.held.add('flush');
  const busy = await openClient(connect);
  busy.request(FLUSH);
  await until(() => device.flushes === 1);
  const closed = server.close({ graceMilliseconds: 1000 });
  clock.advance(999);
  assert.equal(server.metrics.connectionsOpen, 1);
  clock.advance(1);
  await closed;
  await busy.untilClosed();
});

test('an export that is removed takes its connections along and no others', async (t) => {
  const { connect, server } = await serveMemory(t);
  server.addExport('other', { device: new MemoryDevice(mebibyte) });
  const gone = await openClient(connect);
  const stays = await connect();
  await stays.open('other');
  await server.removeExport('disk');
  await gone.untilClosed();
  assert.equal(await stays.ask(FLUSH), 0);
  const late = await connect();
  await assert.rejects(late.open('disk'), /GO was refused: 80000006/);
  await assert.rejects(server.removeExport('disk'), (error) => isCaissonError(error, 'name-missing'));
});

test('sockets: private mode, stale ones replaced, foreign and living ones left alone', async (t) => {
  const { server, folder, path } = await serveMemory(t);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const second = createNbdServer();
  t.after(() => second.close());
  await assert.rejects(second.listen({ path }), (error) => isCaissonError(error, 'socket-in-use'));
  const file = join(folder, 'file');
  writeFileSync(file, 'mine');
  await assert.rejects(second.listen({ path: file }), (error) => isCaissonError(error, 'socket-in-use'));
  await assert.rejects(second.listen({ path: join(folder, 'none', 'x.sock') }), isCaissonError);
  await assert.rejects(second.listen({}), (error) => isCaissonError(error, 'argument-invalid'));
  await assert.rejects(second.listen({ path, tls: 'require' }), (error) =>
    isCaissonError(error, 'configuration-invalid'),
  );
  const where = await second.listen({ path: join(folder, 'second.sock') });
  assert.deepEqual(where, { path: join(folder, 'second.sock') });
  const tcp = await server.listen({ host: '127.0.0.1', port: 0 });
  assert.ok('port' in tcp);
  const client = await NbdClient.connect(tcp);
  t.after(() => client.destroy());
  await client.open('disk');
  assert.equal(await client.ask(FLUSH), 0);
  await assert.rejects(second.listen(tcp), (error) => isCaissonError(error, 'socket-in-use'));
});

test('a socket that a killed server left behind is replaced', async (t) => {
  const { folder } = await serveMemory(t);
  const path = join(folder, 'stale.sock');
  const { spawnSync } = await import('node:child_process');
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script]);
  assert.ok(statSync(path).isSocket());
  const server = createNbdServer({ exports: { disk: { device: new MemoryDevice(mebibyte) } } });
  t.after(() => server.close());
  await server.listen({ path });
  const client = await NbdClient.connect({ path });
  t.after(() => client.destroy());
  await client.open('disk');
});

test('spinning keeps the answers the same', async (t) => {
  const { connect, device } = await serveMemory(t, { spinMicroseconds: 100 });
  const client = await openClient(connect);
  for (let index = 0; index < 50; index++) {
    assert.equal(await client.ask(WRITE, { offset: index * 512, payload: Buffer.alloc(512, index) }), 0);
    assert.deepEqual(await client.read(index * 512, 512), Buffer.alloc(512, index));
    assert.equal(await client.ask(FLUSH), 0);
  }
  assert.equal(device.flushes, 50);
});
