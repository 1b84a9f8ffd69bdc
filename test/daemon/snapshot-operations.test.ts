/** Snapshots, clones and erasure over memory volumes: what is used where, what is refused, and that nothing stays open. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Credential } from '../../src/admin/schema.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { createdVolume, dataVolume, refuses, right, startOperations, wrong } from '../support/operations-bench.ts';

const own: Credential = { kind: 'key-file', path: '/clone.key' };

test('a snapshot is taken where the volume is, listed, restored and removed', async (context) => {
  const { local, daemon, parts } = startOperations(context);
  await createdVolume(local);
  const taken = await local.createSnapshot({ name: 'data', credential: right, snapshot: 'monday' });
  assert.deepEqual([taken.name, taken.frozen], ['monday', false]);
  await daemon.attachVolume({ name: 'data', credential: right, readOnly: false });
  // No key: the daemon has it open.
  await daemon.createSnapshot({ name: 'data', snapshot: 'tuesday' });
  const { snapshots } = await daemon.listSnapshots({ name: 'data' });
  assert.deepEqual(
    snapshots.map(({ name }) => name),
    ['monday', 'tuesday'],
  );
  assert.equal((await daemon.inspectVolume({ name: 'data', unlock: false })).snapshots?.length, 2);
  assert.equal((await local.inspectVolume({ name: 'data', unlock: false })).snapshots, undefined);
  // Beside the writer, which holds the lock.
  assert.equal((await local.listSnapshots({ name: 'data', credential: right })).snapshots.length, 2);
  const restore = { name: 'data', credential: right, snapshot: 'monday' };
  await assert.rejects(daemon.restoreSnapshot(restore), refuses('volume-busy'));
  await assert.rejects(local.restoreSnapshot(restore), refuses('volume-open-elsewhere'));
  await daemon.detachVolume({ name: 'data' });
  await assert.rejects(daemon.restoreSnapshot({ ...restore, snapshot: 'friday' }), refuses('snapshot-missing'));
  await daemon.restoreSnapshot({ ...restore, snapshot: taken.id });
  assert.deepEqual(parts.restored, ['monday']);
  await daemon.removeSnapshot({ ...restore, snapshot: taken.id });
  await assert.rejects(daemon.removeSnapshot(restore), refuses('snapshot-missing'));
  assert.deepEqual([...parts.open], []);
});

test('what is refused is refused by name and changes nothing', async (context) => {
  const { local, parts } = startOperations(context);
  await createdVolume(local);
  const base = { name: 'data', credential: right };
  await assert.rejects(local.createSnapshot({ ...base, snapshot: 'a/b' }), refuses('name-invalid'));
  await assert.rejects(local.createSnapshot({ ...base, name: 'nobody', snapshot: 'a' }), refuses('name-missing'));
  await assert.rejects(local.createSnapshot({ name: 'data', credential: wrong, snapshot: 'a' }), refuses('key-wrong'));
  await assert.rejects(local.createSnapshot({ name: 'data', snapshot: 'a' }), refuses('key-source-unavailable'));
  await local.createSnapshot({ ...base, snapshot: 'a' });
  await assert.rejects(local.createSnapshot({ ...base, snapshot: 'a' }), refuses('snapshot-exists'));
  await assert.rejects(local.cloneVolume({ ...base, newName: 'data' }), refuses('name-exists'));
  await assert.rejects(local.cloneVolume({ ...base, newName: '../x' }), refuses('name-invalid'));
  await assert.rejects(local.cloneVolume({ ...base, newName: 'b', snapshot: 'c' }), refuses('snapshot-missing'));
  const erase = { name: 'data', keepObjects: false, acceptMissingAnchor: false };
  await assert.rejects(local.eraseVolume({ ...erase, credential: wrong }), refuses('key-wrong'));
  assert.equal(parts.volumes.size, 1);
  assert.deepEqual([...parts.open], []);
});

test('the file system that the daemon mounted stands still while its snapshot is taken, and no longer', async (context) => {
  const { daemon, parts } = startOperations(context);
  await createdVolume(daemon);
  const mount = { directory: '/mnt', credential: right, readOnly: false, force: false, mountOptions: [] };
  await daemon.mountVolume({ ...mount, name: 'data' });
  const taken = await daemon.createSnapshot({ name: 'data', snapshot: 'monday' });
  assert.equal(taken.frozen, true);
  parts.faults.set('snapshot', new CaissonError('io', 'store-io', 'the store went away'));
  await assert.rejects(daemon.createSnapshot({ name: 'data', snapshot: 'tuesday' }), refuses('store-io'));
  assert.deepEqual(parts.frozen, []);
  await daemon.mountVolume({ ...mount, name: 'data@monday', directory: '/old' });
  const { volumes } = await daemon.status({});
  assert.deepEqual(
    volumes.map(({ name, readOnly, mountedOn }) => [name, readOnly, mountedOn]),
    [
      ['data', false, '/mnt'],
      ['data@monday', true, '/old'],
    ],
  );
  await daemon.unmountVolume({ target: 'data' });
  await daemon.unmountVolume({ target: 'data@monday' });
  assert.deepEqual([...parts.open], []);
});

test('snapshots are held beside their volume, in one store, and are not removed from under their readers', async (context) => {
  const { daemon, local, parts, host, names } = startOperations(context);
  await createdVolume(daemon);
  const { id } = await daemon.createSnapshot({ name: 'data', credential: right, snapshot: 'monday' });
  await daemon.attachVolume({ name: 'data', credential: right, readOnly: false });
  for (const snapshot of ['monday', id])
    await daemon.attachVolume({ name: `data@${snapshot}`, credential: right, readOnly: false });
  assert.equal([...parts.open].filter((token) => token.startsWith('environment')).length, 1);
  await assert.rejects(
    daemon.attachVolume({ name: 'data@monday', credential: right, readOnly: false }),
    refuses('volume-busy'),
  );
  for (const snapshot of ['monday', id]) {
    await assert.rejects(daemon.removeSnapshot({ name: 'data', snapshot: 'monday' }), refuses('volume-busy'));
    await daemon.detachVolume({ name: `data@${snapshot}` });
  }
  await assert.rejects(
    daemon.attachVolume({ name: 'data@friday', credential: right, readOnly: false }),
    refuses('snapshot-missing'),
  );
  await assert.rejects(
    daemon.attachVolume({ name: 'data@', credential: right, readOnly: false }),
    refuses('name-invalid'),
  );
  // One that is just being attached counts, and while one is removed none is attached.
  const attaching = daemon.attachVolume({ name: 'data@monday', credential: right, readOnly: false });
  await assert.rejects(daemon.removeSnapshot({ name: 'data', snapshot: 'monday' }), refuses('volume-busy'));
  await attaching;
  await daemon.detachVolume({ name: 'data@monday' });
  await host.whilePruning(names.find('data').volumeId, () =>
    assert.rejects(
      daemon.attachVolume({ name: `data@${id}`, credential: right, readOnly: false }),
      refuses('volume-busy'),
    ),
  );
  await daemon.removeSnapshot({ name: 'data', snapshot: 'monday' });
  await daemon.detachVolume({ name: 'data' });
  assert.deepEqual([...parts.open], []);
  assert.equal((await local.listSnapshots({ name: 'data', credential: right })).snapshots.length, 0);
});

test('a clone has the key of its parent, or one of its own that the parent is isolated from', async (context) => {
  const { local, daemon, names, parts } = startOperations(context);
  await createdVolume(local);
  const same = await local.cloneVolume({ name: 'data', credential: right, newName: 'same' });
  assert.deepEqual(names.find('same').key, { kind: 'passphrase' });
  assert.equal(parts.isolated.get(same.public.volumeId), false);
  assert.equal(same.lineage?.parent?.name, 'data');
  await daemon.attachVolume({ name: 'data', credential: right, readOnly: false });
  await assert.rejects(daemon.cloneVolume({ name: 'data', newName: 'x' }), refuses('key-source-unavailable'));
  const key = { kind: 'key-file', path: '/clone.key' } as const;
  const other = await daemon.cloneVolume({ name: 'data', newName: 'other', newCredential: own, key });
  assert.deepEqual(names.find('other').key, key);
  assert.equal(parts.isolated.get(other.public.volumeId), true);
  await daemon.attachVolume({ name: 'other', readOnly: false });
  await daemon.detachVolume({ name: 'other' });
  await daemon.detachVolume({ name: 'data' });
  await assert.rejects(
    local.removeVolume({ name: 'data', aliasOnly: false }),
    (error) => refuses('volume-needed')(error) && /same, other started from data/.test(String(error)),
  );
  for (const name of ['same', 'other']) {
    const { parent } = await local.removeVolume({ name, aliasOnly: false });
    assert.equal(parent?.name, 'data');
  }
  assert.equal((await local.removeVolume({ name: 'data', aliasOnly: false })).parent, null);
  assert.deepEqual([...parts.open], []);
});

test('the clone of an unprotected volume has no protection either', async (context) => {
  const { local, parts } = startOperations(context);
  const none: Credential = { kind: 'none' };
  await local.createVolume({ ...dataVolume, protection: 'none', credential: none });
  const clone = { name: 'data', newName: 'test' };
  await assert.rejects(local.cloneVolume({ ...clone, newCredential: own }), refuses('argument-invalid'));
  assert.equal((await local.cloneVolume(clone)).public.protection, 'none');
  assert.deepEqual([...parts.open], []);
});

test('a clone whose name cannot be kept is not left behind', async (context) => {
  const { local, parts, names } = startOperations(context);
  await createdVolume(local);
  names.add = async () => {
    throw new CaissonError('full', 'store-full', 'no room for volumes.json');
  };
  await assert.rejects(local.cloneVolume({ name: 'data', credential: right, newName: 'test' }), refuses('store-full'));
  assert.equal(parts.volumes.size, 1);
  assert.deepEqual([...parts.open], []);
});

test('a snapshot that a clone needs is named with it; a clone that is gone needs nothing', async (context) => {
  const { local } = startOperations(context);
  await createdVolume(local);
  const base = { name: 'data', credential: right, snapshot: 'base' };
  await local.createSnapshot(base);
  await local.cloneVolume({ ...base, newName: 'test' });
  await assert.rejects(
    local.removeSnapshot(base),
    (error) => refuses('snapshot-needed')(error) && /test started from data@base/.test(String(error)),
  );
  await local.removeVolume({ name: 'test', aliasOnly: false });
  assert.deepEqual((await local.removeSnapshot(base)).clones, []);
});

test('an erasure is refused while anything of the volume is held, and needs no key to be finished', async (context) => {
  const { daemon, local, parts } = startOperations(context);
  await createdVolume(daemon);
  await daemon.createSnapshot({ name: 'data', credential: right, snapshot: 'monday' });
  const erase = { name: 'data', credential: right, keepObjects: false, acceptMissingAnchor: false };
  for (const name of ['data', 'data@monday']) {
    await daemon.attachVolume({ name, credential: right, readOnly: false });
    await assert.rejects(daemon.eraseVolume(erase), refuses('volume-busy'));
    await assert.rejects(daemon.removeVolume({ name: 'data', aliasOnly: false }), refuses('volume-busy'));
    await daemon.detachVolume({ name });
  }
  const seen: number[] = [];
  const receipt = await daemon.eraseVolume(erase, (done) => void seen.push(done));
  assert.deepEqual([receipt.manifest, seen], ['AQID', [1]]);
  const again = await local.eraseVolume({ ...erase, credential: undefined });
  assert.equal(again.manifestDigest, receipt.manifestDigest);
  const report = await local.verifyVolume({ name: 'data', public: false });
  assert.deepEqual([report.public, report.erased, report.receipt?.manifest], [true, true, 'AQID']);
  assert.equal((await local.inspectVolume({ name: 'data', unlock: false })).lineage?.state, 'erased');
  await assert.rejects(
    daemon.attachVolume({ name: 'data', credential: right, readOnly: false }),
    refuses('volume-erased'),
  );
  assert.deepEqual([...parts.open], []);
});
