/** The anchor at a broker: the rules of all anchors, and what happens while no broker answers. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BrokerAnchor } from '../../src/anchor/broker-anchor.ts';
import type { BrokerAccess } from '../../src/broker-client/broker-access.ts';
import { patientClock } from '../../src/lib/clock.ts';
import { anchorConformance, stateAt, volumeId } from '../conformance/anchor.ts';
import { rejects } from '../conformance/store.ts';
import { MemoryBrokerDatabase } from '../support/memory-broker-database.ts';
import { fakeSource, policyText, refusalOf, startTestBroker } from '../support/test-broker.ts';
import type { TestBroker } from '../support/test-broker.ts';

anchorConformance('broker', async () => {
  const broker = await startTestBroker();
  const accesses: BrokerAccess[] = [];
  return {
    open: async () => {
      const access = broker.access('data');
      accesses.push(access);
      return new BrokerAnchor({ access, clock: patientClock });
    },
    dispose: async () => {
      for (const access of accesses) access.close();
      await broker.close();
    },
  };
});

describe('a broker anchor', () => {
  const anchorAt = (
    broker: TestBroker,
    key = 'data',
  ): { anchor: BrokerAnchor; access: BrokerAccess; told: string[] } => {
    const access = broker.access(key);
    const told: string[] = [];
    return {
      access,
      told,
      anchor: new BrokerAnchor({ access, clock: quickClock, onOutage: (text) => told.push(text) }),
    };
  };
  /** A hundredth of the time, so that waits of seconds pass in a test. */
  const quickClock = {
    ...patientClock,
    monotonic: () => performance.now() * 100,
    after: (milliseconds: number, callback: () => void) => patientClock.after(milliseconds / 100, callback),
  };

  it('shares one attestation with the key source', async () => {
    const database = new MemoryBrokerDatabase();
    const broker = await startTestBroker({ database });
    const { anchor, access } = anchorAt(broker);
    assert.equal(await anchor.read(volumeId), undefined);
    await access.takeKey(volumeId);
    await anchor.advance(stateAt(1, 1, 1));
    assert.equal(database.entries.filter(({ kind }) => kind === 'release').length, 1);
    access.close();
    await broker.close();
  });

  it('sends what waits together, and refuses only what is wrong of it', async () => {
    const database = new MemoryBrokerDatabase();
    const broker = await startTestBroker({ database });
    const { anchor, access } = anchorAt(broker);
    const other = new Uint8Array(16).fill(5);
    await anchor.advance(stateAt(2, 1, 1));
    let commits = 0;
    database.beforeCommit = async () => void commits++;
    const group = Array.from({ length: 8 }, (_, index) =>
      anchor.advance(stateAt(2, 1, 2 + index, { volumeId: new Uint8Array(16).fill(index + 10) })),
    );
    await Promise.all(group);
    assert.equal(commits, 1);
    const results = await Promise.allSettled([
      anchor.advance(stateAt(1, 1, 1)),
      anchor.advance(stateAt(1, 1, 1, { volumeId: other })),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['rejected', 'fulfilled'],
    );
    access.close();
    await broker.close();
  });

  it('is out of reach of other keys of the tenant', async () => {
    const broker = await startTestBroker();
    await broker.admin('key-create', { tenant: 'acme', key: 'second', policy: 'main' });
    const [first, second] = [anchorAt(broker), anchorAt(broker, 'second')];
    await first.anchor.advance(stateAt(1, 1, 1));
    await rejects(second.anchor.advance(stateAt(9, 9, 9)), 'permission-missing');
    await rejects(second.anchor.read(volumeId), 'permission-missing');
    await rejects(second.anchor.forget(volumeId), 'permission-missing');
    first.access.close();
    second.access.close();
    await broker.close();
  });

  it('needs the right to advance in the policy', async () => {
    const broker = await startTestBroker();
    await broker.admin('policy-put', { tenant: 'acme', name: 'main', text: policyText('main', 7, '') });
    const { anchor, access } = anchorAt(broker);
    const refused = await refusalOf(anchor.advance(stateAt(1, 1, 1)), 'policy-refused');
    assert.equal(refused.details['rule'], 'release.may-advance-anchor');
    access.close();
    await broker.close();
  });

  it('shows evidence again when its session was revoked', async () => {
    const database = new MemoryBrokerDatabase();
    const broker = await startTestBroker({ database });
    const { anchor, access } = anchorAt(broker);
    await anchor.advance(stateAt(1, 1, 1));
    await new Promise((resolve) => setTimeout(resolve, 2));
    await broker.admin('session-revoke', { tenant: 'acme', key: 'data' });
    await new Promise((resolve) => setTimeout(resolve, 2));
    await anchor.advance(stateAt(1, 1, 2));
    assert.equal(database.entries.filter(({ kind }) => kind === 'release').length, 2);
    access.close();
    await broker.close();
  });

  it('waits for a broker that is away, when the policy says so', async () => {
    const first = await startTestBroker();
    const { anchor, access, told } = anchorAt(first);
    await anchor.advance(stateAt(1, 1, 1));
    await first.stop();
    const waiting = anchor.advance(stateAt(1, 1, 2));
    await new Promise((resolve) => setTimeout(resolve, 1_500)); // longer than a client tries by itself
    const again = await startTestBroker({ database: first.database, port: first.port, folder: first.folder });
    await waiting;
    assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 2));
    assert.equal(told.length, 2);
    access.close();
    await again.close();
  });

  it('fails in words when the broker stays away', async () => {
    const broker = await startTestBroker();
    const { anchor, access } = anchorAt(broker);
    await anchor.advance(stateAt(1, 1, 1));
    await broker.stop();
    await rejects(anchor.advance(stateAt(1, 1, 2)), 'broker-unreachable');
    await rejects(anchor.read(volumeId), 'broker-unreachable');
    access.close();
    await broker.close();
  });

  it('goes on within the bound that the policy sets, tells how long, and catches up', async () => {
    const first = await startTestBroker();
    const release = 'may-advance-anchor: true, anchor-outage: {continue-for: 1h}';
    await first.admin('policy-put', { tenant: 'acme', name: 'main', text: policyText('main', 7, release) });
    const { anchor, access } = anchorAt(first);
    await anchor.advance(stateAt(1, 1, 1));
    await first.stop();
    for (let sequence = 2; sequence < 6; sequence++) await anchor.advance(stateAt(1, 1, sequence));
    assert.equal(anchor.outage.unanchoredVolumes, 1);
    assert.ok(anchor.outage.unreachableSeconds > 0);
    await rejects(anchor.advance(stateAt(1, 1, 3)), 'rolled-back');
    await rejects(anchor.advance(stateAt(1, 1, 1_000_003)), 'broker-unreachable');
    const again = await startTestBroker({ database: first.database, port: first.port, folder: first.folder });
    await anchor.advance(stateAt(1, 2, 9));
    assert.deepEqual(anchor.outage, { unreachableSeconds: 0, unanchoredVolumes: 0 });
    assert.deepEqual(await anchor.read(volumeId), stateAt(1, 2, 9));
    access.close();
    await again.close();
  });

  it('does not let a volume go on that was changed by somebody else meanwhile', async () => {
    const first = await startTestBroker();
    const release = 'may-advance-anchor: true, anchor-outage: {continue-for: 1h}';
    await first.admin('policy-put', { tenant: 'acme', name: 'main', text: policyText('main', 7, release) });
    const { anchor, access } = anchorAt(first);
    await anchor.advance(stateAt(1, 1, 1));
    await first.stop();
    await anchor.advance(stateAt(1, 1, 2));
    const again = await startTestBroker({ database: first.database, port: first.port, folder: first.folder });
    const other = again.access('data', fakeSource());
    await new BrokerAnchor({ access: other, clock: patientClock }).advance(stateAt(2, 1, 0)).catch(() => undefined);
    await rejects(anchor.advance(stateAt(1, 1, 3)), 'rolled-back');
    other.close();
    access.close();
    await again.close();
  });
});
