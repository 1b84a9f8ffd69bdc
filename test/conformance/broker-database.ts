/**
 * The rules of src/broker/state/broker-database.ts as one suite that every database runs. `open` may be
 * called again and gives one that shares the memory of the first.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { AnchorState } from '../../src/anchor/anchor.ts';
import type {
  BrokerDatabase,
  Effect,
  LogEntry,
  StoredDocument,
  StoredKey,
} from '../../src/broker/state/broker-database.ts';
import { logLineBytesMax } from '../../src/lib/limits.ts';
import { buildProof, Frontier, hashLeaf, planConsistency, planInclusion } from '../../src/wire/merkle.ts';
import { verifyConsistency, verifyInclusion } from '../../src/wire/merkle.ts';
import { decodeLeaf } from '../../src/wire/release-log.ts';
import { stateAt, volumeId } from './anchor.ts';

export interface DatabaseMedium {
  open(): Promise<BrokerDatabase>;
  dispose(): Promise<void>;
}

export const tenantName = 'main';
const otherTenant = 'other';
const started = 1_790_000_000_000;

export function entry(facts: LogEntry['facts'] = {}, at = started): LogEntry {
  return { kind: 'admin-change', at, tenant: tenantName, facts };
}

export function change(...effects: Effect[]): { effects: Effect[]; entries: LogEntry[] } {
  return { effects, entries: [entry()] };
}

export function advance(...states: AnchorState[]): Effect {
  return { kind: 'advance-anchors', tenant: tenantName, states };
}

export function putTenant(name: string, isNew = true): Effect {
  return { kind: 'put-tenant', tenant: { name, adminTokenDigest: new Uint8Array(32).fill(name.length) }, isNew };
}

const key = (name: string, changes: Partial<StoredKey> = {}): StoredKey => ({
  tenant: tenantName,
  name,
  id: new Uint8Array(16).fill(name.charCodeAt(0)),
  wrapped: Uint8Array.of(0, 1, 2, 255),
  policy: 'default',
  createdAt: started,
  erasedAt: undefined,
  ...changes,
});

const document = (name: string, version: number, changes: Partial<StoredDocument> = {}): StoredDocument => ({
  tenant: tenantName,
  kind: 'policy',
  name,
  text: `text of ${name}, "quoted"\n\u00e9\u{1f512}`,
  version,
  ...changes,
});

const refuses = (work: Promise<unknown>, code: string): Promise<void> => assert.rejects(work, { code });

type Rule = (title: string, body: (database: BrokerDatabase, medium: DatabaseMedium) => Promise<void>) => void;

/** Each rule has a database of its own, with one tenant. */
function rulesOf(factory: () => Promise<DatabaseMedium>): Rule {
  return (title, body) => {
    it(title, async () => {
      const medium = await factory();
      try {
        const database = await medium.open();
        await database.commit(change(putTenant(tenantName)));
        await body(database, medium);
      } finally {
        await medium.dispose();
      }
    });
  };
}

/** What rotations and revocations stand on; the database in memory of other tests keeps these, too. */
export function settingConformance(name: string, factory: () => Promise<DatabaseMedium>): void {
  const rule = rulesOf(factory);
  const put = (value: number, keepsOther = false): Effect => ({
    ...{ kind: 'put-setting', name: 'root', value: Uint8Array.of(value), keepsOther },
  });
  const expect = (...value: number[]): Effect => ({
    ...{ kind: 'expect-setting', name: 'root', value: Uint8Array.from(value) },
  });

  describe(`settings and epochs of a broker database: ${name}`, () => {
    rule('a setting is kept, and the first of several writers wins where it asks for that', async (database) => {
      assert.equal(await database.setting('root'), undefined);
      await database.commit(change(put(1, true)));
      await database.commit(change(put(1, true)));
      await refuses(database.commit(change(put(2, true))), 'name-exists');
      await database.commit(change(put(2)));
      assert.deepEqual(await database.setting('root'), Uint8Array.of(2));
    });

    rule(
      'a commit that expects another setting is refused whole, one that expects this one changes it',
      async (database) => {
        await refuses(database.commit(change(expect(1))), 'object-changed');
        await database.commit(change(expect(), put(1)));
        await database.commit(change(expect(1)));
        assert.deepEqual(await database.setting('root'), Uint8Array.of(1));
        const { size } = await database.logTree();
        for (const other of [[], [2], [1, 0]])
          await assert.rejects(database.commit(change(put(9), expect(...other), putTenant('b'))), {
            ...{ code: 'object-changed', kind: 'transient' },
          });
        assert.deepEqual(await database.setting('root'), Uint8Array.of(1));
        assert.equal(await database.tenant('b'), undefined);
        assert.equal((await database.logTree()).size, size);
        // Emptied is as if it had never been there; what a commit puts itself is what it sees.
        const emptied: Effect = { kind: 'put-setting', name: 'root', value: new Uint8Array(0) };
        await database.commit(change(expect(1), emptied, expect()));
        await database.commit(change(expect()));
        await refuses(database.commit(change(expect(1))), 'object-changed');
      },
    );

    rule('of several that expect the same setting at once, one changes it', async (database, medium) => {
      const other = await medium.open();
      await database.commit(change(put(1)));
      const outcomes = await Promise.allSettled(
        [2, 3, 4, 5].map((value) => (value % 2 ? database : other).commit(change(expect(1), put(value)))),
      );
      const refused = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []));
      assert.deepEqual(refused, ['object-changed', 'object-changed', 'object-changed']);
      const winner = outcomes.findIndex(({ status }) => status === 'fulfilled');
      assert.deepEqual(await other.setting('root'), Uint8Array.of(2 + winner));
      assert.equal((await database.logTree()).size, 3);
    });

    rule('an epoch is raised by one, or to one at least, and never falls', async (database) => {
      const raise = (atLeast?: number): Effect => ({
        ...{ kind: 'raise-capability-epoch', tenant: tenantName, volumeId },
        ...(atLeast === undefined ? {} : { atLeast }),
      });
      assert.equal(await database.capabilityEpoch(tenantName, volumeId), 0);
      for (const [atLeast, epoch] of [
        [undefined, 1],
        [undefined, 2],
        [0, 2],
        [1, 2],
        [2, 2],
        [7, 7],
        [7, 7],
        [undefined, 8],
        [2 ** 53 - 1, 2 ** 53 - 1],
        [9, 2 ** 53 - 1],
      ] as const) {
        await database.commit(change(raise(atLeast)));
        assert.equal(await database.capabilityEpoch(tenantName, volumeId), epoch, `to ${atLeast}`);
      }
      const other = new Uint8Array(16).fill(2);
      await database.commit(
        change({ ...raise(5), volumeId: other } as Effect, { ...raise(), volumeId: other } as Effect),
      );
      assert.equal(await database.capabilityEpoch(tenantName, other), 6);
    });
  });
}

export function databaseConformance(name: string, factory: () => Promise<DatabaseMedium>): void {
  settingConformance(name, factory);
  const rule = rulesOf(factory);

  describe(`broker database conformance: ${name}`, () => {
    rule('tenants are new once, changed only where they are, and listed in order', async (database) => {
      await refuses(database.commit(change(putTenant(tenantName))), 'name-exists');
      await refuses(database.commit(change(putTenant('b', false))), 'tenant-missing');
      await database.commit(change(putTenant('Z')));
      await database.commit(change(putTenant('b')));
      await database.commit(change(putTenant(tenantName, false)));
      assert.deepEqual(
        (await database.tenants()).map((tenant) => tenant.name),
        ['Z', 'b', tenantName],
      );
      assert.deepEqual((await database.tenant(tenantName))?.adminTokenDigest, new Uint8Array(32).fill(4));
      assert.equal(await database.tenant('nobody'), undefined);
    });

    rule('nothing is kept for a tenant that is not there', async (database) => {
      const nobody = 'nobody';
      const session = { id: volumeId, tenant: nobody, keyName: 'k', wrappedSecret: volumeId, expiresAt: started };
      for (const effect of [
        { kind: 'create-key', key: key('a', { tenant: nobody }) },
        { kind: 'put-document', document: document('a', 1, { tenant: nobody }) },
        { kind: 'advance-anchors', tenant: nobody, states: [stateAt(1, 1, 0)] },
        { kind: 'put-session', session },
        { kind: 'raise-capability-epoch', tenant: nobody, volumeId },
        { kind: 'remove-tenant', name: nobody },
      ] as const)
        await refuses(database.commit(change(effect)), 'tenant-missing');
    });

    rule('a key is created once, found by name and id, re-wrapped, and erased for good', async (database) => {
      await database.commit(change({ kind: 'create-key', key: key('data') }));
      await refuses(database.commit(change({ kind: 'create-key', key: key('data') })), 'name-exists');
      await refuses(database.commit(change({ kind: 'create-key', key: key('data2') })), 'name-exists');
      assert.deepEqual(await database.key(tenantName, 'data'), key('data'));
      assert.deepEqual(await database.keyById(tenantName, key('data').id), key('data'));
      const named = { tenant: tenantName, name: 'data' };
      await database.commit(change({ kind: 'set-key-policy', ...named, policy: 'strict' }));
      await database.commit(change({ kind: 'rewrap-key', ...named, wrapped: Uint8Array.of(9) }));
      assert.deepEqual(
        await database.key(tenantName, 'data'),
        key('data', { policy: 'strict', wrapped: Uint8Array.of(9) }),
      );
      await database.commit(change({ kind: 'erase-key', ...named, at: started + 5 }));
      const erased = key('data', { policy: 'strict', wrapped: new Uint8Array(0), erasedAt: started + 5 });
      assert.deepEqual(await database.key(tenantName, 'data'), erased);
      for (const effect of [
        { kind: 'erase-key', ...named, at: started },
        { kind: 'set-key-policy', ...named, policy: 'x' },
        { kind: 'rewrap-key', ...named, wrapped: Uint8Array.of(1) },
        { kind: 'erase-key', ...named, name: 'never-there', at: started },
      ] as const)
        await refuses(database.commit(change(effect)), 'name-missing');
      await refuses(database.commit(change({ kind: 'create-key', key: key('data') })), 'name-exists');
    });

    rule('documents count their changes, and a change that missed another is refused', async (database) => {
      await refuses(database.commit(change({ kind: 'put-document', document: document('p', 2) })), 'object-changed');
      await database.commit(change({ kind: 'put-document', document: document('p', 1) }));
      await refuses(database.commit(change({ kind: 'put-document', document: document('p', 1) })), 'object-changed');
      await database.commit(change({ kind: 'put-document', document: document('p', 2, { text: 'two' }) }));
      assert.deepEqual(await database.document(tenantName, 'policy', 'p'), document('p', 2, { text: 'two' }));
      assert.equal(await database.document(tenantName, 'reference-values', 'p'), undefined);
      await database.commit(change({ kind: 'put-document', document: document('a', 1) }));
      assert.deepEqual(
        (await database.documents(tenantName, 'policy')).map((one) => one.name),
        ['a', 'p'],
      );
      assert.deepEqual((await database.documents(tenantName, 'policy'))[0], document('a', 1));
      const removal = { kind: 'remove-document', tenant: tenantName, document: 'policy', name: 'p' } as const;
      await database.commit(change(removal));
      await refuses(database.commit(change(removal)), 'name-missing');
      await database.commit(change({ kind: 'put-document', document: document('p', 1) }));
    });

    rule('an anchor follows the order of every anchor', async (database) => {
      assert.equal(await database.anchor(tenantName, volumeId), undefined);
      for (const state of [stateAt(1, 1, 0), stateAt(1, 1, 7), stateAt(1, 2, 7), stateAt(2, 1, 0), stateAt(2, 1, 0)]) {
        await database.commit(change(advance(state)));
        assert.deepEqual(await database.anchor(tenantName, volumeId), state);
      }
      for (const older of [stateAt(1, 9, 9), stateAt(2, 0, 5)])
        await refuses(database.commit(change(advance(older))), 'rolled-back');
      await assert.rejects(database.commit(change(advance(stateAt(1, 9, 9)))), {
        details: { heldEpoch: 2, heldManifestNumber: 1, heldSequence: 0, epoch: 1, manifestNumber: 9, sequence: 9 },
      });
      const fork = stateAt(2, 1, 0, { manifestDigest: new Uint8Array(32).fill(0xee) });
      await refuses(database.commit(change(advance(fork))), 'forked');
      await refuses(database.commit(change(advance(stateAt(2, 1, 0, { chain: new Uint8Array(16) })))), 'forked');
      const largest = stateAt(2 ** 53 - 1, 2 ** 53 - 1, 2 ** 53 - 1, { manifestDigest: new Uint8Array(32) });
      await database.commit(change(advance(largest)));
      assert.deepEqual(await database.anchor(tenantName, volumeId), largest);
      await database.commit(change({ kind: 'forget-anchor', tenant: tenantName, volumeId }));
      assert.equal(await database.anchor(tenantName, volumeId), undefined);
      await database.commit(change({ kind: 'forget-anchor', tenant: tenantName, volumeId }));
    });

    rule('of a group of anchors all advance or none', async (database) => {
      const second = { volumeId: new Uint8Array(16).fill(2) };
      await database.commit(change(advance(stateAt(1, 1, 5), stateAt(1, 1, 5, second))));
      await refuses(database.commit(change(advance(stateAt(1, 1, 6, second), stateAt(1, 1, 4)))), 'rolled-back');
      assert.deepEqual(await database.anchor(tenantName, second.volumeId), stateAt(1, 1, 5, second));
      await refuses(database.commit(change(advance(stateAt(1, 1, 7), stateAt(1, 1, 6)))), 'rolled-back');
      assert.deepEqual(await database.anchor(tenantName, volumeId), stateAt(1, 1, 5));
    });

    rule('a commit is there whole or not at all, and its lines with it', async (database) => {
      const before = await database.logTree();
      await refuses(
        database.commit({
          effects: [
            advance(stateAt(1, 1, 1)),
            { kind: 'put-setting', name: 's', value: volumeId },
            putTenant(tenantName),
          ],
          entries: [entry(), entry()],
        }),
        'name-exists',
      );
      assert.deepEqual(await database.logTree(), before);
      assert.equal(await database.anchor(tenantName, volumeId), undefined);
      assert.equal(await database.setting('s'), undefined);
      await refuses(
        database.commit({
          effects: [advance(stateAt(1, 1, 1))],
          entries: [entry({ long: 'x'.repeat(logLineBytesMax) })],
        }),
        'limit-exceeded',
      );
      assert.deepEqual(await database.logTree(), before);
      assert.equal(await database.anchor(tenantName, volumeId), undefined);
    });

    rule('commits that wait together are refused one by one, and see each other in order', async (database) => {
      const nonce = new Uint8Array(32).fill(7);
      const take: Effect = { kind: 'take-nonce', nonce, expiresAt: started + 1000 };
      const outcomes = await Promise.allSettled([
        database.commit(change(advance(stateAt(1, 1, 3)))),
        database.commit(change(take)),
        database.commit(change(advance(stateAt(1, 1, 2)))),
        database.commit(change(take)),
        database.commit(change(advance(stateAt(1, 1, 4)))),
        database.commit({ effects: [], entries: [entry({ only: 'a line' }), entry({ and: 'another' })] }),
      ]);
      assert.deepEqual(
        outcomes.map((one) => (one.status === 'fulfilled' ? one.value.firstIndex : one.reason.code)),
        [1, 2, 'rolled-back', 'nonce-used', 3, 4],
      );
      assert.deepEqual(await database.anchor(tenantName, volumeId), stateAt(1, 1, 4));
      assert.equal((await database.logTree()).size, 6);
      await refuses(database.commit(change(take)), 'nonce-used');
    });

    rule('two that share one memory see each other', async (database, medium) => {
      const other = await medium.open();
      const take: Effect = { kind: 'take-nonce', nonce: new Uint8Array(32).fill(8), expiresAt: started + 1000 };
      const outcomes = await Promise.allSettled([database.commit(change(take)), other.commit(change(take))]);
      assert.deepEqual(outcomes.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected']);
      for (let sequence = 0; sequence < 12; sequence++)
        await (sequence % 2 ? database : other).commit(change(advance(stateAt(1, 1, sequence))));
      await refuses(database.commit(change(advance(stateAt(1, 1, 10)))), 'rolled-back');
      assert.deepEqual(await database.logTree(), await other.logTree());
      assert.deepEqual(await database.anchor(tenantName, volumeId), stateAt(1, 1, 11));
      await Promise.all(
        Array.from({ length: 40 }, (_, place) =>
          (place % 2 ? database : other).commit(change(advance(stateAt(2, 1, 0)))),
        ),
      );
      assert.equal((await database.logTree()).size, 1 + 1 + 12 + 40);
      await checkLog(database);
    });

    rule('sessions are kept', async (database) => {
      const session = {
        id: volumeId,
        tenant: tenantName,
        keyName: 'k',
        wrappedSecret: Uint8Array.of(4),
        expiresAt: started,
      };
      await database.commit(change({ kind: 'put-session', session }));
      assert.deepEqual(await database.session(volumeId), session);
      await database.commit(change({ kind: 'put-session', session: { ...session, expiresAt: started + 1 } }));
      assert.equal((await database.session(volumeId))?.expiresAt, started + 1);
      assert.equal(await database.session(new Uint8Array(16)), undefined);
    });

    rule('what expired long ago is removed, what might still count is not', async (database) => {
      const take = (nonce: number, expiresAt: number): Effect => ({
        ...{ kind: 'take-nonce', nonce: new Uint8Array(32).fill(nonce), expiresAt },
      });
      await database.commit(change(take(1, started), take(2, started + 3_600_000)));
      const later = started + 3_600_000;
      await database.commit({ effects: [], entries: [entry({}, later)] });
      await database.commit(change(take(1, started)));
      await refuses(database.commit(change(take(2, started))), 'nonce-used');
    });

    rule('tenants are kept apart, and one that is removed takes everything along', async (database) => {
      await database.commit(change(putTenant(otherTenant)));
      const fill = (tenant: string): Effect[] => [
        { kind: 'create-key', key: key('data', { tenant }) },
        { kind: 'put-document', document: document('p', 1, { tenant }) },
        { kind: 'advance-anchors', tenant, states: [stateAt(3, 3, 3)] },
        { kind: 'raise-capability-epoch', tenant, volumeId },
      ];
      const session = { id: volumeId, tenant: otherTenant, keyName: 'k', wrappedSecret: volumeId, expiresAt: started };
      await database.commit(change(...fill(otherTenant), { kind: 'put-session', session }));
      assert.equal(await database.key(tenantName, 'data'), undefined);
      assert.equal(await database.keyById(tenantName, key('data').id), undefined);
      assert.deepEqual(await database.keys(tenantName), []);
      assert.equal(await database.document(tenantName, 'policy', 'p'), undefined);
      assert.deepEqual(await database.documents(tenantName, 'policy'), []);
      assert.equal(await database.anchor(tenantName, volumeId), undefined);
      assert.equal(await database.capabilityEpoch(tenantName, volumeId), 0);
      await database.commit(change(advance(stateAt(1, 1, 1))));
      await database.commit(change(...fill(tenantName).filter(({ kind }) => kind !== 'advance-anchors')));
      const results = await Promise.allSettled([
        database.commit(change(putTenant('third'))),
        database.commit(change({ kind: 'remove-tenant', name: otherTenant })),
        database.commit(change(putTenant(otherTenant))),
      ]);
      assert.ok(results.every(({ status }) => status === 'fulfilled'));
      assert.deepEqual(await database.keys(otherTenant), []);
      assert.equal(await database.keyById(otherTenant, key('data').id), undefined);
      assert.deepEqual(await database.documents(otherTenant, 'policy'), []);
      assert.equal(await database.anchor(otherTenant, volumeId), undefined);
      assert.equal(await database.capabilityEpoch(otherTenant, volumeId), 0);
      assert.equal(await database.session(volumeId), undefined);
      assert.deepEqual(await database.keys(tenantName), [key('data')]);
      assert.deepEqual(await database.anchor(tenantName, volumeId), stateAt(1, 1, 1));
    });

    rule('the log gives leaves, root and proofs at every size', async (database) => {
      for (let place = 1; place < 21; place++)
        assert.deepEqual(await database.commit({ effects: [], entries: [entry({ place })] }), { firstIndex: place });
      await checkLog(database);
      const { root } = await database.logTree();
      const leaves = await database.logLeaves(0, 100);
      assert.equal(leaves.length, 21);
      assert.deepEqual(
        (await database.logLeaves(19, 5)).map(({ index }) => index),
        [19, 20],
      );
      assert.deepEqual(await database.logLeaves(21, 5), []);
      assert.equal(decodeLeaf(leaves[4]!.bytes).facts['place'], 4);
      const frontier = new Frontier();
      for (const [index, { bytes }] of leaves.entries()) {
        const hash = hashLeaf(bytes);
        const proof = await buildProof(planInclusion(index, 21), (ids) => database.logNodes(ids));
        assert.ok(verifyInclusion(hash, index, 21, proof, root));
        frontier.append(hash);
        const first = { size: index + 1, root: frontier.root() };
        const path = await buildProof(planConsistency(index + 1, 21), (ids) => database.logNodes(ids));
        assert.ok(verifyConsistency(first, { size: 21, root }, path));
      }
      await refuses(database.logNodes([{ level: 0, index: 21 }]), 'range-outside');
      await refuses(database.logNodes([{ level: 4, index: 1 }]), 'range-outside');
      await refuses(database.logLeaves(-1, 5), 'argument-invalid');
    });

    rule('everything is there after it is opened anew', async (database, medium) => {
      await database.commit(change({ kind: 'create-key', key: key('data') }, advance(stateAt(1, 2, 3))));
      const tree = await database.logTree();
      await database.close();
      const again = await medium.open();
      assert.deepEqual(await again.logTree(), tree);
      assert.deepEqual(await again.key(tenantName, 'data'), key('data'));
      assert.deepEqual(await again.anchor(tenantName, volumeId), stateAt(1, 2, 3));
      assert.deepEqual(await again.commit(change(advance(stateAt(1, 2, 4)))), { firstIndex: 2 });
      assert.equal(again.counters.logSize, 3);
    });

    rule('names that no table can hold are nobody, and are refused', async (database) => {
      for (const odd of ['a\0b', '\ud800']) {
        assert.equal(await database.tenant(odd), undefined);
        assert.equal(await database.key(odd, odd), undefined);
        assert.deepEqual(await database.keys(odd), []);
        await refuses(database.commit(change(putTenant(odd))), 'argument-invalid');
      }
      assert.equal(await database.tenant("'; DROP TABLE tenants; --"), undefined);
      await database.commit(change(putTenant("'; DROP TABLE tenants; --")));
      assert.equal((await database.tenants()).length, 2);
    });

    rule('the counters count, and what is closed says so', async (database) => {
      await Promise.allSettled([
        database.commit(change(advance(stateAt(1, 1, 1)))),
        database.commit(change(advance(stateAt(1, 1, 2)))),
        database.commit(change(putTenant(tenantName))),
      ]);
      const { commits, refusals, groups, groupCommitsLargest, commitsWaiting, logSize } = database.counters;
      assert.deepEqual(
        { commits, refusals, groups, groupCommitsLargest, commitsWaiting, logSize },
        {
          ...{ commits: 3, refusals: 1, groups: 2, groupCommitsLargest: 3, commitsWaiting: 0, logSize: 3 },
        },
      );
      await database.check();
      const last = database.commit(change(advance(stateAt(1, 1, 3))));
      await database.close();
      assert.deepEqual(await last, { firstIndex: 3 });
      await database.close();
      for (const work of [() => database.commit(change()), () => database.tenants(), () => database.logTree()])
        await refuses(work(), 'store-closed');
      await refuses(database.check(), 'store-closed');
    });
  });
}

/** Root and size are those of the leaves, each at its place. */
export async function checkLog(database: BrokerDatabase): Promise<number> {
  const { size, root } = await database.logTree();
  const frontier = new Frontier();
  while (frontier.size < size) {
    const leaves = await database.logLeaves(frontier.size, 1000);
    assert.ok(leaves.length > 0, `leaf ${frontier.size} of ${size} is missing`);
    for (const { index, bytes } of leaves) {
      assert.equal(index, frontier.size);
      assert.equal(decodeLeaf(bytes).index, index);
      if (frontier.size < size) frontier.append(hashLeaf(bytes));
    }
  }
  assert.deepEqual(frontier.root(), root);
  return size;
}
