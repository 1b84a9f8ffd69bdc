/**
 * A volume on an S3 server that fails for a while, for too long, or for good: minutes pass in seconds,
 * because the store waits by a clock of the test. What fails, and how, is told by `FakeS3`.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { nodeSealer } from '../src/crypto/node-sealer.ts';
import { systemRandom } from '../src/crypto/random.ts';
import { systemClock } from '../src/lib/clock.ts';
import type { Clock } from '../src/lib/clock.ts';
import { isCaissonError } from '../src/lib/errors.ts';
import { fromHex } from '../src/lib/hex.ts';
import { s3PatienceMillisecondsMax, uploadPendingBytesMax, uploadsInFlightMax } from '../src/lib/limits.ts';
import { Region } from '../src/lib/region.ts';
import { CachedStore } from '../src/store/cached-store.ts';
import { nodeFileSystem } from '../src/store/node-file-system.ts';
import { ReadCache } from '../src/store/read-cache.ts';
import { openS3Store } from '../src/store/s3/open-s3-store.ts';
import type { Volume, VolumeEnvironment } from '../src/volume/volume-types.ts';
import { createVolume, openVolume, verifyVolume } from '../src/volume/volume.ts';
import { MemoryAnchor } from './sim/memory-anchor.ts';
import { FakeS3 } from './support/fake-s3.ts';
import type { FakeRequest, Fault } from './support/fake-s3.ts';
import { testKey } from './support/test-volume.ts';

const mebibyte = 2 ** 20;
const block = 4096;
const segmentBytesMax = mebibyte;
const minute = 60_000;
const limit = { timeout: 120_000 };
const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-outage-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));

const stepMilliseconds = 3_000;
const realStepMilliseconds = 10;

/** Three seconds pass in ten milliseconds, or none at all while it stands still. */
class FastClock implements Clock {
  isStill = false;
  #now = 0;
  readonly #timers = new Set<{ readonly at: number; readonly callback: () => void }>();
  readonly #steps: NodeJS.Timeout;

  constructor() {
    this.#steps = setInterval(() => this.#step(), realStepMilliseconds);
  }

  monotonic(): number {
    return this.#now;
  }

  wall(): number {
    return systemClock.wall();
  }

  after(milliseconds: number, callback: () => void): () => void {
    const timer = { at: this.#now + milliseconds, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  turn(): Promise<void> {
    return systemClock.turn();
  }

  pass(milliseconds: number): Promise<void> {
    return new Promise((resolve) => this.after(milliseconds, resolve));
  }

  stop(): void {
    clearInterval(this.#steps);
  }

  #step(): void {
    if (this.isStill) return;
    this.#now += stepMilliseconds;
    for (const timer of this.#timers) {
      if (timer.at > this.#now) continue;
      this.#timers.delete(timer);
      timer.callback();
    }
  }
}

const clock = new FastClock();
after(() => clock.stop());
let server: FakeS3;
let stepCount = 0;

/** A volume in the bucket, and the machine that has it open: a folder for spools, a cache. */
class Rig {
  readonly #folder = path.join(base, String(++stepCount));
  readonly #anchor = new MemoryAnchor();
  readonly #keySource = testKey();
  readonly #credentials: Record<string, string>;
  #volumeId: Uint8Array = new Uint8Array(16);

  constructor(credentials: Record<string, string>) {
    this.#credentials = credentials;
  }

  static async create(credentials = { AWS_ACCESS_KEY_ID: 'AK', AWS_SECRET_ACCESS_KEY: 'SK' }): Promise<Rig> {
    const rig = new Rig(credentials);
    fs.mkdirSync(rig.#folder);
    const { environment, close } = await rig.#environment();
    const options = { size: 512 * mebibyte, protection: 'sealed', durability: 'remote' } as const;
    const created = await createVolume(environment, { ...options, keySource: rig.#keySource });
    rig.#volumeId = fromHex(created.volumeId, 16)!;
    await close();
    return rig;
  }

  /** Closed with its store and an empty cache each time. */
  async using<Value>(work: (volume: Volume, log: readonly string[]) => Promise<Value>): Promise<Value> {
    const { environment, log, close } = await this.#environment();
    try {
      const volume = await openVolume(environment, { volumeId: this.#volumeId, keySource: this.#keySource });
      try {
        return await work(volume, log);
      } finally {
        await volume.close();
      }
    } finally {
      await close();
    }
  }

  async findings(): Promise<readonly { readonly code: string; readonly object: string }[]> {
    const { environment, close } = await this.#environment();
    try {
      return (await verifyVolume(environment, { volumeId: this.#volumeId, keySource: this.#keySource })).findings;
    } finally {
      await close();
    }
  }

  async #environment(): Promise<{ environment: VolumeEnvironment; log: string[]; close: () => Promise<void> }> {
    const cacheFile = path.join(this.#folder, `cache-${++stepCount}`);
    const cache = new ReadCache(() => nodeFileSystem.open(cacheFile, 'exclusive'), 64 * mebibyte);
    const inner = await openS3Store(`//bucket/outage?endpoint=http://127.0.0.1:${server.port}`, {
      create: true,
      environment: this.#credentials,
      spoolFolder: path.join(this.#folder, 'spools'),
      random: systemRandom,
      clock,
      idleMilliseconds: 200,
    });
    const log: string[] = [];
    const environment: VolumeEnvironment = {
      store: new CachedStore(inner, cache),
      anchor: this.#anchor,
      clock: systemClock,
      random: systemRandom,
      sealer: nodeSealer,
      tuning: { segmentBytesMax },
      log: (level, message, details) => void log.push(`${level} ${message} ${JSON.stringify(details)}`),
    };
    const close = async (): Promise<void> => {
      await environment.store.close();
      await cache.close();
    };
    return { environment, log, close };
  }
}

async function write(volume: Volume, at: number, fill: number, blocks = 1): Promise<void> {
  const source = Region.from(new Uint8Array(blocks * block).fill(fill));
  await volume.write(at * block, source.length, source, 0, false);
}

async function valueAt(volume: Volume, at: number): Promise<number> {
  const target = new Region(block);
  await volume.read(at * block, block, target, 0);
  assert.ok(target.bytes.every((byte) => byte === target.bytes[0]));
  return target.bytes[0]!;
}

function settledYet(promise: Promise<unknown>): () => boolean {
  let isSettled = false;
  promise.then(
    () => (isSettled = true),
    () => (isSettled = true),
  );
  return () => isSettled;
}

const kindsOfFailure: readonly Fault[] = [
  { kind: 'answer', status: 503, code: 'SlowDown' },
  { kind: 'answer', status: 429, code: 'TooManyRequests' },
  { kind: 'answer', status: 500, code: 'InternalError' },
  { kind: 'hang-up', applies: false },
  { kind: 'stall' },
];

/** Every request fails, in turn in each way there is, until `end`. Counts what came meanwhile and since. */
class Outage {
  isOver = false;
  puts = 0;
  putBytes = 0;
  readonly putsAfterwards = new Map<string, number>();
  #turn = 0;

  constructor() {
    for (const [index, fault] of kindsOfFailure.entries())
      server.inject((request) => this.#fails(request, index), fault, Infinity);
  }

  end(): void {
    this.isOver = true;
  }

  /** Asked once for each kind, in their order, until one fails the request. */
  #fails(request: FakeRequest, index: number): boolean {
    server.requests.length = 0; // which hold the bodies of all requests
    if (index === 0) {
      this.#turn = (this.#turn + 1) % kindsOfFailure.length;
      if (request.method === 'PUT') this.#count(request);
    }
    return !this.isOver && index === this.#turn;
  }

  #count({ key, body }: FakeRequest): void {
    if (this.isOver) this.putsAfterwards.set(key, (this.putsAfterwards.get(key) ?? 0) + 1);
    else {
      this.puts++;
      this.putBytes += body.length;
    }
  }
}

describe('a volume on a server that fails', () => {
  before(async () => {
    server = await FakeS3.start();
  });
  after(() => server.stop());
  beforeEach(() => {
    server.buckets.set('bucket', new Map());
    server.requests.length = 0;
  });

  test('waits ten minutes within its bounds, reads what the cache holds, and goes on where it was', limit, async () => {
    const rig = await Rig.create();
    await rig.using((volume) => write(volume, 0, 1, 256));
    await rig.using(async (volume) => {
      assert.equal(await valueAt(volume, 7), 1);
      const outage = new Outage();
      clock.isStill = true;
      const memoryBefore = process.memoryUsage().arrayBuffers;
      await write(volume, 300, 2);
      const flush = volume.flush();
      const isFlushed = settledYet(flush);
      // As every export does: it asks before it takes the next request.
      let written = 0;
      while (volume.pressure() === undefined && written < 2 * uploadPendingBytesMax) {
        await write(volume, 1024 + written / block, 3, 256);
        written += mebibyte;
        await systemClock.turn();
      }
      clock.isStill = false;
      const waiting = volume.pressure();
      assert.ok(waiting !== undefined, 'writers are held back');
      assert.ok(written <= uploadPendingBytesMax + 80 * mebibyte, `${written} bytes wait for the server`);
      for (let passed = 0; passed < 10; passed++) {
        await clock.pass(minute);
        assert.equal(await valueAt(volume, 7), 1, 'reads from the cache go on');
        assert.equal(isFlushed(), false, 'nothing is called durable that is not');
      }
      assert.equal(volume.info().latched, undefined);
      assert.ok(process.memoryUsage().arrayBuffers - memoryBefore < 200 * mebibyte, 'memory is bounded');
      // Each of the uploads in flight is tried again in pauses of 20 s at most, and nothing besides them.
      const attemptsMax = uploadsInFlightMax * 100;
      assert.ok(outage.puts <= attemptsMax, `${outage.puts} uploads were tried`);
      assert.ok(outage.putBytes <= outage.puts * (segmentBytesMax + block), 'no more than a segment each time');
      outage.end();
      await flush;
      await volume.flush();
      assert.equal(volume.info().latched, undefined);
      const repeated = [...outage.putsAfterwards].filter(([key, count]) => key.includes('/segments/') && count > 1);
      assert.deepEqual(repeated, [], 'what waited is sent once');
      assert.equal(await valueAt(volume, 300), 2);
    });
    assert.deepEqual(await rig.findings(), []);
  });

  test(
    'latches with a plain message when the outage is longer than its patience; reopening has it all',
    limit,
    async () => {
      const rig = await Rig.create();
      let outage: Outage | undefined;
      await rig.using(async (volume, log) => {
        await write(volume, 0, 1);
        await volume.flush();
        outage = new Outage();
        await write(volume, 1, 2);
        const flush = volume.flush();
        const isFlushed = settledYet(flush);
        await clock.pass(s3PatienceMillisecondsMax * 0.8);
        assert.equal(isFlushed(), false, 'it is patient');
        await assert.rejects(flush, (error) => isCaissonError(error, 'store-unreachable'));
        await assert.rejects(volume.flush(), { code: 'volume-latched' });
        assert.throws(() => volume.write(0, block, new Region(block), 0, false), { code: 'volume-latched' });
        assert.match(volume.info().latched ?? '', /the store gave no usable answer for \d+ s/);
        assert.match(log.join('\n'), /error the volume is latched read-only .*no usable answer/);
        assert.equal(await valueAt(volume, 1), 2, 'reads of what is here go on');
        outage.end();
      });
      outage!.end();
      await rig.using(async (volume) => {
        assert.equal(await valueAt(volume, 0), 1);
        assert.equal(await valueAt(volume, 1), 2, 'the spool of this machine has what was not flushed');
        await write(volume, 2, 3);
        await volume.flush();
      });
      assert.deepEqual(await rig.findings(), []);
    },
  );

  test(
    'credentials that expire in mid-write: renewed where their source has newer ones, else said',
    limit,
    async () => {
      const home = path.join(base, 'home');
      const renew = (key: string): void => {
        const text = `[default]\naws_access_key_id = ${key}\naws_secret_access_key = SK\n`;
        fs.writeFileSync(path.join(home, '.aws', 'credentials'), text);
      };
      fs.mkdirSync(path.join(home, '.aws'), { recursive: true });
      renew('FIRST');
      for (const name of ['FIRST', 'SECOND']) server.identities.set(name, { secret: 'SK' });
      const rig = await Rig.create({ HOME: home } as never);
      await rig.using(async (volume) => {
        await write(volume, 0, 1);
        await volume.flush();
        server.identities.set('FIRST', { secret: 'SK', expired: true });
        renew('SECOND');
        await write(volume, 1, 2);
        await volume.flush();
        server.identities.set('SECOND', { secret: 'SK', expired: true });
        await write(volume, 2, 3);
        await assert.rejects(volume.flush(), (error) => isCaissonError(error, 'store-credentials-expired'));
        assert.match(volume.info().latched ?? '', /credentials have expired/);
      });
      server.identities.set('SECOND', { secret: 'SK' });
      await rig.using(async (volume) => {
        for (const at of [0, 1, 2]) assert.equal(await valueAt(volume, at), at + 1);
      });
    },
  );

  test(
    'a bucket that is deleted in mid-write is called missing; with the bucket everything comes back',
    limit,
    async () => {
      const rig = await Rig.create();
      const bucket = server.objects;
      await rig.using(async (volume) => {
        await write(volume, 0, 1);
        await volume.flush();
        server.buckets.delete('bucket');
        await write(volume, 1, 2);
        await assert.rejects(volume.flush(), (error) => isCaissonError(error, 'store-missing'));
        assert.match(volume.info().latched ?? '', /there is no bucket bucket/);
        assert.equal(await valueAt(volume, 1), 2);
      });
      server.buckets.set('bucket', bucket);
      await rig.using(async (volume) => {
        for (const at of [0, 1]) assert.equal(await valueAt(volume, at), at + 1);
      });
    },
  );

  for (const [what, change] of [
    ['vanished', (key: string) => void server.objects.delete(key)],
    [
      'was cut off',
      (key: string) => void (server.objects.get(key)!.bytes = server.objects.get(key)!.bytes.subarray(0, 5000)),
    ],
  ] as const) {
    test(`a segment that ${what} is an integrity error that names it; the others stay readable`, limit, async () => {
      const rig = await Rig.create();
      await rig.using((volume) => write(volume, 0, 1, 240));
      const known = new Set(server.objects.keys());
      await rig.using((volume) => write(volume, 1024, 2, 240));
      const key = [...server.objects.keys()].find((name) => name.includes('/segments/') && !known.has(name))!;
      change(key);
      await rig.using(async (volume) => {
        const id = key.split('/').at(-1)!;
        await assert.rejects(valueAt(volume, 1200), (error: unknown) => {
          assert.ok(isCaissonError(error));
          assert.deepEqual([error.kind, error.message.includes(id)], ['integrity', true], error.message);
          return true;
        });
        assert.equal(await valueAt(volume, 100), 1);
        await write(volume, 5000, 3);
        await volume.flush();
      });
      const findings = await rig.findings();
      assert.ok(findings.some(({ object }) => key.includes(object) || object.includes(key)));
    });
  }
});
