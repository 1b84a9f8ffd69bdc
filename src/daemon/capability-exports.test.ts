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
import { actStatement } from '../wire/capability-act.ts';
import type { CapabilityAct } from '../wire/capability-act.ts';
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

function listenerOf(served: Map<string, BlockDevice>) {
  return {
    add: (name: string, device: BlockDevice, options?: { readonly isHidden: boolean }) => {
      assert.equal(options?.isHidden, true);
      assert.ok(!served.has(name));
      served.set(name, device);
    },
    remove: async (name: string) => assert.ok(served.delete(name)),
  };
}

class Bench {
  readonly clock = new TestClock();
  readonly served = new Map<string, BlockDevice>();
  readonly hosted = {
    name: 'data',
    snapshot: undefined,
    volume: Object.assign(new MemoryDevice(65536), { id: volumeId, snapshots: () => this.kept }),
  } as unknown as HostedVolume;
  isOpen = true;
  epoch: number | Error = 0;
  refreshing: (() => void) | undefined;
  attaching: (() => void) | undefined;
  network: Map<string, BlockDevice> | undefined;
  kept: { id: string; name: string }[] = [];
  readonly heldSnapshots = new Map<string, HostedVolume>();
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
      refresh: async () => this.refreshing?.(),
    },
    listener: { ...listenerOf(this.served), close: async () => undefined },
    network: () => this.network && { ...listenerOf(this.network), address: 'host:1', usesTls: true },
    snapshots: {
      get: (name) => this.heldSnapshots.get(name),
      attach: async (name) => {
        this.attaching?.();
        const volume = Object.assign(new MemoryDevice(65536), { id: volumeId });
        this.heldSnapshots.set(name, { name, snapshot: name, volume } as unknown as HostedVolume);
      },
      detach: async (name) => assert.ok(this.heldSnapshots.delete(name)),
    },
    clock: this.clock,
    random: { bytes: (length) => new Uint8Array(length).fill(++this.#count).fill(this.#count >> 8, 0, 1) },
    log: () => undefined,
  });

  open(token: Uint8Array, key = holderKey): Promise<{ export: string; size: number }> {
    return this.answer(token, this.challenge(), key);
  }

  challenge(): Uint8Array {
    return fromHex(this.exports.gate.challenge().challenge, 76) ?? assert.fail('a challenge of another length');
  }

  async answer(
    token: Uint8Array,
    challenge: Uint8Array,
    key = holderKey,
  ): Promise<{ export: string; size: number; rights: string[] }> {
    const { signature } = proveHolder(key, token, challenge);
    const text = capabilityToText(token);
    return this.exports.open({ token: text, challenge: toHex(challenge), signature: toHex(signature) });
  }

  /** Shown for one thing; what is signed may be something else. */
  async act<Answer>(
    token: Uint8Array,
    send: (shown: { token: string; challenge: string; signature: string }) => Promise<Answer>,
    ...[act, argument]: [CapabilityAct, string]
  ): Promise<Answer> {
    const challenge = this.challenge();
    const { signature } = proveHolder(holderKey, token, actStatement(act, argument, challenge));
    return send({ token: capabilityToText(token), challenge: toHex(challenge), signature: toHex(signature) });
  }

  openSnapshot(token: Uint8Array, snapshot: string): Promise<{ export: string; rights: string[] }> {
    return this.act(token, (shown) => this.exports.openSnapshot({ ...shown, snapshot }), 'open-snapshot', snapshot);
  }

  serve(token: Uint8Array): Promise<{ export: string; address: string }> {
    return this.act(token, (shown) => this.exports.serve(shown), 'serve', '');
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
const lacks =
  (right: string) =>
  (error: unknown): boolean =>
    isCaissonError(error, 'capability-refused') && error.details['right'] === right;
const breaks =
  (rule: string) =>
  (error: unknown): boolean =>
    isCaissonError(error, 'capability-refused') && error.details['rule'] === rule;
const [monday, tuesday] = ['11'.repeat(16), '22'.repeat(16)];
const write = async (device: BlockDevice): Promise<void> =>
  device.write(0, 4096, Region.from(new Uint8Array(4096)), 0, false);
const read = async (device: BlockDevice): Promise<void> => device.read(0, 4096, Region.from(new Uint8Array(4096)), 0);

test('a part ends when its capability does, however far that is', async () => {
  const bench = new Bench();
  const { clock, served } = bench;
  const days = tokenOf({ expiresAt: start + 60 * 24 * hour });
  const far = bench.device((await bench.open(days)).export);
  const near = bench.device((await bench.open(tokenOf())).export);
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
    const device = bench.device((await bench.open(tokenOf())).export);
    change(bench);
    await read(device);
    bench.clock.advance(limits.capabilityCheckMilliseconds);
    await assert.rejects(read(device), refused);
    assert.equal(bench.served.size, 0);
  }
});

test('a challenge is answered once, in time, where it was given', async () => {
  const bench = new Bench();
  const token = tokenOf();
  const once = bench.challenge();
  await bench.answer(token, once);
  await assert.rejects(bench.answer(token, once), refused);
  const old = bench.challenge();
  bench.clock.advance(limits.capabilityChallengeMillisecondsMax + 1);
  await assert.rejects(bench.answer(token, old), refused);
  const other = new Bench();
  for (let index = 0; index < 7; index++) other.challenge();
  await assert.rejects(bench.answer(token, other.challenge()), refused);
  const fresh = bench.challenge();
  for (const at of [0, 25, 40, fresh.length - 1]) {
    const changed = Uint8Array.from(fresh);
    changed[at] = (changed[at] ?? 0) ^ 1;
    await assert.rejects(bench.answer(token, changed), refused, `byte ${at}`);
  }
  await assert.rejects(bench.answer(token, fresh.subarray(0, 40)), refused);
  // A wrong proof does not use it up.
  await assert.rejects(bench.answer(token, fresh, volumeKey), (error) => isCaissonError(error, 'capability-invalid'));
  await bench.answer(token, fresh);
});

test('answered challenges are remembered within a bound, and no longer than they hold', async () => {
  const bench = new Bench();
  const token = tokenOf();
  for (let index = 0; index < limits.capabilityChallengesUsedMax; index++) await bench.open(token);
  await assert.rejects(bench.open(token), (error) => isCaissonError(error, 'limit-exceeded'));
  bench.clock.advance(limits.capabilityChallengeMillisecondsMax + 2);
  await bench.open(token);
});

test('the same capability gets the same export; one first holder does not take the place of others', async () => {
  const bench = new Bench();
  const token = tokenOf();
  assert.equal((await bench.open(token)).export, (await bench.open(token)).export);
  assert.equal(bench.served.size, 1);
  for (let index = 1; index < limits.capabilityExportsPerHolderMax; index++)
    await bench.open(
      narrowCapability(token, holderKey, { holder: holderKey.publicKey, expiresAt: start + hour - index }),
    );
  const more = narrowCapability(token, holderKey, { holder: volumeKey.publicKey });
  await assert.rejects(bench.open(more, volumeKey), (error) => isCaissonError(error, 'limit-exceeded'));
  await bench.open(tokenOf({ holder: volumeKey.publicKey }), volumeKey);
});

test('what is not open, or not that far, is not served; what closes ends first', async () => {
  const bench = new Bench();
  bench.isOpen = false;
  await assert.rejects(bench.open(tokenOf()), (error) => isCaissonError(error, 'volume-missing'));
  bench.isOpen = true;
  await assert.rejects(bench.open(tokenOf({ base: 65536 })), refused);
  await assert.rejects(bench.open(tokenOf({}, 1)), refused);
  assert.equal((await bench.open(tokenOf({ base: 61440 }))).size, 4096);
  const device = bench.device((await bench.open(tokenOf())).export);
  await bench.closing?.({ ...bench.hosted, volume: new MemoryDevice(4096) } as unknown as HostedVolume);
  await read(device);
  await bench.closing?.(bench.hosted);
  await assert.rejects(read(device), (error) => isCaissonError(error, 'volume-closed'));
  assert.equal(bench.served.size, 0);
  const again = bench.device((await bench.open(tokenOf())).export);
  await bench.exports.close();
  await assert.rejects(read(again), (error) => isCaissonError(error, 'volume-closed'));
  assert.deepEqual([bench.served.size, bench.closing, bench.clock.waiting], [0, undefined, 0]);
});

test('each right of a part is granted or is not', async () => {
  const bench = new Bench();
  const blind = bench.device((await bench.open(tokenOf({ rights: new Set(['write']) }))).export);
  await write(blind);
  await assert.rejects(read(blind), lacks('read'));
  await assert.rejects(async () => blind.trim(0, 4096, false), lacks('trim'));
  const reader = bench.device((await bench.open(tokenOf())).export);
  await read(reader);
  await assert.rejects(write(reader), lacks('write'));
});

test('what a broker says counts before anything is opened, and ends what is', async () => {
  const bench = new Bench();
  bench.refreshing = () => (bench.epoch = 1);
  await assert.rejects(bench.open(tokenOf()), breaks('epoch'));
  const device = bench.device((await bench.open(tokenOf({}, 1))).export);
  bench.refreshing = () => (bench.epoch = 2);
  bench.clock.advance(limits.capabilityCheckMilliseconds);
  await new Promise((resolve) => setImmediate(resolve));
  await assert.rejects(read(device), breaks('epoch'));
  bench.refreshing = () => {
    throw new CaissonError('transient', 'broker-unreachable', 'away');
  };
  await assert.rejects(bench.open(tokenOf({}, 2)), (error) => isCaissonError(error, 'broker-unreachable'));
  bench.refreshing = () => (bench.clock.shift = 2 * hour);
  await assert.rejects(bench.open(tokenOf({}, 2)), breaks('expires'));
});

test('a snapshot is opened with the rights to read and snapshot, or by a token of it, and can only be read', async () => {
  const bench = new Bench();
  bench.kept = [
    { id: monday, name: 'monday' },
    { id: tuesday, name: 'tuesday' },
  ];
  const all = new Set(['read', 'write', 'trim', 'snapshot', 'delegate'] as const);
  const token = tokenOf({ rights: all });
  const opened = await bench.openSnapshot(token, 'monday');
  assert.deepEqual(opened.rights, ['read', 'snapshot', 'delegate']);
  const device = bench.device(opened.export);
  await read(device);
  await assert.rejects(write(device), lacks('write'));
  await assert.rejects(async () => device.trim(0, 4096, false), lacks('trim'));
  assert.equal((await bench.openSnapshot(token, monday)).export, opened.export);
  assert.notEqual((await bench.open(token)).export, opened.export);
  await assert.rejects(bench.openSnapshot(tokenOf({ rights: new Set(['read']) }), 'monday'), lacks('snapshot'));
  await assert.rejects(bench.openSnapshot(tokenOf({ rights: new Set(['snapshot']) }), 'monday'), lacks('read'));
  await assert.rejects(bench.openSnapshot(token, 'friday'), (error) => isCaissonError(error, 'snapshot-missing'));
  const scoped = narrowCapability(token, holderKey, {
    ...{ holder: holderKey.publicKey, snapshot: fromHex(monday, 16)!, expiresAt: start + 60_000 },
  });
  const own = await bench.open(scoped);
  assert.equal((await bench.openSnapshot(scoped, 'monday')).export, own.export);
  await assert.rejects(bench.openSnapshot(scoped, 'tuesday'), breaks('snapshot'));
  // Neither is the volume, and both are of one snapshot that is open once.
  assert.deepEqual([...bench.heldSnapshots.keys()], [`data@${monday}`]);
  bench.clock.advance(60_000);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(bench.heldSnapshots.size, 1);
  bench.clock.advance(hour);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([bench.heldSnapshots.size, bench.served.size], [0, 0]);
});

test('a snapshot that is gone, or whose id is the name of another, is not opened for its token', async () => {
  const bench = new Bench();
  const scoped = tokenOf({ snapshot: fromHex(monday, 16)!, rights: new Set(['read']) });
  await assert.rejects(bench.open(scoped), breaks('snapshot'));
  bench.kept = [
    { id: monday, name: 'monday' },
    { id: tuesday, name: monday },
  ];
  await assert.rejects(bench.open(scoped), breaks('snapshot'));
  assert.equal(bench.heldSnapshots.size, 0);
});

test('what is revoked while a snapshot is being opened is not served', async () => {
  const bench = new Bench();
  bench.kept = [{ id: monday, name: 'monday' }];
  bench.attaching = () => (bench.epoch = 1);
  await assert.rejects(
    bench.open(tokenOf({ snapshot: fromHex(monday, 16)!, rights: new Set(['read']) })),
    breaks('epoch'),
  );
  assert.equal(bench.served.size, 0);
});

test('snapshots are opened for parts within a bound, and not kept open for what is refused', async () => {
  const bench = new Bench();
  const ids = Array.from({ length: limits.capabilitySnapshotsOpenMax + 1 }, (_, index) => `${index + 10}`.repeat(16));
  bench.kept = ids.map((id, index) => ({ id, name: `s${index}` }));
  const token = tokenOf({ rights: new Set(['read', 'snapshot']) });
  await assert.rejects(
    bench.openSnapshot(tokenOf({ base: 65536, rights: new Set(['read', 'snapshot']) }), 's0'),
    breaks('part'),
  );
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(bench.heldSnapshots.size, 0);
  for (const [index] of ids.slice(1).entries()) await bench.openSnapshot(token, `s${index}`);
  await assert.rejects(bench.openSnapshot(token, ids.at(-1)!), (error) => isCaissonError(error, 'limit-exceeded'));
  await bench.closing?.(bench.hosted);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([bench.heldSnapshots.size, bench.served.size], [0, 0]);
});

test('a part is served to other machines with the right to export, as long as it is served at all', async () => {
  const bench = new Bench();
  const token = tokenOf({ rights: new Set(['read', 'export']) });
  await assert.rejects(bench.serve(token), (error) => isCaissonError(error, 'unsupported'));
  const network = (bench.network = new Map<string, BlockDevice>());
  await assert.rejects(bench.serve(tokenOf()), lacks('export'));
  assert.deepEqual([bench.served.size, network.size], [0, 0]);
  const opened = await bench.open(token);
  assert.equal(network.size, 0);
  const served = await bench.serve(token);
  assert.deepEqual([served.export, served.address], [opened.export, 'host:1']);
  await bench.serve(token);
  assert.equal(network.get(served.export), bench.device(opened.export));
  bench.epoch = 1;
  assert.equal(bench.exports.check(), 1);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([bench.served.size, network.size], [0, 0]);
});

test('a proof is good for what its holder meant and nothing else', async () => {
  const bench = new Bench();
  bench.network = new Map();
  const token = tokenOf({ rights: new Set(['read', 'snapshot', 'export']) });
  const invalid = (error: unknown): boolean => isCaissonError(error, 'capability-invalid');
  bench.kept = [{ id: monday, name: 'monday' }];
  const open = bench.act(token, (shown) => bench.exports.open(shown), 'serve', '');
  await assert.rejects(open, invalid);
  const serve = bench.act(token, (shown) => bench.exports.serve(shown), 'open-snapshot', '');
  await assert.rejects(serve, invalid);
  const other = bench.act(
    token,
    (shown) => bench.exports.openSnapshot({ ...shown, snapshot: 'monday' }),
    'open-snapshot',
    'tuesday',
  );
  await assert.rejects(other, invalid);
  const challenge = bench.challenge();
  const { signature } = proveHolder(holderKey, token, challenge);
  const shown = { token: capabilityToText(token), challenge: toHex(challenge), signature: toHex(signature) };
  await assert.rejects(bench.exports.serve(shown), invalid);
});
