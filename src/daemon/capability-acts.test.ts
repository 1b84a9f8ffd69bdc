/** What capabilities let their holders do with a volume itself: each refusal by its rule, and nothing is done where one is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDevice } from '../../test/support/memory-device.ts';
import type { CapabilityRequest } from '../admin/capability-socket.ts';
import { signingKeyFromSeed, volumeIdFromPublicKey } from '../crypto/signature.ts';
import { isCaissonError } from '../lib/errors.ts';
import { fromHex, toHex } from '../lib/hex.ts';
import { capabilitySnapshotsMax } from '../lib/limits.ts';
import { actStatement } from '../wire/capability-act.ts';
import type { CapabilityAct } from '../wire/capability-act.ts';
import { capabilityRights, capabilityToText } from '../wire/capability-format.ts';
import type { CapabilityGrant } from '../wire/capability-format.ts';
import { mintCapability, proveHolder } from '../wire/capability.ts';
import { CapabilityActs } from './capability-acts.ts';
import { CapabilityGate } from './capability-gate.ts';
import type { HostedVolume } from './volume-host.ts';

const [volumeKey, holderKey, strangerKey] = [1, 2, 3].map((fill) => signingKeyFromSeed(new Uint8Array(32).fill(fill)));
const volumeId = toHex(volumeIdFromPublicKey(volumeKey!.publicKey));
const row = { id: 'ab'.repeat(16), name: 'monday', time: 1, manifestNumber: 2 };
const answer = { ...row, manifestDigest: '', clones: [] };

class Bench {
  now = 1000;
  epoch = 0;
  count = 0;
  isServed = true;
  /** What was done, in order. */
  readonly done: string[] = [];
  #random = 0;
  readonly #gate = new CapabilityGate({
    host: { served: (id) => (this.isServed && id === volumeId ? this.#hosted : undefined) },
    epochs: { of: () => this.epoch, refresh: async () => undefined },
    clock: { monotonic: () => 0, wall: () => this.now, after: () => () => undefined, turn: async () => undefined },
    random: { bytes: (length) => new Uint8Array(length).fill(++this.#random) },
  });
  readonly #hosted = {
    name: 'data',
    snapshot: undefined,
    volume: Object.assign(new MemoryDevice(65536), {
      id: volumeId,
      snapshots: () => Array.from({ length: this.count }, () => row),
    }),
  } as unknown as HostedVolume;
  readonly acts = new CapabilityActs({
    gate: this.#gate,
    operations: {
      listSnapshots: async ({ name }) => {
        this.done.push(`list ${name}`);
        return { snapshots: [answer] };
      },
      createSnapshot: async ({ name, snapshot }) => {
        this.done.push(`create ${name}@${snapshot}`);
        return { ...answer, frozen: false };
      },
      removeSnapshot: async ({ name, snapshot }) => {
        this.done.push(`remove ${name}@${snapshot}`);
        return answer;
      },
      resizeVolume: async ({ name, size }) => {
        this.done.push(`resize ${name} ${size}`);
        return {} as never;
      },
    },
    log: () => undefined,
  });

  /** All four; `signed` is what the holder meant where that is something else. */
  ask(act: CapabilityAct, argument: string, change: Partial<CapabilityGrant> = {}, signed = act, meant = argument) {
    const token = mintCapability(volumeKey!, 0, {
      ...{ base: 4096, length: undefined, rights: new Set(capabilityRights), notBefore: 500, expiresAt: 2000 },
      ...{ holder: holderKey!.publicKey, ...change },
    });
    const challenge = fromHex(this.#gate.challenge().challenge, 76)!;
    const { signature } = proveHolder(holderKey!, token, actStatement(signed, meant, challenge));
    const shown = { token: capabilityToText(token), challenge: toHex(challenge), signature: toHex(signature) };
    return this.#send(act, argument, shown);
  }

  #send(act: CapabilityAct, argument: string, shown: CapabilityRequest<'open'>): Promise<object> {
    if (act === 'snapshots') return this.acts.snapshots(shown);
    if (act === 'snapshot-create') return this.acts.createSnapshot({ ...shown, snapshot: argument });
    if (act === 'snapshot-remove') return this.acts.removeSnapshot({ ...shown, snapshot: argument });
    return this.acts.resize({ ...shown, size: Number(argument) });
  }
}

const all = [
  ['snapshots', '', 'snapshot'],
  ['snapshot-create', 'monday', 'snapshot'],
  ['snapshot-remove', 'monday', 'snapshot'],
  ['resize', '8192', 'resize'],
] as const;

test('each act is done on the volume of the token, with the right to it', async () => {
  const bench = new Bench();
  const answers = [];
  for (const [act, argument, right] of all) answers.push(await bench.ask(act, argument, { rights: new Set([right]) }));
  assert.deepEqual(bench.done, ['list data', 'create data@monday', 'remove data@monday', 'resize data 12288']);
  assert.deepEqual(answers, [{ snapshots: [row] }, { ...row, frozen: false }, row, { size: 8192 }]);
});

for (const [act, argument, right] of all) {
  test(`${act} is refused by the rule that stands against it, and not done`, async () => {
    const bench = new Bench();
    const refused = async (asked: Promise<unknown>, details: Record<string, unknown>): Promise<void> => {
      await assert.rejects(asked, (error) => {
        assert.ok(isCaissonError(error, 'capability-refused'), String(error));
        for (const [name, value] of Object.entries(details)) assert.equal(error.details[name], value);
        return true;
      });
    };
    const others = capabilityRights.filter((name) => name !== right);
    await refused(bench.ask(act, argument, { rights: new Set(others) }), { rule: 'right', right });
    bench.now = 499;
    await refused(bench.ask(act, argument), { rule: 'not-before' });
    bench.now = 2000;
    await refused(bench.ask(act, argument), { rule: 'expires' });
    bench.now = 1000;
    bench.epoch = 1;
    await refused(bench.ask(act, argument), { rule: 'epoch' });
    bench.epoch = 0;
    const invalid = (error: unknown): boolean => isCaissonError(error, 'capability-invalid');
    await assert.rejects(bench.ask(act, argument, { holder: strangerKey!.publicKey }), invalid);
    await assert.rejects(bench.ask(act, argument, {}, act === 'snapshots' ? 'resize' : 'snapshots'), invalid);
    await assert.rejects(bench.ask(act, argument, {}, act, `${argument}0`), invalid);
    bench.isServed = false;
    await assert.rejects(bench.ask(act, argument), (error) => isCaissonError(error, 'volume-missing'));
    assert.deepEqual(bench.done, []);
  });
}

test('a part keeps what lies before it, and is not made larger than a volume can be', async () => {
  const bench = new Bench();
  for (const size of ['0', '1', '4095', '-4096'])
    await assert.rejects(bench.ask('resize', size), (error) => isCaissonError(error, 'size-invalid'), size);
  const most = Number.MAX_SAFE_INTEGER - 4095;
  await assert.rejects(bench.ask('resize', `${most}`), (error) => isCaissonError(error, 'capability-refused'));
  assert.deepEqual(bench.done, []);
  await bench.ask('resize', '4096');
  assert.deepEqual(bench.done, ['resize data 8192']);
});

test('no snapshot is taken under what looks like an id, nor without end', async () => {
  const bench = new Bench();
  for (const name of ['ab'.repeat(16), 'AB'.repeat(16)])
    await assert.rejects(bench.ask('snapshot-create', name), (error) => isCaissonError(error, 'capability-refused'));
  bench.count = capabilitySnapshotsMax;
  await assert.rejects(bench.ask('snapshot-create', 'more'), (error) => isCaissonError(error, 'limit-exceeded'));
  assert.deepEqual(bench.done, []);
  bench.count -= 1;
  await bench.ask('snapshot-create', 'more');
  assert.deepEqual(bench.done, ['create data@more']);
});
