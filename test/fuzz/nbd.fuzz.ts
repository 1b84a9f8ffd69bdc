/**
 * NBD: both machines fed with seeded streams, legal and not, cut at seeded places.
 *
 * Handshake: the answers do not depend on the cuts, and nothing throws. Transmission: a model knows
 * the answer to each request; every request is answered exactly once with that, whatever is in front
 * of or behind it, over devices that answer at once or late, and the device ends up as the model.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Handshake, type HandshakeHost, type Selection } from '../../src/export/nbd/handshake.ts';
import { NbdMetrics } from '../../src/export/nbd/metrics.ts';
import { decodeInfoRequest, decodeMetaContextRequest } from '../../src/export/nbd/options-format.ts';
import { ReplyPool } from '../../src/export/nbd/reply-pool.ts';
import { decodeRequest } from '../../src/export/nbd/request-format.ts';
import { Spinner } from '../../src/export/nbd/spin.ts';
import { readStart, Transmission } from '../../src/export/nbd/transmission.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { nbdReadBytes } from '../../src/lib/limits.ts';
import { MemoryDevice } from '../support/memory-device.ts';
import { infoData, metaContextData, optionBytes, requestBytes } from '../support/nbd-client.ts';
import { seededBytes, type SeededBytes } from './seeded.ts';

const deviceBytes = 1024 * 1024;

/** Returns a digest of all answers, the same for the same seed. */
export async function fuzz(seed: number, iterations: number): Promise<string> {
  const random = seededBytes(seed);
  const digest = createHash('sha256');
  for (let iteration = 0; iteration < iterations; iteration++) {
    const where = `seed ${seed} iteration ${iteration}`;
    digest.update(fuzzHandshake(random, where));
    digest.update(await fuzzTransmission(random, where));
  }
  return digest.digest('hex');
}

// Handshake

function fuzzHandshake(random: SeededBytes, where: string): string {
  const stream = handshakeStream(random);
  const whole = runHandshake([stream]);
  assert.equal(runHandshake(cut(stream, random)), whole, where);
  if (stream.length < 400) assert.equal(runHandshake(Array.from(stream, (byte) => Buffer.of(byte))), whole, where);
  return whole;
}

function handshakeStream(random: SeededBytes): Buffer {
  const parts: Uint8Array[] = [Buffer.of(0, 0, 0, random.below(20) === 0 ? random.below(256) : 3)];
  const names = ['disk', '', 'nobody', 'ä', 'x'.repeat(random.below(5000))];
  const count = 1 + random.below(8);
  for (let index = 0; index < count; index++) {
    const name = names[random.below(names.length)]!;
    const data = [
      () => Buffer.alloc(0),
      () =>
        infoData(
          name,
          Array.from({ length: random.below(5) }, () => random.below(5)),
        ),
      () => metaContextData(name, ['base:', 'base:allocation', 'x-y:z'].slice(random.below(3))),
      () => random.bytes(random.below(60)),
    ][random.below(4)]!();
    const bytes = Buffer.from(data);
    if (bytes.length > 0 && random.below(4) === 0) bytes[random.below(bytes.length)] = random.below(256);
    decodeInfoRequest(bytes, 4096);
    decodeMetaContextRequest(bytes, 4096);
    parts.push(optionBytes(random.below(12), bytes));
    if (random.below(15) === 0) parts.push(random.bytes(random.below(40)));
  }
  return Buffer.concat(parts);
}

/** The whole story of a handshake as text. */
function runHandshake(pieces: readonly Uint8Array[]): string {
  const story: string[] = [];
  let over = false;
  const rest: Uint8Array[] = [];
  const end = (what: string): void => {
    over = true;
    story.push(what);
  };
  const host: HandshakeHost = {
    send: (bytes) => void story.push(Buffer.from(bytes).toString('hex')),
    unsentBytes: 0,
    startTls: () => void story.push('tls'),
    begin: (selection: Selection, left) => {
      end(`begin ${selection.name} ${JSON.stringify(selection.negotiated)}`);
      rest.push(left);
    },
    finish: () => end('finish'),
    violate: (reason) => end(`violate ${reason}`),
  };
  const chosen = { device: new MemoryDevice(deviceBytes) };
  const handshake = new Handshake({
    host,
    find: (name) => (name === 'disk' || name === '' ? { name: 'disk', chosen } : undefined),
    list: () => [['disk', chosen]],
    tls: 'allow',
    stopping: () => false,
  });
  handshake.greet();
  for (const piece of pieces) {
    if (over) rest.push(piece);
    else handshake.feed(piece);
  }
  // What comes after any other end is nobody's business.
  const begun = story.at(-1)!.startsWith('begin');
  return [...story, begun ? Buffer.concat(rest).toString('hex') : ''].join('\n');
}

// Transmission

interface Expected {
  readonly cookie: bigint;
  readonly errno: number;
  /** What a successful READ returns. */
  readonly data?: Buffer;
}

async function fuzzTransmission(random: SeededBytes, where: string): Promise<string> {
  const late = random.below(2) === 0;
  const structured = random.below(2) === 0;
  const device = new MemoryDevice(deviceBytes, late ? { asyncSeed: random.below(1000) } : {});
  device.recordsCalls = false;
  const out: Buffer[] = [];
  let ended = '';
  let resumed = (): void => {};
  const transmission = new Transmission({
    device,
    negotiated: { structuredReplies: structured, baseAllocation: structured, readOnly: false, resizable: false },
    pool: new ReplyPool(),
    metrics: new NbdMetrics(),
    spinner: new Spinner(systemClock, 0),
    host: {
      write: (bytes, done) => {
        out.push(Buffer.from(bytes));
        queueMicrotask(done);
      },
      unsentBytes: 0,
      resumeReading: () => resumed(),
      finish: () => (ended = 'finish'),
      violate: (reason) => {
        ended = reason;
        transmission.close();
      },
      logFailure: () => {},
      deviceConnectionCount: () => 1,
    },
  });
  const { stream, expected, shadow, garbage } = transmissionStream(random, late);
  for (const piece of cut(stream, random)) {
    for (let at = 0; at < piece.length && ended === ''; at += nbdReadBytes) {
      if (transmission.blocked) await new Promise<void>((resolve) => (resumed = resolve));
      const part = piece.subarray(at, at + nbdReadBytes);
      transmission.region.bytes.set(part, readStart);
      transmission.arrived(part.length);
    }
  }
  if (garbage) assert.match(ended, /wrong magic/, where);
  else {
    transmission.ended();
    while (ended === '') await new Promise((resolve) => setImmediate(resolve));
    checkReplies(Buffer.concat(out), expected, late, where);
    assert.equal(Buffer.compare(device.content, shadow), 0, `${where}: content`);
  }
  assert.equal(device.openWrites, 0, where);
  return garbage ? ended : createHash('sha256').update(shadow).digest('hex');
}

/** Requests that do not meet each other's ranges when the device is late, so that a model can know the answers. */
function transmissionStream(
  random: SeededBytes,
  late: boolean,
): { stream: Buffer; expected: Expected[]; shadow: Buffer; garbage: boolean } {
  const shadow = Buffer.alloc(deviceBytes);
  const parts: Buffer[] = [];
  const expected: Expected[] = [];
  const count = random.below(40);
  for (let index = 0; index < count; index++) {
    const cookie = BigInt(index);
    const slice = Math.floor(deviceBytes / count);
    const base = late ? index * slice : random.below(deviceBytes - slice + 1);
    const length = 1 + random.below(random.below(3) === 0 ? slice : Math.min(slice, 9000));
    const outside = random.below(8) === 0;
    const offset = outside ? deviceBytes - length + 1 + random.below(5000) : base;
    const command = random.below(11);
    const flags = random.below(6) === 0 ? 1 << random.below(16) : 0;
    const known = command === 0 || command === 1 || command === 6;
    const flagsFit = (flags & ~1) === 0;
    if (command === 0 && flagsFit) {
      parts.push(requestBytes(0, { offset, length, cookie, flags }));
      expected.push(
        outside
          ? { cookie, errno: 22 }
          : { cookie, errno: 0, data: Buffer.from(shadow.subarray(offset, offset + length)) },
      );
    } else if (command === 1) {
      const payload = Buffer.alloc(length, 1 + index);
      parts.push(requestBytes(1, { offset, payload, cookie, flags }));
      const errno = flagsFit ? (outside ? 28 : 0) : 22;
      expected.push({ cookie, errno });
      if (errno === 0) payload.copy(shadow, offset);
    } else if (command === 6 && flagsFit) {
      parts.push(requestBytes(6, { offset, length, cookie, flags }));
      expected.push({ cookie, errno: outside ? 28 : 0 });
      if (!outside) shadow.fill(0, offset, offset + length);
    } else if (!known && command > 8) {
      parts.push(requestBytes(command, { offset, length, cookie, flags }));
      expected.push({ cookie, errno: 22 });
    }
  }
  const garbage = random.below(10) === 0;
  if (garbage) parts.push(requestBytes(0, { magic: random.below(2 ** 31), length: 1 }));
  const stream = Buffer.concat(parts);
  if (stream.length >= 28) assert.ok(decodeRequest(stream, 0) !== undefined || (garbage && parts.length === 1));
  return { stream, expected, shadow, garbage };
}

function checkReplies(out: Buffer, expected: readonly Expected[], late: boolean, where: string): void {
  const open = new Map(expected.map((answer) => [answer.cookie, answer]));
  const order = expected.values();
  let at = 0;
  while (at < out.length) {
    const isChunk = out.readUInt32BE(at) === 0x668e33ef;
    assert.ok(isChunk || out.readUInt32BE(at) === 0x67446698, `${where}: stream out of step at ${at}`);
    const cookie = out.readBigUInt64BE(at + 8);
    const answer = open.get(cookie);
    assert.ok(answer !== undefined, `${where}: ${cookie} is answered without being asked, or twice`);
    if (!late) assert.equal(cookie, order.next().value?.cookie, `${where}: order`);
    open.delete(cookie);
    const type = isChunk ? out.readUInt16BE(at + 6) : 0;
    const errno = isChunk ? (type >= 0x8000 ? out.readUInt32BE(at + 20) : 0) : out.readUInt32BE(at + 4);
    assert.equal(errno, answer.errno, `${where}: request ${cookie}`);
    const dataAt = at + (isChunk ? 28 : 16);
    const dataLength = errno === 0 ? (answer.data?.length ?? 0) : 0;
    if (dataLength > 0)
      assert.equal(
        Buffer.compare(out.subarray(dataAt, dataAt + dataLength), answer.data!),
        0,
        `${where}: data of ${cookie}`,
      );
    at = isChunk ? at + 20 + out.readUInt32BE(at + 16) : dataAt + dataLength;
  }
  assert.equal(open.size, 0, `${where}: requests without an answer`);
}

function cut(stream: Uint8Array, random: SeededBytes): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < stream.length;) {
    const length = 1 + random.below(random.below(3) === 0 ? 30 : 300_000);
    pieces.push(stream.subarray(at, at + length));
    at += length;
  }
  return pieces;
}
