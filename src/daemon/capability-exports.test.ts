/** Parts that a daemon serves by capability, with a clock and an NBD server of the test: when they begin, when they end, how many there are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDevice } from '../../test/support/memory-device.ts';
import { signingKeyFromSeed, volumeIdFromPublicKey } from '../crypto/signature.ts';
import type { BlockDevice } from '../export/block-device.ts';
import type { Clock } from '../lib/clock.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { fromHex, toHex } from '../lib/hex.ts';
import * as limits from '../lib/limits.ts';
import { Region } from '../lib/region.ts';
import { capabilityToText } from '../wire/capability-format.ts';
import type { CapabilityGrant } from '../wire/capability-format.ts';
import { mintCapability, narrowCapability, proveHolder } from '../wire/capability.ts';
import { CapabilityExports } from './capability-exports.ts';
import type { HostedVolume } from './volume-host.ts';

const volumeKey = signingKeyFromSeed(new Uint8Array(32).fill(1));
const holderKey = signingKeyFromSeed(new Uint8Array(32).fill(2));
const volumeId = toHex(volumeIdFromPublicKey(volumeKey.publicKey));
const start = 1_800_000_000_000;
const hour = 3_600_000;

class TestClock implements Clock {
  now = 0;
  /** Somebody sets the clock of the system. */
  shift = 0;
  #timers: { at: number; callback: () => void }[] = [];

  monotonic(): number {
    return this.now;
  }

  wall(): number {
    return start + this.now + this.shift;
  }

  after(milliseconds: number, callback: () => void): () => void {
    assert.ok(milliseconds >= 0 && milliseconds < 2 ** 31, 'a timer that the system can wait for');
    const timer = { at: this.now + milliseconds, callback };
    this.#timers.push(timer);
    return () => (this.#timers = this.#timers.filter((other) => other !== timer));
  }

  async turn(): Promise<void> {
    return undefined;
  }

  advance(milliseconds: number): void {
    const end = this.now + milliseconds;
    for (;;) {
      const [next] = this.#timers.filter(({ at }) => at <= end).sort((left, right) => left.at - right.at);
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.now = Math.max(this.now, next.at);
      next.callback();
    }
    this.now = end;
  }

  get waiting(): number {
    return this.#timers.length;
  }
}

class Bench {
  readonly clock = new TestClock();
  readonly served = new Map<string, BlockDevice>();
  readonly hosted = {
    name: 'data',
    snapshot: undefined,
    volume: Object.assign(new MemoryDevice(65536), { id: volumeId }),
  } as unknown as HostedVolume;
  isOpen = true;
  epoch: number | Error = 0;
  closing: ((hosted: HostedVolume) => Promise<void>) | undefined;
  #count = 0;
  readonly exports = new CapabilityExports({
    host: {
      served: (id) => (this.isOpen && id === volumeId ? this.hosted : undefined),
      beforeClosing: (listener) => {
        this.closing = listener;
        return () => (this.closing = undefined);
      },
    },
    epochs: {
      of: () => {
        if (typeof this.epoch === 'number') return this.epoch;
        throw this.epoch;
      },
    },
    listener: {
      add: (name, device, options) => {
        assert.equal(options?.isHidden, true);
        assert.ok(!this.served.has(name));
        this.served.set(name, device);
      },
      remove: async (name) => assert.ok(this.served.delete(name)),
      close: async () => undefined,
    },
    clock: this.clock,
    random: { bytes: (length) => new Uint8Array(length).fill(++this.#count).fill(this.#count >> 8, 0, 1) },
    log: () => undefined,
  });

  open(token: Uint8Array, key = holderKey): { export: string; size: number } {
    return this.answer(token, this.challenge(), key);
  }

  challenge(): Uint8Array {
    return fromHex(this.exports.challenge().challenge, 76) ?? assert.fail('a challenge of another length');
  }

  answer(token: Uint8Array, challenge: Uint8Array, key = holderKey): { export: string; size: number } {
    const { signature } = proveHolder(key, token, challenge);
    const text = capabilityToText(token);
    return this.exports.open({ token: text, challenge: toHex(challenge), signature: toHex(signature) });
  }

  device(name: string): BlockDevice {
    const device = this.served.get(name);
    assert.ok(device !== undefined, 'it is served');
    return device;
  }
}

function tokenOf(change: Partial<CapabilityGrant> = {}, epoch = 0): Uint8Array {
  return mintCapability(volumeKey, epoch, {
    base: 4096,
    length: 8192,
    rights: new Set(['read', 'delegate']),
    notBefore: 0,
    expiresAt: start + hour,
    holder: holderKey.publicKey,
    ...change,
  });
}

const refused = (error: unknown): boolean => isCaissonError(error, 'capability-refused');
const read = async (device: BlockDevice): Promise<void> => device.read(0, 4096, Region.from(new Uint8Array(4096)), 0);

test('a part ends when its capability does, however far that is', async () => {
  const bench = new Bench();
  const { clock, served } = bench;
  const days = tokenOf({ expiresAt: start + 60 * 24 * hour });
  const far = bench.device(bench.open(days).export);
  const near = bench.device(bench.open(tokenOf()).export);
  await read(near);
  clock.advance(hour - 1);
  await read(near);
  assert.equal(served.size, 2);
  clock.advance(1);
  await assert.rejects(read(near), refused);
  assert.equal(served.size, 1);
  await read(far);
  clock.advance(60 * 24 * hour);
  await assert.rejects(read(far), refused);
  assert.deepEqual([served.size, clock.waiting], [0, 0]);
});

test('a clock that is set and an epoch that another process raised are seen', async () => {
  for (const change of [
    (bench: Bench): unknown => (bench.clock.shift = 2 * hour),
    (bench: Bench): unknown => (bench.epoch = 1),
    (bench: Bench): unknown => (bench.epoch = new CaissonError('invalid', 'configuration-invalid', 'unreadable')),
  ]) {
    const bench = new Bench();
    const device = bench.device(bench.open(tokenOf()).export);
    change(bench);
    await read(device);
    bench.clock.advance(limits.capabilityCheckMilliseconds);
    await assert.rejects(read(device), refused);
    assert.equal(bench.served.size, 0);
  }
});

test('a challenge is answered once, in time, where it was given', () => {
  const bench = new Bench();
  const token = tokenOf();
  const once = bench.challenge();
  bench.answer(token, once);
  assert.throws(() => bench.answer(token, once), refused);
  const old = bench.challenge();
  bench.clock.advance(limits.capabilityChallengeMillisecondsMax + 1);
  assert.throws(() => bench.answer(token, old), refused);
  const other = new Bench();
  for (let index = 0; index < 7; index++) other.challenge();
  assert.throws(() => bench.answer(token, other.challenge()), refused);
  const fresh = bench.challenge();
  for (const at of [0, 25, 40, fresh.length - 1]) {
    const changed = Uint8Array.from(fresh);
    changed[at] = (changed[at] ?? 0) ^ 1;
    assert.throws(() => bench.answer(token, changed), refused, `byte ${at}`);
  }
  assert.throws(() => bench.answer(token, fresh.subarray(0, 40)), refused);
  // A wrong proof does not use it up.
  assert.throws(
    () => bench.answer(token, fresh, volumeKey),
    (error) => isCaissonError(error, 'capability-invalid'),
  );
  bench.answer(token, fresh);
});

test('answered challenges are remembered within a bound, and no longer than they hold', () => {
  const bench = new Bench();
  const token = tokenOf();
  for (let index = 0; index < limits.capabilityChallengesUsedMax; index++) bench.open(token);
  assert.throws(
    () => bench.open(token),
    (error) => isCaissonError(error, 'limit-exceeded'),
  );
  bench.clock.advance(limits.capabilityChallengeMillisecondsMax + 2);
  bench.open(token);
});

test('the same capability gets the same export; one first holder does not take the place of others', () => {
  const bench = new Bench();
  const token = tokenOf();
  assert.equal(bench.open(token).export, bench.open(token).export);
  assert.equal(bench.served.size, 1);
  for (let index = 1; index < limits.capabilityExportsPerHolderMax; index++)
    bench.open(narrowCapability(token, holderKey, { holder: holderKey.publicKey, expiresAt: start + hour - index }));
  const more = narrowCapability(token, holderKey, { holder: volumeKey.publicKey });
  assert.throws(
    () => bench.open(more, volumeKey),
    (error) => isCaissonError(error, 'limit-exceeded'),
  );
  bench.open(tokenOf({ holder: volumeKey.publicKey }), volumeKey);
});

test('what is not open, or not that far, is not served; what closes ends first', async () => {
  const bench = new Bench();
  bench.isOpen = false;
  assert.throws(
    () => bench.open(tokenOf()),
    (error) => isCaissonError(error, 'volume-missing'),
  );
  bench.isOpen = true;
  assert.throws(() => bench.open(tokenOf({ base: 65536 })), refused);
  assert.throws(() => bench.open(tokenOf({}, 1)), refused);
  assert.equal(bench.open(tokenOf({ base: 61440 })).size, 4096);
  const device = bench.device(bench.open(tokenOf()).export);
  await bench.closing?.({ ...bench.hosted, volume: new MemoryDevice(4096) } as unknown as HostedVolume);
  await read(device);
  await bench.closing?.(bench.hosted);
  await assert.rejects(read(device), (error) => isCaissonError(error, 'volume-closed'));
  assert.equal(bench.served.size, 0);
  const again = bench.device(bench.open(tokenOf()).export);
  await bench.exports.close();
  await assert.rejects(read(again), (error) => isCaissonError(error, 'volume-closed'));
  assert.deepEqual([bench.served.size, bench.closing, bench.clock.waiting], [0, undefined, 0]);
});
