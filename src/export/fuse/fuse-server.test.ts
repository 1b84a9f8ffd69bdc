import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  FuseKernel,
  fuseInit,
  fuseRequest,
  fuseTransfer,
  serveSmallDevice,
  SmallDevice,
} from '../../../test/support/fuse-kernel.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import { fuseReadsInFlightMax, fuseRequestsInFlightMax } from '../../lib/limits.ts';
import { Errno } from './fuse-errors.ts';
import { Opcode } from './fuse-format.ts';
import { FuseServer } from './fuse-server.ts';

const file = 2;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const u64 = (body: Uint8Array, at: number): number => Number(new DataView(body.buffer).getBigUint64(at, true));
const u32 = (body: Uint8Array, at: number): number => new DataView(body.buffer).getUint32(at, true);

function words(...values: number[]): Uint8Array {
  return new Uint8Array(new BigUint64Array(values.map(BigInt)).buffer);
}

function allocation(offset: number, length: number, mode: number): Uint8Array {
  return words(0, offset, length, mode);
}

test('INIT settles on the smaller minor and takes only the flags it knows', async () => {
  const { kernel, server } = serveSmallDevice(new SmallDevice(8192));
  await server.ready;
  const { body, errno } = kernel.replies[0]!;
  assert.equal(errno, 0);
  assert.deepEqual([u32(body, 0), u32(body, 4), u32(body, 12), u32(body, 20)], [7, 41, 0x448021 & 0x73fffffb, 1048576]);
});

test('an older kernel is refused by name, a newer major is asked to come down', async () => {
  for (const [major, minor] of [
    [6, 9],
    [7, 30],
  ] as const) {
    const kernel = new FuseKernel();
    const server = new FuseServer({
      device: new SmallDevice(8192),
      channel: kernel,
      owner: { userId: 0, groupId: 0, seconds: 0 },
      log: () => undefined,
    });
    server.start();
    kernel.ask(Opcode.init, 0, fuseInit(major, minor));
    await assert.rejects(server.ready, (error) => isCaissonError(error, 'unsupported'));
    assert.equal(kernel.replies[0]!.errno, Errno.EPROTO);
  }
  const kernel = new FuseKernel();
  const server = new FuseServer({
    device: new SmallDevice(8192),
    channel: kernel,
    owner: { userId: 0, groupId: 0, seconds: 0 },
    log: () => undefined,
  });
  server.start();
  kernel.ask(Opcode.init, 0, fuseInit(8, 0));
  kernel.ask(Opcode.getAttributes, file, words(0, 0));
  kernel.ask(Opcode.init, 0, fuseInit(7, 38));
  await server.ready;
  assert.deepEqual(
    kernel.replies.map((reply) => reply.errno),
    [0, Errno.EIO, 0],
  );
  assert.deepEqual([u32(kernel.replies[0]!.body, 0), u32(kernel.replies[2]!.body, 4)], [7, 38]);
});

test('the folder shows one file of the size of the device', () => {
  const { kernel } = serveSmallDevice(new SmallDevice(1 << 20));
  const found = kernel.replyTo(kernel.ask(Opcode.lookup, 1, new TextEncoder().encode('disk\0')))!;
  assert.deepEqual(
    [found.errno, u64(found.body, 0), u64(found.body, 48), u32(found.body, 100)],
    [0, file, 1 << 20, 0o100600],
  );
  const missing = kernel.replyTo(kernel.ask(Opcode.lookup, 1, new TextEncoder().encode('other\0')))!;
  assert.equal(missing.errno, Errno.ENOENT);
  const long = kernel.replyTo(kernel.ask(Opcode.lookup, 1, new TextEncoder().encode(`${'x'.repeat(256)}\0`)))!;
  assert.equal(long.errno, Errno.ENAMETOOLONG);
  const listed = kernel.replyTo(kernel.ask(Opcode.readFolder, 1, fuseTransfer(0, 4096)))!;
  assert.match(Buffer.from(listed.body).toString('latin1'), /disk/);
});

test('reads and writes reach the device and are cut at its end', () => {
  const device = new SmallDevice(8192);
  const { kernel } = serveSmallDevice(device);
  const written = kernel.replyTo(kernel.ask(Opcode.write, file, fuseTransfer(8190, 4, Uint8Array.of(1, 2, 3, 4))))!;
  assert.deepEqual([written.errno, u32(written.body, 0)], [0, 2]);
  assert.deepEqual([...device.bytes.subarray(8190)], [1, 2]);
  const read = kernel.replyTo(kernel.ask(Opcode.read, file, fuseTransfer(8188, 100)))!;
  assert.deepEqual([read.errno, ...read.body], [0, 0, 0, 1, 2]);
  assert.equal(kernel.replyTo(kernel.ask(Opcode.read, file, fuseTransfer(8192, 1)))!.body.length, 0);
  assert.equal(
    kernel.replyTo(kernel.ask(Opcode.write, file, fuseTransfer(8192, 1, Uint8Array.of(1))))!.errno,
    Errno.ENOSPC,
  );
  assert.equal(kernel.replyTo(kernel.ask(Opcode.read, file, fuseTransfer(0, 1048577)))!.errno, Errno.EINVAL);
  assert.equal(kernel.replyTo(kernel.ask(Opcode.read, 1, fuseTransfer(0, 1)))!.errno, Errno.EINVAL);
});

test('nothing changes a read-only device, and its size never changes', () => {
  const device = new SmallDevice(8192);
  const { kernel } = serveSmallDevice(device);
  const resize = (size: number): Uint8Array => Uint8Array.from([...words(8, 0, size), ...new Uint8Array(64)]);
  assert.equal(kernel.replyTo(kernel.ask(Opcode.setAttributes, file, resize(0)))!.errno, Errno.EPERM);
  assert.equal(kernel.replyTo(kernel.ask(Opcode.setAttributes, file, resize(8192)))!.errno, 0);
  device.readOnly = true;
  assert.equal(
    kernel.replyTo(kernel.ask(Opcode.write, file, fuseTransfer(0, 1, Uint8Array.of(1))))!.errno,
    Errno.EROFS,
  );
  assert.equal(kernel.replyTo(kernel.ask(Opcode.allocate, file, allocation(0, 4096, 3)))!.errno, Errno.EROFS);
  assert.equal(kernel.replyTo(kernel.ask(Opcode.open, file, words(2)))!.errno, Errno.EROFS);
  assert.deepEqual(device.calls, []);
});

test('a hole is trimmed where blocks are whole and zeroed at its edges', async () => {
  const device = new SmallDevice(32768);
  device.bytes.fill(7);
  const { kernel } = serveSmallDevice(device);
  kernel.ask(Opcode.allocate, file, allocation(100, 10000, 3));
  await turn();
  assert.deepEqual(device.calls, ['zero 100 3996 true', 'trim 4096 4096', 'zero 8192 1908 true']);
  assert.ok(device.bytes.subarray(100, 10100).every((byte) => byte === 0));
  assert.deepEqual([device.bytes[99], device.bytes[10100]], [7, 7]);
  device.calls.length = 0;
  kernel.ask(Opcode.allocate, file, allocation(4096, 8192, 3));
  kernel.ask(Opcode.allocate, file, allocation(10, 20, 3));
  kernel.ask(Opcode.allocate, file, allocation(0, 4096, 17));
  assert.deepEqual(device.calls, ['trim 4096 8192', 'zero 10 20 true', 'zero 0 4096 false']);
  assert.equal(kernel.replyTo(kernel.ask(Opcode.allocate, file, allocation(0, 4096, 0)))!.errno, Errno.EOPNOTSUPP);
  assert.equal(kernel.replyTo(kernel.ask(Opcode.allocate, file, allocation(0, 4096, 8)))!.errno, Errno.EOPNOTSUPP);
  assert.equal(kernel.replyTo(kernel.ask(Opcode.allocate, file, allocation(32768, 1, 3)))!.errno, Errno.EINVAL);
  assert.equal(kernel.replyTo(kernel.ask(Opcode.allocate, file, allocation(0, 0, 3)))!.errno, Errno.EINVAL);
});

test('SEEK_DATA and SEEK_HOLE walk the extents to the end', async () => {
  const device = new SmallDevice(20 * 4096);
  device.bytes.fill(1, 10 * 4096, 12 * 4096);
  const { kernel } = serveSmallDevice(device);
  const seek = async (offset: number, whence: number): Promise<number> => {
    const unique = kernel.ask(Opcode.seek, file, words(0, offset, whence));
    await turn();
    const reply = kernel.replyTo(unique)!;
    return reply.errno === 0 ? u64(reply.body, 0) : -reply.errno;
  };
  assert.equal(await seek(5, 3), 10 * 4096);
  assert.equal(await seek(10 * 4096 + 5, 3), 10 * 4096 + 5);
  assert.equal(await seek(10 * 4096, 4), 12 * 4096);
  assert.equal(await seek(12 * 4096, 3), -Errno.ENXIO);
  assert.equal(await seek(20 * 4096, 4), -Errno.ENXIO);
  assert.equal(await seek(0, 1), -Errno.EINVAL);
  device.bytes.fill(1, 12 * 4096);
  assert.equal(await seek(10 * 4096, 4), 20 * 4096);
});

test('what the device refuses becomes its errno and every buffer comes back', async () => {
  const device = new SmallDevice(8192);
  const { kernel } = serveSmallDevice(device);
  const cases = [
    [new CaissonError('integrity', 'unit-tampered', 'x'), Errno.EIO],
    [new CaissonError('denied', 'volume-latched', 'x'), Errno.EROFS],
    [new CaissonError('full', 'store-full', 'x'), Errno.ENOSPC],
    [new TypeError('a defect'), Errno.EIO],
  ] as const;
  for (const [failure, errno] of cases) {
    device.failure = failure;
    for (let count = 0; count < fuseReadsInFlightMax + 1; count++) {
      const reply = kernel.replyTo(kernel.ask(Opcode.read, file, fuseTransfer(0, 4096)))!;
      assert.deepEqual([reply.errno, reply.body.length], [errno, 0]);
    }
  }
  device.failure = undefined;
  device.hold();
  const unique = kernel.ask(Opcode.read, file, fuseTransfer(0, 4096));
  assert.equal(kernel.replyTo(unique), undefined);
  device.letGo();
  await turn();
  assert.equal(kernel.replyTo(unique)!.body.length, 4096);
});

test('waiting reads and requests are bounded; the rest stays with the kernel', async () => {
  const device = new SmallDevice(8192);
  const { kernel } = serveSmallDevice(device);
  device.hold();
  for (let count = 0; count < fuseReadsInFlightMax + 3; count++) kernel.ask(Opcode.read, file, fuseTransfer(0, 4096));
  assert.equal(kernel.waitingCount, 3);
  device.letGo();
  await turn();
  assert.deepEqual([kernel.waitingCount, kernel.replies.length], [0, 1 + fuseReadsInFlightMax + 3]);
  device.hold();
  for (let count = 0; count < fuseRequestsInFlightMax + 5; count++) kernel.ask(Opcode.sync, file, words(0, 0));
  await turn();
  assert.equal(kernel.waitingCount, 5);
  device.letGo();
  await turn();
  assert.equal(kernel.waitingCount, 0);
});

test('a device that holds writers back is given no further request', async () => {
  const device = new SmallDevice(8192);
  const { kernel } = serveSmallDevice(device);
  const pressure = Promise.withResolvers<void>();
  device.pressed = pressure.promise;
  kernel.ask(Opcode.write, file, fuseTransfer(0, 1, Uint8Array.of(1)));
  kernel.ask(Opcode.write, file, fuseTransfer(1, 1, Uint8Array.of(1)));
  assert.deepEqual(device.calls, ['write 0 1']);
  device.pressed = undefined;
  pressure.resolve();
  await turn();
  assert.deepEqual(device.calls, ['write 0 1', 'write 1 1']);
});

test('unknown operations get ENOSYS, malformed bodies EINVAL, forgets nothing', () => {
  const { kernel } = serveSmallDevice(new SmallDevice(8192));
  assert.equal(kernel.replyTo(kernel.ask(22, file, new Uint8Array(8)))!.errno, Errno.ENOSYS);
  assert.equal(kernel.replyTo(kernel.ask(Opcode.interrupt, 0, words(2)))!.errno, Errno.ENOSYS);
  assert.equal(kernel.replyTo(kernel.ask(Opcode.sync, file, words(0)))!.errno, Errno.EINVAL);
  assert.equal(kernel.replyTo(kernel.ask(Opcode.forget, file, words(1))), undefined);
  assert.equal(kernel.replyTo(kernel.ask(Opcode.forgetMany, 0, words(1))), undefined);
});

test('the export ends when the mount does, after what still waits', async () => {
  const device = new SmallDevice(8192);
  const { kernel, server } = serveSmallDevice(device);
  device.hold();
  kernel.ask(Opcode.read, file, fuseTransfer(0, 4096));
  let over = false;
  void server.ended.then(() => (over = true));
  kernel.end();
  await turn();
  assert.equal(over, false);
  device.letGo();
  await server.ended;
  assert.equal(kernel.replies.length, 1, 'nobody is left to answer');
});

test('a message without a usable header ends the export with a named error', async () => {
  const { kernel, server } = serveSmallDevice(new SmallDevice(8192));
  kernel.raw(fuseRequest(Opcode.getAttributes, file, 9, words(0, 0)).subarray(0, 50));
  await assert.rejects(server.ended, (error) => isCaissonError(error, 'protocol-violation'));
});
