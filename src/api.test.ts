/** The front door as a program uses it: good use, and one named error for each wrong use. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { FakeTang } from '../test/support/fake-tang.ts';
import {
  checkReceipt,
  createVolume,
  diffSnapshots,
  eraseVolume,
  inspectVolume,
  isCaissonError,
  listSnapshots,
  listVolumes,
  openSnapshot,
  openVolume,
  readReceipt,
  removeVolume,
  verifyVolume,
} from './api.ts';
import type { ChangedExtent, ErrorCode, Key, OpenVolume, Place } from './api.ts';

const scratch = mkdtempSync(join(tmpdir(), 'caisson-api-'));
after(() => rmSync(scratch, { recursive: true }));

const size = 8 * 1024 * 1024;

function newPlace(): Place {
  const folder = mkdtempSync(join(scratch, 'place-'));
  return { store: join(folder, 'store'), anchorFolder: join(folder, 'anchors') };
}

async function newVolume(): Promise<{ place: Place; key: Key; id: string; volume: OpenVolume }> {
  const place = newPlace();
  const key = { keyFile: new Uint8Array(randomBytes(32)) };
  const { volumeId: id } = await createVolume({ ...place, size, key });
  return { place, key, id, volume: await openVolume({ ...place, id, key }) };
}

function refusal(code: ErrorCode): (error: unknown) => boolean {
  return (error) => isCaissonError(error, code);
}

test('what was written is there after a reopen, at any alignment', async () => {
  const { place, key, id, volume } = await newVolume();
  const bytes = new Uint8Array(randomBytes(100_001));
  await volume.write(4_095, bytes);
  await volume.write(size - 1, Uint8Array.of(7), { durable: true });
  await volume.flush();
  await volume.close();
  await volume.close();
  const again = await openVolume({ ...place, id, key, readOnly: true });
  assert.equal(again.readOnly, true);
  assert.equal(again.size, size);
  assert.deepEqual(await again.read(4_095, bytes.length), bytes);
  assert.deepEqual(await again.read(size - 2, 2), Uint8Array.of(0, 7));
  assert.deepEqual(await again.read(size, 0), new Uint8Array(0));
  await assert.rejects(again.write(0, Uint8Array.of(1)), (error) => isCaissonError(error) && error.kind === 'denied');
  await again.close();
});

test('zeroed, trimmed and resized ranges', async () => {
  const { volume } = await newVolume();
  await volume.write(0, new Uint8Array(16_384).fill(9));
  await volume.zero(0, 4_096);
  await volume.trim(4_096, 4_096);
  assert.deepEqual(await volume.read(0, 8_192), new Uint8Array(8_192));
  const extents = await volume.extents(0, 16_384);
  assert.equal(
    extents.reduce((sum, { length }) => sum + length, 0),
    16_384,
  );
  await volume.resize(2 * size);
  assert.equal(volume.size, 2 * size);
  assert.deepEqual(await volume.read(2 * size - 4_096, 4_096), new Uint8Array(4_096));
  await volume.close();
});

test('keys are added, used and taken away', async () => {
  const { place, key, id, volume } = await newVolume();
  const other = { keyFile: new Uint8Array(randomBytes(32)) };
  await volume.addKey(other);
  await volume.close();
  const again = await openVolume({ ...place, id, key: other });
  await again.removeKey(0);
  await again.close();
  await assert.rejects(openVolume({ ...place, id, key }), refusal('key-wrong'));
  await (await openVolume({ ...place, id, key: other })).close();
});

test('a key comes from a source outside this process', async () => {
  const tang = await new FakeTang().start();
  try {
    const place = newPlace();
    const key = { url: tang.url };
    const { volumeId: id } = await createVolume({ ...place, size, key });
    await (await openVolume({ ...place, id, key })).close();
    await assert.rejects(openVolume({ ...place, id, key: { url: 'tang:http://x' } }), refusal('argument-invalid'));
    tang.stop();
    await assert.rejects(openVolume({ ...place, id, key }), refusal('key-source-unavailable'));
  } finally {
    tang.stop();
  }
});

test('anybody can inspect and verify the public part; the key verifies the rest', async () => {
  const { place, key, id, volume } = await newVolume();
  await volume.write(0, new Uint8Array(65_536).fill(1));
  await volume.close();
  assert.deepEqual(await listVolumes(place), [id]);
  assert.equal((await inspectVolume({ ...place, id })).protection, 'sealed');
  const open = await verifyVolume({ ...place, id });
  assert.deepEqual([open.public, open.findings, open.unitsChecked], [true, [], 0]);
  const sealed = await verifyVolume({ ...place, id, key });
  assert.deepEqual([sealed.public, sealed.findings, sealed.freshness], [false, [], 'current']);
  assert(sealed.unitsChecked > 0);
  const { removedObjects } = await removeVolume({ ...place, id });
  assert(removedObjects > 0);
  assert.deepEqual(await listVolumes(place), []);
});

test('a store from another machine opens only on purpose, an old one not at all', async () => {
  const { place, key, id, volume } = await newVolume();
  const folder = place.store;
  await volume.write(0, Uint8Array.of(1), { durable: true });
  await volume.close();
  cpSync(folder, `${folder}-old`, { recursive: true });
  const moved = { ...place, anchorFolder: `${place.anchorFolder}-new` };
  await assert.rejects(openVolume({ ...moved, id, key }), refusal('anchor-missing'));
  await (await openVolume({ ...place, id, key })).close();
  await assert.rejects(openVolume({ ...place, store: `${folder}-old`, id, key }), refusal('rolled-back'));
  await (await openVolume({ ...moved, id, key, acceptMissingAnchor: true })).close();
});

test('snapshots are taken, read beside the writer, compared, restored and removed', async () => {
  const { place, key, id, volume } = await newVolume();
  await volume.write(0, Uint8Array.of(1));
  const first = await volume.snapshot('first');
  await volume.write(0, Uint8Array.of(2));
  await volume.write(1024 * 1024, new Uint8Array(8192).fill(3));
  await volume.snapshot('second');
  assert.deepEqual(await listSnapshots({ ...place, id, key }), volume.snapshots());
  const old = await openSnapshot({ ...place, id, key, snapshot: first.id });
  assert.deepEqual([old.readOnly, await old.read(0, 1)], [true, Uint8Array.of(1)]);
  await assert.rejects(old.write(0, Uint8Array.of(1)), (error) => isCaissonError(error) && error.kind === 'denied');
  await old.close();
  const changed: ChangedExtent[] = [];
  for await (const extent of diffSnapshots({ ...place, id, key, from: 'first', to: 'second' })) changed.push(extent);
  assert.deepEqual(changed, [
    { offset: 0, length: 4096, kind: 'data' },
    { offset: 1024 * 1024, length: 8192, kind: 'data' },
  ]);
  // Whoever stops early leaves nothing open.
  for await (const extent of diffSnapshots({ ...place, id, key, from: 'first' })) {
    assert.equal(extent.offset, 0);
    break;
  }
  await assert.rejects(openSnapshot({ ...place, id, key, snapshot: 'third' }), refusal('snapshot-missing'));
  await assert.rejects(volume.snapshot('first'), refusal('snapshot-exists'));
  await volume.restore('first');
  await assert.rejects(volume.read(0, 1), refusal('volume-closed'));
  const restored = await openVolume({ ...place, id, key });
  assert.deepEqual(await restored.read(0, 1), Uint8Array.of(1));
  await restored.removeSnapshot('second');
  assert.deepEqual(
    restored.snapshots().map(({ name }) => name),
    ['first'],
  );
  await restored.close();
});

test('a snapshot stays while a clone needs it, and no longer', async () => {
  const { place, key, volume } = await newVolume();
  await volume.snapshot('base');
  const { volumeId: cloneId } = await volume.clone({ key, snapshot: 'base', isolate: false });
  await assert.rejects(volume.removeSnapshot('base'), refusal('snapshot-needed'));
  await removeVolume({ ...place, id: cloneId });
  await volume.removeSnapshot('base');
  assert.deepEqual(volume.snapshots(), []);
  await volume.close();
});

test('a clone goes its own way, and outlives the erasure of its parent', async () => {
  const { place, key, id, volume } = await newVolume();
  const cloneKey = { keyFile: new Uint8Array(randomBytes(32)) };
  await volume.write(0, Uint8Array.of(1));
  const { volumeId: cloneId } = await volume.clone({ key: cloneKey });
  await volume.write(0, Uint8Array.of(2));
  await assert.rejects(eraseVolume({ ...place, id, key }), refusal('volume-open-elsewhere'));
  await volume.close();
  await assert.rejects(removeVolume({ ...place, id }), refusal('volume-needed'));
  assert.equal(await readReceipt({ ...place, id }), undefined);
  const receipt = await eraseVolume({ ...place, id, key });
  assert.deepEqual(checkReceipt(receipt.manifest, id).manifestDigest, receipt.manifestDigest);
  assert.equal((await readReceipt({ ...place, id }))?.manifestDigest, receipt.manifestDigest);
  assert.throws(() => checkReceipt(receipt.manifest.subarray(1), id), refusal('manifest-tampered'));
  assert.throws(() => checkReceipt(receipt.manifest, cloneId), refusal('manifest-tampered'));
  await assert.rejects(openVolume({ ...place, id, key }), refusal('volume-erased'));
  const shown = await inspectVolume({ ...place, id });
  assert.deepEqual([shown.state, shown.clones], ['erased', [cloneId]]);
  await assert.rejects(openVolume({ ...place, id: cloneId, key }), refusal('key-wrong'));
  const clone = await openVolume({ ...place, id: cloneId, key: cloneKey });
  assert.deepEqual(await clone.read(0, 1), Uint8Array.of(1));
  await clone.close();
});

test('wrong use has one named error', async () => {
  const { place, key, id, volume } = await newVolume();
  await assert.rejects(volume.read(size - 1, 2), refusal('range-outside'));
  await assert.rejects(volume.read(0, Number.MAX_SAFE_INTEGER), refusal('range-outside'));
  await assert.rejects(volume.read(0.5, 1), refusal('range-outside'));
  await assert.rejects(volume.write(-1, Uint8Array.of(1)), refusal('range-outside'));
  await assert.rejects(openVolume({ ...place, id, key }), refusal('volume-open-elsewhere'));
  await volume.close();
  await assert.rejects(volume.read(0, 1), refusal('volume-closed'));
  await assert.rejects(openVolume({ ...place, id: 'data', key }), refusal('argument-invalid'));
  await assert.rejects(openVolume({ ...place, id: '0'.repeat(32), key }), (error) => isCaissonError(error));
  await assert.rejects(openVolume({ ...newPlace(), id, key }), refusal('store-missing'));
  const inside = { store: place.store, anchorFolder: join(place.store, 'anchors') };
  await assert.rejects(openVolume({ ...inside, id, key }), refusal('argument-invalid'));
  await assert.rejects(openVolume({ ...place, anchorFolder: 'anchors', id, key }), refusal('argument-invalid'));
  await assert.rejects(
    createVolume({ ...newPlace(), size: 1000, key }),
    (error) => isCaissonError(error) && error.kind === 'invalid',
  );
});
