/** The daemon's operations over memory volumes: what they do, what they refuse, and that nothing stays open. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Credential } from '../../src/admin/schema.ts';
import { createMetrics } from '../../src/daemon/metrics.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { dataVolume as data, refuses, right, startOperations as start, wrong } from '../support/operations-bench.ts';

test('a volume is created, named, inspected, resized, renamed by adoption and removed', async (context) => {
  const { local, parts } = start(context);
  const created = await local.createVolume(data);
  assert.equal(created.store, 'dir:/srv');
  const { volumes } = await local.listVolumes({});
  assert.deepEqual(
    volumes.map(({ name, open, key }) => ({ name, open, key })),
    [{ name: 'data', open: false, key: { kind: 'passphrase' } }],
  );
  const closed = await local.inspectVolume({ name: 'data', unlock: true, credential: right });
  assert.equal(closed.sealed?.size, 8192);
  await local.resizeVolume({ name: 'data', size: 16384, credential: right });
  const after = await local.inspectVolume({ name: 'data', unlock: true, credential: right });
  assert.equal(after.sealed?.size, 16384);
  assert.equal((await local.verifyVolume({ name: 'data', public: true })).public, true);
  await local.removeVolume({ name: 'data', aliasOnly: true });
  assert.equal(parts.volumes.size, 1);
  const adopted = await local.adoptVolume({
    name: 'again',
    store: 'dir:/srv',
    acceptMissingAnchor: true,
    credential: right,
  });
  assert.equal(adopted.public.volumeId, created.public.volumeId);
  await local.removeVolume({ name: 'again', aliasOnly: false });
  assert.equal(parts.volumes.size, 0);
  assert.deepEqual([...parts.open], []);
});

test('what is refused is refused by name and leaves nothing open', async (context) => {
  const { local, parts } = start(context);
  await local.createVolume(data);
  await assert.rejects(local.createVolume(data), refuses('name-exists'));
  await assert.rejects(local.createVolume({ ...data, name: '../x' }), refuses('name-invalid'));
  await assert.rejects(local.createVolume({ ...data, name: 'other', size: 5000 }), refuses('size-invalid'));
  await assert.rejects(local.createVolume({ ...data, name: 'other', store: undefined }), refuses('argument-invalid'));
  await assert.rejects(local.inspectVolume({ name: 'nobody', unlock: false }), refuses('name-missing'));
  await assert.rejects(local.resizeVolume({ name: 'data', size: 4096, credential: wrong }), refuses('key-wrong'));
  await assert.rejects(local.resizeVolume({ name: 'data', size: 4096 }), refuses('key-source-unavailable'));
  await assert.rejects(local.resizeVolume({ name: 'data', size: 4097, credential: right }), refuses('size-invalid'));
  await assert.rejects(local.status({}), refuses('daemon-unreachable'));
  await assert.rejects(local.attachVolume({ name: 'data', readOnly: false }), refuses('daemon-unreachable'));
  parts.faults.set('openEnvironment', new CaissonError('io', 'store-missing', 'gone'));
  await assert.rejects(local.listKeys({ name: 'data' }), refuses('store-missing'));
  assert.deepEqual([...parts.open], []);
});

test('the store decides what FLUSH waits for, unless somebody does', async (context) => {
  const { local } = start(context);
  const { durability: _, ...unsaid } = data;
  const shown = async (name: string): Promise<string | undefined> =>
    (await local.inspectVolume({ name, unlock: true, credential: right })).sealed?.durability;
  await local.createVolume({ ...unsaid, name: 'near' });
  await local.createVolume({ ...unsaid, name: 'far', store: 's3://bucket/prefix' });
  await local.createVolume({ ...unsaid, name: 'hasty', store: 's3://bucket/prefix', durability: 'local' });
  assert.deepEqual(await Promise.all(['near', 'far', 'hasty'].map(shown)), ['local', 'remote', 'local']);
});

test('a volume whose name cannot be kept is not left behind', async (context) => {
  const { local, parts, names } = start(context);
  names.add = async () => {
    throw new CaissonError('full', 'store-full', 'no room for volumes.json');
  };
  await assert.rejects(local.createVolume(data), refuses('store-full'));
  assert.equal(parts.volumes.size, 0);
  assert.deepEqual([...parts.open], []);
});

test('keys are added, changed with their hint, removed', async (context) => {
  const { local, names } = start(context);
  await local.createVolume(data);
  const file: Credential = { kind: 'key-file', path: '/key' };
  assert.equal((await local.addKey({ name: 'data', credential: right, newCredential: file })).slot, 1);
  await local.changeKey({
    name: 'data',
    credential: right,
    slot: 0,
    newCredential: wrong,
    key: { kind: 'key-file', path: '/key' },
  });
  assert.deepEqual(names.find('data').key, { kind: 'key-file', path: '/key' });
  await assert.rejects(local.inspectVolume({ name: 'data', unlock: true, credential: right }), refuses('key-wrong'));
  // The hint leads to the key file, so nobody has to give one.
  assert.equal((await local.inspectVolume({ name: 'data', unlock: true })).sealed?.size, 8192);
  await local.removeKey({ name: 'data', slot: 0 });
  assert.deepEqual(
    (await local.listKeys({ name: 'data' })).slots.map(({ slot }) => slot),
    [1],
  );
});

test('an open volume is used where it is, without its key, and elsewhere it is refused', async (context) => {
  const { daemon, local, parts } = start(context);
  await local.createVolume(data);
  const attached = await daemon.attachVolume({ name: 'data', credential: right, readOnly: false });
  assert.match(attached.uri, /^nbd\+unix:\/\/\/data\?socket=\/.*\/data\.sock$/);
  await daemon.resizeVolume({ name: 'data', size: 12288 });
  assert.equal((await daemon.status({})).volumes[0]?.size, 12288);
  await assert.rejects(
    daemon.attachVolume({ name: 'data', credential: right, readOnly: false }),
    refuses('volume-busy'),
  );
  await assert.rejects(daemon.removeVolume({ name: 'data', aliasOnly: false }), refuses('volume-busy'));
  await assert.rejects(
    local.resizeVolume({ name: 'data', size: 4096, credential: right }),
    refuses('volume-open-elsewhere'),
  );
  await daemon.detachVolume({ name: 'data' });
  await assert.rejects(daemon.detachVolume({ name: 'data' }), refuses('volume-missing'));
  assert.deepEqual([...parts.open], []);
});

test('an attach that fails at any step undoes the steps before', async (context) => {
  const { daemon, parts, host } = start(context);
  await daemon.createVolume(data);
  for (const call of ['openEnvironment', 'openVolume', 'listenNbd']) {
    parts.faults.set(call, new CaissonError('io', 'store-io', call));
    await assert.rejects(
      daemon.attachVolume({ name: 'data', credential: right, readOnly: false }),
      refuses('store-io'),
    );
    assert.deepEqual([...parts.open], [], call);
  }
  assert.equal(host.list().length, 0);
  await daemon.attachVolume({ name: 'data', credential: right, readOnly: false });
});

test('a mount opens the volume, an unmount closes it, a background daemon ends with its last', async (context) => {
  const { daemon, parts, stops } = start(context, true);
  await daemon.createVolume(data);
  const request = {
    name: 'data',
    directory: '/mnt',
    credential: right,
    readOnly: false,
    force: false,
    mountOptions: [],
  };
  parts.faults.set('requireDirectory', new CaissonError('invalid', 'mount-failed', 'no directory'));
  parts.faults.set('openVolume', new CaissonError('invalid', 'key-wrong', 'asked for the key before the directory'));
  await assert.rejects(daemon.mountVolume(request), refuses('mount-failed'));
  parts.faults.delete('openVolume');
  parts.faults.set('mount', new CaissonError('io', 'mount-failed', 'no'));
  await assert.rejects(daemon.mountVolume(request), refuses('mount-failed'));
  assert.deepEqual([[...parts.open], stops()], [[], 2]);
  assert.equal((await daemon.mountVolume(request)).directory, '/mnt');
  assert.equal((await daemon.status({})).volumes[0]?.mountedOn, '/mnt');
  await assert.rejects(daemon.detachVolume({ name: 'data' }), refuses('volume-busy'));
  parts.faults.set('unmount', new CaissonError('io', 'mount-failed', 'busy'));
  await assert.rejects(daemon.unmountVolume({ target: 'data' }), refuses('mount-failed'));
  assert.equal((await daemon.status({})).volumes[0]?.mountedOn, '/mnt');
  await daemon.unmountVolume({ target: 'data' });
  assert.deepEqual([[...parts.open], stops()], [[], 3]);
});

test('a volume that was open before its mount stays open after it', async (context) => {
  const { daemon, host, stops } = start(context);
  await daemon.createVolume(data);
  await daemon.attachVolume({ name: 'data', credential: right, readOnly: false });
  await daemon.mountVolume({ name: 'data', directory: '/mnt', readOnly: false, force: false, mountOptions: [] });
  await daemon.unmountVolume({ target: 'data' });
  assert.equal(host.list().length, 1);
  assert.equal(stops(), 0);
});

test('closing everything closes what it can and reports what failed', async (context) => {
  const { daemon, parts, host } = start(context);
  for (const name of ['a', 'b', 'c']) {
    await daemon.createVolume({ ...data, name });
    await daemon.attachVolume({ name, credential: right, readOnly: false });
  }
  parts.faults.set('closeVolume', new CaissonError('io', 'store-io', 'the disk went away'));
  await assert.rejects(host.closeAll(), refuses('store-io'));
  assert.equal(host.list().length, 0);
  assert.equal(
    [...parts.open].filter((token) => token.startsWith('listener') || token.startsWith('environment')).length,
    0,
  );
  await assert.rejects(daemon.attachVolume({ name: 'a', credential: right, readOnly: false }), refuses('volume-busy'));
});

test('metrics tell of every open volume and forget a closed one', async (context) => {
  const { daemon, host, parts } = start(context);
  await daemon.createVolume(data);
  await daemon.attachVolume({ name: 'data', credential: right, readOnly: false });
  const metrics = createMetrics(host, parts.storeCounts);
  const text = await metrics();
  assert.match(text, /^caisson_volume_writes_total\{volume="data"\} 2$/m);
  assert.match(text, /^caisson_volume_size_bytes\{volume="data"\} 8192$/m);
  const volumeLines = (page: string): string[] => page.split('\n').filter((line) => line.startsWith('caisson_volume_'));
  assert.deepEqual(volumeLines(await metrics()), volumeLines(text));
  await daemon.detachVolume({ name: 'data' });
  assert.doesNotMatch(await metrics(), /volume="data"/);
});
