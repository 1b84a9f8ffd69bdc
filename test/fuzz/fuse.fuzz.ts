/**
 * Requests of all kinds, well-formed and damaged, against the FUSE server: nothing but a named error
 * comes out, every request with a header gets exactly one reply (FORGET none), every reply is well
 * formed, and the content stays what a plain array would hold.
 */
import assert from 'node:assert/strict';
import { Opcode } from '../../src/export/fuse/fuse-format.ts';
import { fuseRequest, fuseTransfer, serveSmallDevice, SmallDevice } from '../support/fuse-kernel.ts';
import { seededBytes } from './seeded.ts';
import type { SeededBytes } from './seeded.ts';

const deviceBytes = 64 * 1024;
const opcodes = Object.values(Opcode).filter((opcode) => opcode !== Opcode.init);
const replyBytesMax = 16 + 1024 * 1024;

export async function fuzz(seed: number, iterations: number): Promise<void> {
  const random = seededBytes(seed);
  const device = new SmallDevice(deviceBytes);
  const { kernel, server } = serveSmallDevice(device);
  await server.ready;
  const model = Uint8Array.from(device.bytes);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    kernel.replies.length = 0;
    const opcode = random.below(20) === 0 ? random.below(6000) : opcodes[random.below(opcodes.length)]!;
    const body = random.below(2) === 0 ? likelyBody(opcode, random) : random.bytes(random.below(100));
    const message = fuseRequest(opcode, random.below(4), iteration + 1, body);
    const sound = random.below(50) !== 0;
    if (sound) {
      kernel.raw(message);
      await new Promise((resolve) => setImmediate(resolve));
      checkReply(kernel.replies, opcode, iteration + 1, where);
      if (kernel.replies[0]?.errno === 0) applyToModel(model, opcode, message);
      assert.equal(Buffer.compare(device.bytes, model), 0, `${where}: content differs`);
      continue;
    }
    await checkDamaged(message, random, where);
  }
}

function checkReply(
  replies: readonly { unique: number; errno: number; length: number; body: Uint8Array }[],
  opcode: number,
  unique: number,
  where: string,
): void {
  const silent = opcode === Opcode.forget || opcode === Opcode.forgetMany;
  assert.equal(replies.length, opcode === Opcode.init || !silent ? 1 : 0, where);
  const reply = replies[0];
  if (reply === undefined) return;
  assert.equal(reply.unique, unique, where);
  assert.equal(reply.length, 16 + reply.body.length, where);
  assert.ok(reply.length <= replyBytesMax && reply.errno >= 0 && reply.errno < 200, where);
  if (reply.errno !== 0) assert.equal(reply.body.length, 0, where);
}

/** Damage to the header's length or extensions ends a conversation; a fresh one shows it. */
async function checkDamaged(message: Uint8Array, random: SeededBytes, where: string): Promise<void> {
  const { kernel, server } = serveSmallDevice(new SmallDevice(4096));
  const damaged = random.below(2) === 0 ? message.subarray(0, random.below(message.length)) : Uint8Array.from(message);
  if (damaged.length === message.length)
    damaged[random.below(2) === 0 ? random.below(4) : 36]! ^= 1 + random.below(255);
  if (damaged.length === 0) return; // a read of nothing is no message
  kernel.raw(damaged);
  await assert.rejects(server.ended, { name: 'CaissonError', code: 'protocol-violation' }, where);
}

function likelyBody(opcode: number, random: SeededBytes): Uint8Array {
  const offset = random.below(deviceBytes + 5000);
  const size = random.below(9000);
  if (opcode === Opcode.write) return fuseTransfer(offset, size, random.bytes(size));
  if (opcode === Opcode.read || opcode === Opcode.readFolder)
    return fuseTransfer(random.below(4) === 0 ? random.below(4) : offset, size);
  const modes = [3, 16, 17, 0, 1, 8];
  if (opcode === Opcode.allocate) return words([0, offset, size, modes[random.below(modes.length)]!]);
  if (opcode === Opcode.seek) return words([0, offset, random.below(6)]);
  if (opcode === Opcode.lookup) return new TextEncoder().encode(['disk\0', '.\0', 'dis\0', 'disk'][random.below(4)]);
  const lengths: Readonly<Record<number, number>> = {
    3: 16,
    4: 88,
    14: 8,
    17: 0,
    18: 24,
    20: 16,
    25: 24,
    27: 8,
    29: 24,
    30: 16,
    34: 8,
    36: 8,
    38: 0,
  };
  return random.bytes(lengths[opcode] ?? 8);
}

function applyToModel(model: Uint8Array, opcode: number, message: Uint8Array): void {
  const view = new DataView(message.buffer);
  if (opcode === Opcode.write) {
    const offset = Number(view.getBigUint64(48, true));
    model.set(
      message.subarray(80, 80 + Math.max(Math.min(model.length - offset, message.length - 80), 0)),
      Math.min(offset, model.length),
    );
  }
  if (opcode === Opcode.allocate) {
    const offset = Number(view.getBigUint64(48, true));
    model.fill(0, offset, offset + Number(view.getBigUint64(56, true)));
  }
}

function words(values: readonly number[]): Uint8Array {
  return new Uint8Array(new BigUint64Array(values.map(BigInt)).buffer);
}
