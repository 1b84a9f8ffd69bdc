/** The rules of the handshake (spec/nbd.md, "Handshake"), over a real socket with a client that does as it likes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  infoData,
  metaContextData,
  type NbdClient,
  optionBytes,
  requestBytes,
} from '../../../test/support/nbd-client.ts';
import { serveMemory, until } from '../../../test/support/nbd-fixture.ts';
import { VirtualClock } from '../../../test/sim/clock.ts';
import { MemoryDevice } from '../../../test/support/memory-device.ts';
import { createNbdServer } from './nbd.ts';

const ack = 1;
const error = (number: number): number => 0x80000000 + number;
const unsupported = error(1);
const policy = error(2);
const invalid = error(3);
const tlsRequired = error(5);
const unknown = error(6);
const tooBig = error(9);

test('the greeting offers fixed newstyle and no zeroes', async (t) => {
  const { connect } = await serveMemory(t);
  const greeting = await (await connect()).greet();
  assert.equal(greeting.toString('latin1', 0, 16), 'NBDMAGICIHAVEOPT');
  assert.equal(greeting.readUInt16BE(16), 3);
});

test('a client flag that nobody offered ends the connection', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  await client.greet(7);
  assert.equal((await client.untilClosed()).length, 0);
});

test('EXPORT_NAME is answered with the 124 zeroes unless they were agreed away', async (t) => {
  const { connect, device } = await serveMemory(t);
  for (const [flags, length] of [
    [1, 134],
    [3, 10],
    [0, 134],
    [2, 10],
  ] as const) {
    const client = await connect();
    await client.greet(flags);
    client.send(optionBytes(1, Buffer.from('disk')));
    const reply = await client.take(length);
    assert.equal(reply.readBigUInt64BE(0), BigInt(device.size));
    assert.equal(reply.readUInt16BE(8) & 1, 1);
    assert.ok(reply.subarray(10).every((byte) => byte === 0));
    assert.equal(await client.ask(3), 0);
  }
});

test('EXPORT_NAME of a stranger ends the connection', async (t) => {
  const { connect } = await serveMemory(t);
  for (const name of ['nobody', 'x'.repeat(5000), 'disk\0']) {
    const client = await connect();
    await client.greet();
    client.send(optionBytes(1, Buffer.from(name)));
    assert.equal((await client.untilClosed()).length, 0, name.slice(0, 10));
  }
});

test('a client without fixed newstyle may only send EXPORT_NAME', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  await client.greet(0);
  client.send(optionBytes(3));
  assert.equal((await client.untilClosed()).length, 0);
});

test('unknown options, EXTENDED_HEADERS among them, are unsupported and leave the stream in step', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  await client.greet();
  for (const [option, length] of [
    [4, 0],
    [11, 0],
    [12, 300],
    [0, 7],
    [0xffffffff, 32 * 1024],
  ] as const) {
    assert.equal((await client.option(option, Buffer.alloc(length, 1))).type, unsupported);
  }
  assert.equal((await client.optionReplies(7, infoData('disk'))).at(-1)!.type, ack);
});

test('an option that is too long is dropped and answered, one that is absurd ends the connection', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  await client.greet();
  assert.equal((await client.option(3, Buffer.alloc(32 * 1024 + 1))).type, tooBig);
  assert.equal((await client.option(7, Buffer.alloc(1024 * 1024))).type, tooBig);
  assert.equal((await client.option(8)).type, ack);
  client.send(optionBytes(3, Buffer.alloc(0), 0xffffffff));
  assert.equal((await client.untilClosed()).length, 0);
});

test('a wrong option magic ends the connection', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  await client.greet();
  client.send(Buffer.alloc(16, 0x41));
  assert.equal((await client.untilClosed()).length, 0);
});

test('ABORT is acknowledged, then the connection ends', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  await client.greet();
  assert.equal((await client.option(2)).type, ack);
  await client.untilClosed();
});

test('LIST names every export with its description and takes no data', async (t) => {
  const { connect, server } = await serveMemory(t);
  server.addExport('zweite ü', { device: new MemoryDevice(4096) });
  const client = await connect();
  await client.greet();
  const replies = await client.optionReplies(3);
  assert.deepEqual(
    replies.map((reply) => reply.type),
    [2, 2, ack],
  );
  assert.equal(replies[0]!.data.readUInt32BE(0), 4);
  assert.equal(replies[0]!.data.toString('utf8', 4), 'diska disk in memory');
  assert.equal(replies[1]!.data.toString('utf8', 4), 'zweite ü');
  assert.equal((await client.option(3, Buffer.from('x'))).type, invalid);
});

test('a hidden export is found by its name alone', async (t) => {
  const { connect, server } = await serveMemory(t);
  server.addExport('secret', { device: new MemoryDevice(4096), isHidden: true });
  const client = await connect();
  await client.greet();
  const replies = await client.optionReplies(3);
  assert.deepEqual(
    replies.map((reply) => reply.type),
    [2, ack],
  );
  assert.ok(!replies[0]!.data.includes('secret'));
  assert.equal((await client.optionReplies(7, infoData('secret'))).at(-1)!.type, ack);
});

test('INFO gives what is asked for, GO goes on to transmission', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  await client.greet();
  const replies = await client.optionReplies(6, infoData('', [3, 1, 2, 77]));
  assert.deepEqual(
    replies.map((reply) => reply.type),
    [3, 3, 3, 3, ack],
  );
  const [exported, sizes, name, description] = replies.map((reply) => reply.data);
  assert.equal(exported!.readUInt16BE(0), 0);
  assert.equal(exported!.readUInt16BE(10), 0b1101_0110_1101);
  assert.deepEqual(
    [sizes!.readUInt32BE(2), sizes!.readUInt32BE(6), sizes!.readUInt32BE(10)],
    [1, 4096, 32 * 1024 * 1024],
  );
  assert.equal(name!.toString('utf8', 2), 'disk');
  assert.equal(description!.toString('utf8', 2), 'a disk in memory');
  assert.deepEqual(
    (await client.optionReplies(7, infoData('disk'))).map((reply) => reply.type),
    [3, ack],
  );
  assert.equal(await client.ask(3), 0);
});

test('INFO and GO refuse strangers and broken data, and the client may try again', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  await client.greet();
  assert.equal((await client.option(7, infoData('nobody'))).type, unknown);
  for (const broken of [
    Buffer.alloc(0),
    Buffer.alloc(5),
    infoData('disk').subarray(0, 9),
    Buffer.concat([infoData('disk'), Buffer.of(0)]),
    infoData('disk', [1, 1]),
    Buffer.concat([Buffer.of(0xff, 0xff, 0xff, 0xff), Buffer.alloc(8)]),
    infoData('a\0b'),
    Buffer.concat([Buffer.of(0, 0, 0, 1, 0xff, 0, 0)]),
  ]) {
    assert.equal((await client.option(6, broken)).type, invalid, broken.toString('hex'));
    assert.equal((await client.option(7, broken)).type, invalid, broken.toString('hex'));
  }
  assert.equal((await client.optionReplies(7, infoData('disk'))).at(-1)!.type, ack);
});

test('SEND_DF is offered with structured replies only, READ_ONLY and SEND_RESIZE as configured', async (t) => {
  const plain = await serveMemory(t);
  assert.equal((await (await plain.connect()).open('disk')).flags & (1 << 7), 0);
  assert.notEqual((await (await plain.connect()).open('disk', { structured: true })).flags & (1 << 7), 0);
  const fixed = await serveMemory(t, { readOnly: true });
  assert.notEqual((await (await fixed.connect()).open('disk')).flags & 2, 0);
  const elastic = await serveMemory(t, { resizable: true });
  assert.notEqual((await (await elastic.connect()).open('disk')).flags & (1 << 9), 0);
  const closed = await serveMemory(t, { device: { readOnly: true } });
  assert.notEqual((await (await closed.connect()).open('disk')).flags & 2, 0);
});

test('metadata contexts need structured replies, know base:allocation, ignore the rest', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  await client.greet();
  for (const option of [9, 10]) assert.equal((await client.option(option, metaContextData('disk', []))).type, invalid);
  assert.equal((await client.option(8, Buffer.of(1))).type, invalid);
  assert.equal((await client.option(8)).type, ack);
  const found = async (option: number, queries: string[]): Promise<string[]> => {
    const replies = await client.optionReplies(option, metaContextData('disk', queries));
    assert.equal(replies.at(-1)!.type, ack);
    return replies.slice(0, -1).map((reply) => `${reply.data.readUInt32BE(0)} ${reply.data.toString('utf8', 4)}`);
  };
  assert.deepEqual(await found(9, []), ['0 base:allocation']);
  assert.deepEqual(await found(9, ['base:']), ['0 base:allocation']);
  assert.deepEqual(await found(9, ['qemu:', 'base:none']), []);
  assert.deepEqual(await found(10, []), []);
  assert.deepEqual(await found(10, ['base:']), []);
  assert.deepEqual(await found(10, ['x-other:1', 'base:allocation', 'base:allocation']), ['1 base:allocation']);
  assert.equal((await client.option(10, metaContextData('nobody', []))).type, unknown);
  const huge = metaContextData('disk', []);
  huge.writeUInt32BE(0xffffffff, huge.length - 4);
  assert.equal((await client.option(10, huge)).type, invalid);
});

test('a selection holds for its own export, and a failed one clears it', async (t) => {
  const { connect, server } = await serveMemory(t);
  server.addExport('other', { device: new MemoryDevice(8192) });
  const status = async (prepare: (client: NbdClient) => Promise<unknown>): Promise<number> => {
    const client = await connect();
    await client.greet();
    await client.option(8);
    await client.optionReplies(10, metaContextData('disk', ['base:allocation']));
    await prepare(client);
    await client.optionReplies(7, infoData('disk'));
    return await client.ask(7, { length: 4096 });
  };
  const none = async (): Promise<void> => {};
  assert.equal(await status(none), 0);
  assert.equal(await status((client) => client.optionReplies(10, metaContextData('', ['base:allocation']))), 0);
  assert.equal(await status((client) => client.optionReplies(9, metaContextData('other', []))), 0);
  assert.equal(await status((client) => client.optionReplies(10, metaContextData('other', ['base:allocation']))), 22);
  assert.equal(await status((client) => client.optionReplies(10, metaContextData('disk', []))), 22);
  assert.equal(await status((client) => client.option(10, Buffer.of(1))), 22);
});

test('a stream cut after every byte gives the same session', async (t) => {
  const { connect, device } = await serveMemory(t);
  device.content.set(Buffer.from('hello'), 4096);
  const client = await connect();
  const flags = Buffer.of(0, 0, 0, 3);
  await client.sendBytewise(
    Buffer.concat([
      flags,
      optionBytes(8),
      optionBytes(99, Buffer.from('what')),
      optionBytes(10, metaContextData('disk', ['base:allocation'])),
      optionBytes(7, infoData('disk', [3])),
      requestBytes(0, { offset: 4096, length: 5, cookie: 5n }),
      requestBytes(1, { offset: 0, payload: Buffer.from('abc'), cookie: 6n }),
      requestBytes(7, { offset: 0, length: 8192, cookie: 7n }),
    ]),
  );
  await client.take(18);
  const types: number[] = [];
  for (let count = 0; count < 7; count++) types.push((await client.optionReply()).type);
  assert.deepEqual(types, [ack, unsupported, 4, ack, 3, 3, ack]);
  const read = await client.reply();
  assert.ok(read.kind === 'chunk');
  assert.equal(read.payload.toString('latin1', 8), 'hello');
  assert.deepEqual(await client.reply(), { kind: 'simple', error: 0, cookie: 6n });
  assert.equal((await client.reply()).cookie, 7n);
  assert.equal(Buffer.from(device.content.subarray(0, 3)).toString(), 'abc');
});

test('all of a session in one packet gives the same session', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  client.send(
    Buffer.concat([
      Buffer.of(0, 0, 0, 3),
      optionBytes(7, infoData('disk')),
      requestBytes(1, { offset: 512, payload: Buffer.alloc(300_000, 7) }),
      requestBytes(0, { offset: 512, length: 300_000 }),
      requestBytes(2),
    ]),
  );
  await client.take(18 + 20 + 12 + 20);
  assert.equal((await client.reply()).kind, 'simple');
  await client.reply();
  assert.deepEqual(await client.take(300_000), Buffer.alloc(300_000, 7));
  assert.equal((await client.untilClosed()).length, 0);
});

test('TLS off is policy, TLS required refuses everything else and never forgets to', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  await client.greet();
  assert.equal((await client.option(5)).type, policy);
  assert.equal((await client.option(5, Buffer.of(1))).type, invalid);

  const keys = { preSharedKey: () => Buffer.alloc(32) };
  const strict = await serveMemory(t, { tlsMaterial: keys, listenTls: 'require' });
  const other = await strict.connect();
  await other.greet();
  for (const option of [3, 6, 7, 8, 9, 10, 99]) assert.equal((await other.option(option)).type, tlsRequired);
  assert.equal((await other.option(5, Buffer.of(1))).type, invalid);
  other.send(optionBytes(1, Buffer.from('disk')));
  assert.equal((await other.untilClosed()).length, 0);
  const leaving = await strict.connect();
  await leaving.greet();
  assert.equal((await leaving.option(2)).type, ack);
});

test('bytes in the clear behind STARTTLS end the connection', async (t) => {
  const { connect, events } = await serveMemory(t, {
    tlsMaterial: { preSharedKey: () => Buffer.alloc(32) },
    listenTls: 'allow',
  });
  const client = await connect();
  await client.greet();
  client.send(Buffer.concat([optionBytes(8), optionBytes(5), optionBytes(7, infoData('disk'))]));
  await client.untilClosed();
  await until(() =>
    events.some((event) => event.event === 'connection-failed' && event.reason.includes('in the clear')),
  );
});

test('a handshake that dawdles is cut off, wherever it stands', async (t) => {
  const clock = new VirtualClock();
  const { connect, events, server } = await serveMemory(t, { clock });
  const silent = await connect();
  const slow = await connect();
  await slow.greet();
  slow.send(optionBytes(7, infoData('disk')).subarray(0, 20));
  const done = await connect();
  await done.open('disk');
  await until(() => server.metrics.connectionsOpen === 3);
  clock.advance(29_999);
  assert.equal(server.metrics.connectionsOpen, 3);
  clock.advance(2);
  await Promise.all([silent.untilClosed(), slow.untilClosed()]);
  assert.equal(events.filter((event) => event.event === 'connection-failed').length, 2);
  assert.equal(await done.ask(3), 0);
});

test('a flood of options is bounded', async (t) => {
  const { connect, events } = await serveMemory(t);
  const client = await connect();
  await client.greet();
  client.send(Buffer.concat(Array.from({ length: 5000 }, () => optionBytes(99))));
  await client.untilClosed();
  await until(() =>
    events.some((event) => event.event === 'connection-failed' && event.reason.includes('4096 options')),
  );
});

test('asking for ever without taking the answers ends the connection', async (t) => {
  const { connect, server, events } = await serveMemory(t);
  for (let index = 0; index < 100; index++) {
    server.addExport(`export-${index}`, { device: new MemoryDevice(512), description: 'x'.repeat(4000) });
  }
  const client = await connect();
  await client.greet();
  client.socket.pause();
  client.send(Buffer.concat(Array.from({ length: 1000 }, () => optionBytes(3))));
  await until(() =>
    events.some((event) => event.event === 'connection-failed' && event.reason.includes('does not take')),
  );
});

test('what cannot be configured is refused by name', () => {
  const device = new MemoryDevice(512);
  const refusal = (code: string) => (thrown: unknown) => (thrown as { code?: string }).code === code;
  assert.throws(() => createNbdServer({ tls: 'require' }), refusal('configuration-invalid'));
  assert.throws(() => createNbdServer({ tlsMaterial: {} }), refusal('configuration-invalid'));
  assert.throws(
    () => createNbdServer({ tlsMaterial: { certificate: { cert: 'x', key: 'y' } } }),
    refusal('configuration-invalid'),
  );
  assert.throws(() => createNbdServer({ spinMicroseconds: -1 }), refusal('argument-invalid'));
  assert.throws(() => createNbdServer({ exports: { 'a\0b': { device } } }), refusal('name-invalid'));
  const server = createNbdServer({ exports: { a: { device } } });
  assert.throws(() => server.addExport('a', { device }), refusal('name-exists'));
});
