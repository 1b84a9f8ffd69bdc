/** Capability epochs at a broker: raised by workloads and administrators, seen by every place that verifies tokens. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { BrokerAccess } from '../../src/broker-client/broker-access.ts';
import { JoinedEpochs } from '../../src/daemon/joined-epochs.ts';
import { toHex } from '../../src/lib/hex.ts';
import { capabilityEpochFreshMilliseconds, capabilityEpochStepMax } from '../../src/lib/limits.ts';
import { workloadOperations } from '../../src/wire/broker-schema.ts';
import { stateAt, volumeId } from '../conformance/anchor.ts';
import { BrokerAnchor } from '../../src/anchor/broker-anchor.ts';
import { patientClock } from '../../src/lib/clock.ts';
import { MemoryBrokerDatabase } from '../support/memory-broker-database.ts';
import { refusalOf, startTestBroker } from '../support/test-broker.ts';
import type { TestBroker } from '../support/test-broker.ts';

const id = toHex(volumeId);

async function start(
  context: TestContext,
): Promise<{ broker: TestBroker; database: MemoryBrokerDatabase; access: (key?: string) => BrokerAccess }> {
  const database = new MemoryBrokerDatabase();
  const broker = await startTestBroker({ database });
  await broker.admin('key-create', { tenant: 'acme', key: 'other', policy: 'main' });
  const open: BrokerAccess[] = [];
  context.after(async () => {
    for (const access of open) access.close();
    await broker.close();
  });
  const access = (key = 'data'): BrokerAccess => {
    const made = broker.access(key);
    open.push(made);
    return made;
  };
  return { broker, database, access };
}

async function ask(access: BrokerAccess, atLeast: number): Promise<number> {
  const { path, answer } = workloadOperations.capabilityEpoch;
  return (await access.ask(path, { volumeId: id, atLeast }, answer, true)).epoch;
}

test('an epoch is raised to what a workload knows, by the key of the volume alone, and has a line', async (context) => {
  const { database, access } = await start(context);
  const [mine, other] = [access(), access('other')];
  assert.equal(await ask(mine, 0), 0);
  assert.equal(await ask(mine, 3), 3);
  assert.equal(await ask(mine, 2), 3);
  // Reading is for all of the tenant.
  assert.equal(await ask(other, 1), 3);
  await refusalOf(ask(other, 4), 'permission-missing');
  await refusalOf(ask(mine, 4 + capabilityEpochStepMax), 'limit-exceeded');
  assert.equal(await ask(mine, 3 + capabilityEpochStepMax), 3 + capabilityEpochStepMax);
  const lines = database.entries.filter(({ kind }) => kind === 'capability-change');
  assert.deepEqual(
    lines.map(({ facts }) => [facts['volume'], facts['epoch']]),
    [
      [id, 3],
      [id, 3 + capabilityEpochStepMax],
    ],
  );
});

test('the key that an anchor belongs to goes before whoever comes first', async (context) => {
  const { access } = await start(context);
  const mine = access();
  await new BrokerAnchor({ access: mine, clock: patientClock }).advance(stateAt(1, 1, 1));
  await refusalOf(ask(access('other'), 1), 'permission-missing');
  assert.equal(await ask(mine, 1), 1);
});

test('what an administrator revokes, and what another machine does, is seen at both places', async (context) => {
  const { broker, access } = await start(context);
  let now = 0;
  const place = (): { epochs: JoinedEpochs; file: { epoch: number } } => {
    const file = { epoch: 0 };
    const files = {
      of: () => file.epoch,
      raise: () => ++file.epoch,
      raiseTo: (_id: string, epoch: number) => void (file.epoch = Math.max(file.epoch, epoch)),
    };
    const held = access();
    const brokerOf = () => (_id: string, atLeast: number) => ask(held, atLeast);
    return { epochs: new JoinedEpochs({ files, brokerOf, clock: { monotonic: () => now } }), file };
  };
  const [here, there] = [place(), place()];
  const seen = async (): Promise<number[]> => {
    now += capabilityEpochFreshMilliseconds + 1;
    await Promise.all([here.epochs.refresh(id), there.epochs.refresh(id)]);
    return [here.epochs.of(id), there.epochs.of(id)];
  };
  assert.deepEqual(await seen(), [0, 0]);
  await broker.admin('capability-revoke', { tenant: 'acme', volumeId: id });
  assert.deepEqual(await seen(), [1, 1]);
  assert.deepEqual(await here.epochs.raise(id), { epoch: 2, isTold: true });
  assert.deepEqual(await seen(), [2, 2]);
  await broker.admin('capability-revoke', { tenant: 'acme', volumeId: id });
  assert.deepEqual(await seen(), [3, 3]);
  // A state folder that was put back to an older state learns what it forgot.
  there.file.epoch = 0;
  assert.deepEqual(await seen(), [3, 3]);
});
