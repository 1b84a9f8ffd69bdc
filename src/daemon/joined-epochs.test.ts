/** Capability epochs between a state folder and a broker: neither goes back, and what is not known is not guessed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { capabilityEpochFreshMilliseconds, capabilityEpochStaleMilliseconds } from '../lib/limits.ts';
import { brokerUrlOf } from './broker-epochs.ts';
import { JoinedEpochs } from './joined-epochs.ts';

const volumeId = 'ab'.repeat(16);
const away = (error: unknown): boolean => isCaissonError(error, 'broker-unreachable');

class Bench {
  now = 0;
  local = 0;
  broker = 0;
  isAway = false;
  isJoined = true;
  readonly asked: number[] = [];
  readonly epochs = new JoinedEpochs({
    files: {
      of: () => this.local,
      raise: () => (this.local += 1),
      raiseTo: (_id, epoch) => (this.local = Math.max(this.local, epoch)),
    },
    brokerOf: () => (this.isJoined ? (_id, atLeast) => this.#ask(atLeast) : undefined),
    clock: { monotonic: () => this.now },
  });

  async #ask(atLeast: number): Promise<number> {
    this.asked.push(atLeast);
    if (this.isAway) throw new CaissonError('transient', 'broker-unreachable', 'away');
    return (this.broker = Math.max(this.broker, atLeast));
  }
}

test('the higher of both counts, and both know it after a question', async () => {
  const bench = new Bench();
  bench.broker = 3;
  await bench.epochs.refresh(volumeId);
  assert.deepEqual([bench.epochs.of(volumeId), bench.local, bench.broker], [3, 3, 3]);
  bench.local = 5;
  bench.now += capabilityEpochFreshMilliseconds + 1;
  await bench.epochs.refresh(volumeId);
  assert.deepEqual([bench.epochs.of(volumeId), bench.local, bench.broker], [5, 5, 5]);
  assert.deepEqual(bench.asked, [0, 5]);
});

test('an answer is new for a second, and good for a minute', async () => {
  const bench = new Bench();
  assert.throws(() => bench.epochs.of(volumeId), away);
  await Promise.all([bench.epochs.refresh(volumeId), bench.epochs.refresh(volumeId)]);
  bench.now += capabilityEpochFreshMilliseconds;
  await bench.epochs.refresh(volumeId);
  assert.equal(bench.asked.length, 1);
  bench.isAway = true;
  bench.now += 1;
  await assert.rejects(bench.epochs.refresh(volumeId), away);
  bench.now = capabilityEpochStaleMilliseconds;
  assert.equal(bench.epochs.of(volumeId), 0);
  bench.now += 1;
  assert.throws(() => bench.epochs.of(volumeId), away);
  bench.isAway = false;
  await bench.epochs.refresh(volumeId);
  assert.equal(bench.epochs.of(volumeId), 0);
});

test('who revokes does so at once, and tells the broker now or with the next question', async () => {
  const bench = new Bench();
  bench.broker = 4;
  bench.local = 4;
  assert.deepEqual(await bench.epochs.raise(volumeId), { epoch: 5, isTold: true });
  assert.equal(bench.broker, 5);
  bench.isAway = true;
  assert.deepEqual(await bench.epochs.raise(volumeId), { epoch: 6, isTold: false });
  assert.deepEqual([bench.local, bench.broker], [6, 5]);
  bench.isAway = false;
  bench.now += capabilityEpochFreshMilliseconds + 1;
  await bench.epochs.refresh(volumeId);
  assert.deepEqual([bench.epochs.of(volumeId), bench.broker], [6, 6]);
});

test('without a broker the state folder alone counts', async () => {
  const bench = new Bench();
  bench.isJoined = false;
  assert.equal(bench.epochs.of(volumeId), 0);
  await bench.epochs.refresh(volumeId);
  assert.deepEqual(await bench.epochs.raise(volumeId), { epoch: 1, isTold: true });
  assert.deepEqual([bench.epochs.of(volumeId), bench.asked], [1, []]);
});

test('the broker of the anchor goes before that of the key', () => {
  const [anchor, url] = ['broker:https://a/t/k', 'broker:https://b/t/k'];
  assert.equal(brokerUrlOf({ anchor, key: { url } }), anchor);
  assert.equal(brokerUrlOf({ anchor: 'tpm', key: { url } }), url);
  assert.equal(brokerUrlOf({ key: { url: 'vault:https://b' } }), undefined);
});
