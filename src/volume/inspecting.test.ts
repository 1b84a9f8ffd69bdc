/** What anybody can see of a volume's life: its state, where it comes from, what came from it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { fromHex } from '../lib/hex.ts';
import { Region } from '../lib/region.ts';
import type { Store } from '../store/store.ts';
import { createTestVolume } from '../../test/support/test-volume.ts';
import { eraseVolume, inspectVolume, openVolume, verifyVolume } from './volume.ts';

test('state, snapshots, clones and parent are public; an erased volume still tells them', async () => {
  const subject = await createTestVolume({ size: 2 ** 20 });
  const { volume, environment, volumeId, keySource } = subject;
  try {
    await volume.write(0, 4096, Region.from(new Uint8Array(4096).fill(1)), 0, false);
    const { manifestNumber, manifestDigest } = await volume.snapshot('base');
    const cloneId = (await volume.clone({ keySource, snapshot: 'base' })).volumeId;
    const open = await inspectVolume(environment, volumeId);
    assert.deepEqual([open.state, open.parent, open.clones, open.snapshotCount], ['open', undefined, [cloneId], 1]);
    const clone = await inspectVolume(environment, fromHex(cloneId, 16)!);
    assert.deepEqual(
      [clone.state, clone.parent, clone.clones, clone.snapshotCount],
      ['closed', { volumeId: volume.id, manifestNumber, manifestDigest }, [], 0],
    );
    await volume.close();
    await eraseVolume(environment, { volumeId, keySource });
    const erased = await inspectVolume(environment, volumeId);
    assert.deepEqual(
      [erased.state, erased.clones, erased.snapshotCount, erased.keySlots, erased.objectCount],
      ['erased', [cloneId], 0, [], 0],
    );
  } finally {
    await subject.dispose();
  }
});

test('an erasure that was interrupted is finished by the next call', async () => {
  const subject = await createTestVolume({ size: 2 ** 20 });
  const { volume, environment, volumeId, keySource } = subject;
  try {
    await volume.close();
    const old = await environment.anchor.read(volumeId);
    const interrupted = { ...environment, store: withoutRemoval(environment.store) };
    await assert.rejects(eraseVolume(interrupted, { volumeId, keySource }), (error) =>
      isCaissonError(error, 'store-io'),
    );
    await assert.rejects(openVolume(environment, { volumeId, keySource }), (error) =>
      isCaissonError(error, 'volume-erased'),
    );
    const before = await verifyVolume(environment, { volumeId });
    assert.deepEqual([...new Set(before.findings.map(({ code }) => code))], ['keyring-remains']);
    const receipt = await eraseVolume(environment, { volumeId, keySource });
    assert.ok(receipt.removedObjects > 0);
    const after = await verifyVolume(environment, { volumeId });
    assert.deepEqual([after.erased, after.findings, after.freshness], [true, [], 'current']);
    assert.ok((await environment.anchor.read(volumeId))!.epoch > old!.epoch);
    assert.equal((await eraseVolume(environment, { volumeId, keySource })).manifestDigest, receipt.manifestDigest);
  } finally {
    await subject.dispose();
  }
});

function withoutRemoval(store: Store): Store {
  return new Proxy(store, {
    get: (target, key) => {
      if (key === 'remove') return () => Promise.reject(new CaissonError('io', 'store-io', 'the store went away'));
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
