/** The rules of the transmission phase (spec/nbd.md, "Transmission"), over a real socket. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CaissonError } from '../../lib/errors.ts';
import { errorOf, requestBytes } from '../../../test/support/nbd-client.ts';
import { mebibyte, serveMemory, until } from '../../../test/support/nbd-fixture.ts';

const [READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS, RESIZE] = [
  0, 1, 2, 3, 4, 5, 6, 7, 8,
] as const;
const [FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO] = [1, 2, 4, 8, 16] as const;
const [EPERM, EIO, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN] = [1, 5, 22, 28, 75, 95, 108] as const;
const payloadMax = 32 * mebibyte;

for (const directReads of [true, false]) {
  const how = directReads ? 'direct reads' : 'piecewise reads';

  test(`writes and reads of all sizes and alignments give back the same bytes (${how})`, async (t) => {
    const { connect, device } = await serveMemory(t, { size: 64 * mebibyte, directReads });
    const client = await connect();
    await client.open('disk');
    const shadow = Buffer.alloc(device.size);
    const lengths = [
      1,
      511,
      4096,
      4097,
      16 * 1024 - 28,
      16 * 1024 - 27,
      16 * 1024,
      100_000,
      256 * 1024,
      256 * 1024 + 1,
      3 * mebibyte,
      payloadMax,
    ];
    let offset = 0;
    for (const [index, length] of lengths.entries()) {
      const payload = Buffer.alloc(length, index + 1);
      payload.writeUInt8(index, length - 1);
      payload.copy(shadow, offset);
      assert.equal(await client.ask(WRITE, { offset, payload }), 0, `write of ${length}`);
      assert.deepEqual(await client.read(offset, length), payload, `read of ${length}`);
      offset += length;
    }
    assert.equal(Buffer.compare(shadow, Buffer.from(device.content)), 0);
    assert.equal(device.openWrites, 0);
  });

  test(`many requests in one packet are answered in order by a device that answers at once (${how})`, async (t) => {
    const { connect } = await serveMemory(t, { directReads });
    const client = await connect();
    await client.open('disk');
    const count = 3000;
    client.send(
      Buffer.concat(
        Array.from({ length: count }, (_, index) =>
          requestBytes(READ, { offset: index * 512, length: 512, cookie: BigInt(index) }),
        ),
      ),
    );
    for (let index = 0; index < count; index++) {
      const reply = await client.reply();
      assert.deepEqual(reply, { kind: 'simple', error: 0, cookie: BigInt(index) });
      await client.take(512);
    }
  });

  test(`late answers come in any order, each once, each with its own data (${how})`, async (t) => {
    const { connect, device } = await serveMemory(t, { directReads, device: { asyncSeed: 7 } });
    for (let block = 0; block < 2048; block++) device.content.fill(block, block * 4096, (block + 1) * 4096);
    for (const structured of [false, true]) {
      const client = await connect();
      await client.open('disk', { structured });
      const count = 600;
      client.send(
        Buffer.concat(
          Array.from({ length: count }, (_, index) =>
            index % 3 === 2
              ? requestBytes(WRITE, {
                  offset: 5 * mebibyte + index * 4096,
                  payload: Buffer.alloc(4096, index),
                  cookie: BigInt(index),
                })
              : requestBytes(READ, {
                  offset: index * 4096,
                  length: index % 50 === 0 ? 40_960 : 4096,
                  cookie: BigInt(index),
                }),
          ),
        ),
      );
      const seen = new Set<number>();
      let disorder = 0;
      for (let answered = 0; answered < count; answered++) {
        const reply = await client.reply();
        const index = Number(reply.cookie);
        assert.equal(errorOf(reply), 0);
        if (index !== answered) disorder += 1;
        seen.add(index);
        if (index % 3 === 2) continue;
        const length = index % 50 === 0 ? 40_960 : 4096;
        const data = reply.kind === 'chunk' ? reply.payload.subarray(8) : await client.take(length);
        assert.equal(data.length, length);
        assert.equal(
          Buffer.compare(data, Buffer.from(device.content.subarray(index * 4096, index * 4096 + length))),
          0,
          `request ${index}`,
        );
      }
      assert.equal(seen.size, count);
      assert.ok(disorder > 0, 'the device did answer out of order');
    }
  });
}

test('requests past the end: ENOSPC for writers, EINVAL for the others, and the stream stays in step', async (t) => {
  const { connect, device } = await serveMemory(t);
  const client = await connect();
  await client.open('disk', { structured: true, context: true });
  const size = device.size;
  for (const offset of [size - 1, size, size + 4096, 0xffff_ffff_ffff_fff0n]) {
    const payload = Buffer.alloc(4096, 9);
    assert.equal(await client.ask(WRITE, { offset, payload }), ENOSPC);
    assert.equal(await client.ask(WRITE_ZEROES, { offset, length: 4096 }), ENOSPC);
    for (const command of [READ, TRIM, CACHE, BLOCK_STATUS])
      assert.equal(await client.ask(command, { offset, length: 4096 }), EINVAL);
  }
  assert.equal(await client.ask(WRITE, { offset: size - 100_000, payload: Buffer.alloc(300_000, 9) }), ENOSPC);
  assert.ok(device.content.every((byte) => byte === 0));
  assert.equal(await client.ask(FLUSH), 0);
});

test('unknown commands and flags are EINVAL, FUA is welcome everywhere', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  await client.open('disk', { structured: true, context: true });
  for (const command of [8, 9, 10, 77, 0xffff]) assert.equal(await client.ask(command, { length: 512 }), EINVAL);
  const flagsOf = new Map<number, number>([
    [READ, FUA | DF],
    [WRITE, FUA],
    [FLUSH, FUA],
    [TRIM, FUA],
    [CACHE, FUA],
    [WRITE_ZEROES, FUA | NO_HOLE],
    [BLOCK_STATUS, FUA | REQ_ONE],
  ]);
  for (const [command, allowed] of flagsOf) {
    for (let bit = 0; bit < 16; bit++) {
      const flags = 1 << bit;
      if (command === WRITE_ZEROES && flags === FAST_ZERO) continue;
      const length = command === FLUSH ? 0 : 512;
      const fields = command === WRITE ? { flags, payload: Buffer.alloc(512) } : { flags, length };
      assert.equal(
        await client.ask(command, fields),
        (allowed & flags) === 0 ? EINVAL : 0,
        `command ${command} flag ${bit}`,
      );
    }
  }
});

test('DF needs structured replies, and then gives one chunk', async (t) => {
  const { connect } = await serveMemory(t);
  const plain = await connect();
  await plain.open('disk');
  assert.equal(await plain.ask(READ, { length: 512, flags: DF }), EINVAL);
  const client = await connect();
  await client.open('disk', { structured: true });
  client.request(READ, { offset: 512, length: 2 * mebibyte, flags: DF });
  const reply = await client.reply();
  assert.ok(reply.kind === 'chunk');
  assert.deepEqual([reply.type, reply.flags, reply.payload.length], [1, 1, 2 * mebibyte + 8]);
  assert.equal(reply.payload.readBigUInt64BE(0), 512n);
});

test('requests of nothing succeed, except a status of nothing', async (t) => {
  const { connect, device } = await serveMemory(t);
  for (const structured of [false, true]) {
    const client = await connect();
    await client.open('disk', { structured, context: structured });
    for (const offset of [0, 5, device.size]) {
      for (const command of [READ, WRITE, TRIM, CACHE, WRITE_ZEROES])
        assert.equal(await client.ask(command, { offset }), 0);
      assert.equal(await client.ask(WRITE_ZEROES, { offset, flags: FAST_ZERO }), 0);
      assert.equal(await client.ask(BLOCK_STATUS, { offset }), EINVAL);
    }
    client.request(READ);
    const reply = await client.reply();
    if (reply.kind === 'chunk') assert.deepEqual([reply.type, reply.flags, reply.payload.length], [0, 1, 0]);
  }
});

test('FLUSH takes neither offset nor length', async (t) => {
  const { connect, device } = await serveMemory(t);
  const client = await connect();
  await client.open('disk');
  assert.equal(await client.ask(FLUSH, { offset: 1 }), EINVAL);
  assert.equal(await client.ask(FLUSH, { length: 1 }), EINVAL);
  assert.equal(device.flushes, 0);
  assert.equal(await client.ask(FLUSH), 0);
  assert.equal(device.flushes, 1);
});

test('READ and CACHE beyond the largest payload overflow; commands without payload have no such bound', async (t) => {
  const { connect, device } = await serveMemory(t, { size: 40 * mebibyte });
  const client = await connect();
  await client.open('disk', { structured: true, context: true });
  assert.equal(await client.ask(READ, { length: payloadMax + 1 }), EOVERFLOW);
  assert.equal(await client.ask(CACHE, { length: payloadMax + 1 }), EOVERFLOW);
  assert.equal(await client.ask(READ, { length: 0xffff_ffff }), EOVERFLOW);
  for (const command of [TRIM, WRITE_ZEROES, BLOCK_STATUS])
    assert.equal(await client.ask(command, { length: device.size }), 0);
  assert.equal(await client.ask(TRIM, { length: 0xffff_ffff }), EINVAL);
  assert.equal(await client.ask(WRITE_ZEROES, { length: 0xffff_ffff }), ENOSPC);
});

test('a WRITE beyond the largest payload ends the connection, after the answers before it', async (t) => {
  const { connect, events } = await serveMemory(t);
  const client = await connect();
  await client.open('disk');
  client.send(Buffer.concat([requestBytes(TRIM, { length: 4096 }), requestBytes(WRITE, { length: payloadMax + 1 })]));
  assert.equal((await client.untilClosed()).length, 16);
  await until(() => events.some((event) => event.event === 'connection-failed'));
});

test('a read-only export refuses every change and consumes the payloads', async (t) => {
  for (const options of [{ readOnly: true }, { device: { readOnly: true } }]) {
    const { connect, device } = await serveMemory(t, options);
    const client = await connect();
    await client.open('disk');
    assert.equal(await client.ask(WRITE, { payload: Buffer.alloc(512) }), EPERM);
    assert.equal(await client.ask(WRITE, { payload: Buffer.alloc(mebibyte) }), EPERM);
    assert.equal(await client.ask(TRIM, { length: 4096 }), EPERM);
    assert.equal(await client.ask(WRITE_ZEROES, { length: 4096 }), EPERM);
    assert.equal((await client.read(0, 4096)).length, 4096);
    assert.equal(await client.ask(FLUSH), 0);
    assert.ok(!device.calls.some((call) => call.startsWith('write') || call.startsWith('begin')));
  }
});

test('FUA reaches the device', async (t) => {
  const { connect, device } = await serveMemory(t);
  const client = await connect();
  await client.open('disk');
  await client.ask(WRITE, { flags: FUA, payload: Buffer.alloc(512) });
  await client.ask(WRITE, { flags: FUA, payload: Buffer.alloc(mebibyte) });
  await client.ask(TRIM, { flags: FUA, length: 4096 });
  await client.ask(WRITE_ZEROES, { flags: FUA | NO_HOLE, length: 4096 });
  await client.ask(WRITE_ZEROES, { length: 4096 });
  assert.deepEqual(device.calls, [
    'write fua 0 512',
    `begin write 0 ${mebibyte}`,
    `finish write fua 0 ${mebibyte}`,
    'trim fua 0 4096',
    'zero fua 0 4096',
    'zero punch 0 4096',
  ]);
});

test('FAST_ZERO fails at once and changes nothing where zeroing is not known to be fast', async (t) => {
  const { connect, device } = await serveMemory(t);
  device.content.fill(1);
  const client = await connect();
  await client.open('disk');
  for (const [offset, length, flags] of [
    [0, 4095, 0],
    [1, 4096, 0],
    [100, 8000, 0],
    [0, 4096, NO_HOLE],
  ] as const) {
    assert.equal(await client.ask(WRITE_ZEROES, { offset, length, flags: flags | FAST_ZERO }), ENOTSUP);
  }
  assert.ok(device.content.every((byte) => byte === 1));
  assert.equal(await client.ask(WRITE_ZEROES, { offset: 100, length: 8192, flags: FAST_ZERO }), 0);
  assert.equal(await client.ask(WRITE_ZEROES, { offset: 1, length: 5 }), 0);
});

test('BLOCK_STATUS: one chunk, joined neighbours, never past the request, one extent with REQ_ONE', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  await client.open('disk', { structured: true, context: true });
  await client.ask(WRITE, { offset: 8192, payload: Buffer.alloc(8192, 1) });
  const status = async (offset: number, length: number, flags = 0): Promise<number[][]> => {
    client.request(BLOCK_STATUS, { offset, length, flags });
    const reply = await client.reply();
    assert.ok(reply.kind === 'chunk');
    assert.deepEqual([reply.type, reply.flags, reply.payload.readUInt32BE(0)], [5, 1, 1]);
    const words = Array.from({ length: (reply.payload.length - 4) / 4 }, (_, index) =>
      reply.payload.readUInt32BE(4 + index * 4),
    );
    return Array.from({ length: words.length / 2 }, (_, index) => words.slice(index * 2, index * 2 + 2));
  };
  assert.deepEqual(await status(0, 8 * mebibyte), [
    [8192, 3],
    [8192, 0],
    [8 * mebibyte - 16384, 3],
  ]);
  assert.deepEqual(await status(100, 8192), [
    [8092, 3],
    [100, 0],
  ]);
  assert.deepEqual(await status(0, 8 * mebibyte, REQ_ONE), [[8192, 3]]);
  assert.deepEqual(await status(0, 512, REQ_ONE), [[512, 3]]);
});

test('BLOCK_STATUS answers late, too, and its descriptors are bounded', async (t) => {
  const { connect, device } = await serveMemory(t, { size: 96 * mebibyte, device: { asyncSeed: 3 } });
  const client = await connect();
  await client.open('disk', { structured: true, context: true });
  const writes = [];
  for (let block = 0; block < 20_000; block += 2)
    writes.push(requestBytes(WRITE, { offset: block * 4096, payload: Buffer.of(1) }));
  client.send(Buffer.concat(writes));
  for (let index = 0; index < writes.length; index++) await client.reply();
  client.request(BLOCK_STATUS, { length: device.size });
  const reply = await client.reply();
  assert.ok(reply.kind === 'chunk');
  assert.equal(reply.payload.length, 4 + 8 * 8192);
});

test('BLOCK_STATUS without a selected context, and without structured replies, is EINVAL', async (t) => {
  const { connect } = await serveMemory(t);
  for (const structured of [false, true]) {
    const client = await connect();
    await client.open('disk', { structured });
    assert.equal(await client.ask(BLOCK_STATUS, { length: 4096 }), EINVAL);
  }
});

test('CACHE reads the range and answers without data', async (t) => {
  const { connect, device } = await serveMemory(t);
  const client = await connect();
  await client.open('disk', { structured: true });
  assert.equal(await client.ask(CACHE, { offset: 4096, length: mebibyte }), 0);
  const read = device.calls
    .filter((call) => call.startsWith('read'))
    .reduce((sum, call) => sum + Number(call.split(' ')[2]), 0);
  assert.equal(read, mebibyte);
});

test('errors of the device are told by the table, at once or late, and a failed read leaks nothing', async (t) => {
  const { connect, device, events } = await serveMemory(t);
  device.content.fill(0xee);
  const table = [
    ['transient', 'store-io', EIO],
    ['invalid', 'argument-invalid', EINVAL],
    ['integrity', 'unit-tampered', EIO],
    ['fenced', 'volume-fenced', ESHUTDOWN],
    ['denied', 'volume-read-only', EPERM],
    ['full', 'store-full', ENOSPC],
    ['io', 'store-io', EIO],
    ['closed', 'volume-closed', ESHUTDOWN],
    ['bug', 'assertion-failed', EIO],
  ] as const;
  for (const structured of [false, true]) {
    const client = await connect();
    await client.open('disk', { structured });
    for (const late of [false, true]) {
      for (const [kind, code, errno] of table) {
        for (const [command, operation] of [
          [READ, 'read'],
          [WRITE, 'write'],
          [WRITE_ZEROES, 'zero'],
          [TRIM, 'trim'],
          [FLUSH, 'flush'],
        ] as const) {
          device.faults.push({ operation, error: new CaissonError(kind, code, 'made up'), late });
          const fields = command === WRITE ? { payload: Buffer.alloc(512) } : { length: command === FLUSH ? 0 : 512 };
          assert.equal(await client.ask(command, fields), errno, `${kind} ${operation} late ${late}`);
        }
        device.faults.push({ operation: 'read', error: new CaissonError(kind, code, 'made up'), late });
        client.request(READ, { length: 100_000 });
        const reply = await client.reply();
        assert.equal(errorOf(reply), errno);
        if (reply.kind === 'chunk') assert.equal(reply.payload.length, 6);
      }
      device.faults.push({ operation: 'read', error: new TypeError('a defect'), late });
      assert.equal(await client.ask(READ, { length: 512 }), EIO);
    }
    assert.equal((await client.read(0, 4)).toString('hex'), 'eeeeeeee');
    assert.equal(client.receivedLength, 0);
  }
  assert.ok(events.some((event) => event.event === 'request-failed' && event.error instanceof TypeError));
});

test('a failed read between good ones in one batch takes back exactly its own reply', async (t) => {
  const { connect, device } = await serveMemory(t);
  device.content.fill(3);
  const client = await connect();
  await client.open('disk');
  device.faults.push({ operation: 'read', error: new CaissonError('integrity', 'unit-tampered', 'made up') });
  client.send(Buffer.concat([1n, 2n, 3n].map((cookie) => requestBytes(READ, { length: 1000, cookie }))));
  assert.deepEqual(await client.reply(), { kind: 'simple', error: EIO, cookie: 1n });
  for (const cookie of [2n, 3n]) {
    assert.deepEqual(await client.reply(), { kind: 'simple', error: 0, cookie });
    assert.deepEqual(await client.take(1000), Buffer.alloc(1000, 3));
  }
});

test('a write that the device refuses in the middle consumes its payload', async (t) => {
  const { connect, device } = await serveMemory(t);
  const client = await connect();
  await client.open('disk');
  device.faults.push({ operation: 'write', error: new CaissonError('full', 'store-full', 'made up') });
  assert.equal(await client.ask(WRITE, { payload: Buffer.alloc(mebibyte) }), ENOSPC);
  assert.equal(await client.ask(FLUSH), 0);
  assert.equal(device.openWrites, 0);
});

test('a wrong magic number ends the connection', async (t) => {
  const { connect } = await serveMemory(t);
  const client = await connect();
  await client.open('disk');
  client.request(FLUSH, { magic: 0x25609514 });
  assert.equal((await client.untilClosed()).length, 0);
});

test('DISC answers what is in flight, takes nothing more, and closes', async (t) => {
  const { connect, device } = await serveMemory(t);
  const client = await connect();
  await client.open('disk');
  device.held.add('flush');
  client.send(
    Buffer.concat([requestBytes(FLUSH), requestBytes(DISC), requestBytes(WRITE, { payload: Buffer.alloc(512, 1) })]),
  );
  await until(() => device.flushes === 1);
  device.release('flush');
  assert.equal((await client.untilClosed()).length, 16);
  assert.equal(device.content[0], 0);
});

test('RESIZE: unknown unless configured, safe for others, visible at once', async (t) => {
  const fixed = await serveMemory(t);
  const stranger = await fixed.connect();
  await stranger.open('disk');
  assert.equal(await stranger.ask(RESIZE, { offset: 16 * mebibyte, length: 0 }), EINVAL);

  const { connect, device } = await serveMemory(t, { resizable: true });
  const client = await connect();
  await client.open('disk');
  assert.equal(await client.ask(RESIZE, { offset: 16 * mebibyte + 1, length: 0 }), EINVAL);
  assert.equal(await client.ask(RESIZE, { offset: 0, length: 0 }), EINVAL);
  assert.equal(await client.ask(RESIZE, { offset: 16 * mebibyte, length: 0 }), 0);
  assert.equal(await client.ask(WRITE, { offset: 12 * mebibyte, payload: Buffer.alloc(512) }), 0);
  const other = await connect();
  assert.equal((await other.open('disk')).size, BigInt(16 * mebibyte));
  assert.equal(await client.ask(RESIZE, { offset: 4 * mebibyte, length: 0 }), EPERM);
  await device.resize(4 * mebibyte);
  assert.equal(await other.ask(READ, { offset: 12 * mebibyte, length: 512 }), EINVAL);
  assert.equal(await other.ask(WRITE, { offset: 4 * mebibyte - 1, payload: Buffer.alloc(2) }), ENOSPC);
});

test('a FLUSH covers writes of every connection, and metrics add up', async (t) => {
  const { connect, device, server } = await serveMemory(t);
  const [one, two] = [await connect(), await connect()];
  await one.open('disk');
  await two.open('disk');
  await one.ask(WRITE, { payload: Buffer.alloc(4096) });
  await two.ask(FLUSH);
  await two.read(0, 512);
  await two.ask(TRIM, { length: 1, offset: device.size });
  assert.deepEqual(device.calls, ['write 0 4096', 'flush 0 0', 'read 0 512']);
  const { metrics } = server;
  assert.deepEqual([...metrics.requests], [1, 1, 0, 1, 1, 0, 0, 0, 0, 0]);
  assert.deepEqual([...metrics.errors], [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
  assert.deepEqual([metrics.bytesRead, metrics.bytesWritten, metrics.connectionsOpen], [512, 4096, 2]);
});
