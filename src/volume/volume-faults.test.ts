/** What the engine does when something is wrong: full disk, failed sync, wrong key, missing or foreign parts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemRandom } from '../crypto/random.ts';
import { createKeyFileSource } from '../keys/key-file.ts';
import { CaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import { FaultStore } from '../../test/sim/fault-store.ts';
import { systemClock } from '../lib/clock.ts';
import type { Store } from '../store/store.ts';
import { createTestVolume } from '../../test/support/test-volume.ts';
import { headKey, volumePrefix } from '../store/paths.ts';
import type { Volume } from './volume-types.ts';
import { openVolume, verifyVolume } from './volume.ts';

const block = 4096;

function faulty(): { wrapStore: (store: Store) => Store; faults: () => FaultStore['faults'] } {
  let store: FaultStore | undefined;
  return { wrapStore: (inner) => (store = new FaultStore(inner, systemClock)), faults: () => store!.faults };
}

async function write(volume: Volume, at: number, fill: number, blocks = 1): Promise<void> {
  const source = new Region(blocks * block);
  source.bytes.fill(fill);
  await volume.write(at * block, blocks * block, source, 0, false);
}

async function firstByte(volume: Volume, at: number): Promise<number> {
  const target = new Region(block);
  await volume.read(at * block, block, target, 0);
  assert.ok(target.bytes.every((byte) => byte === target.bytes[0]));
  return target.bytes[0]!;
}

for (const durability of ['local', 'anchored'] as const) {
  test(`a failed sync latches the volume, and reopening has all that was flushed (${durability})`, async () => {
    const { wrapStore, faults } = faulty();
    const subject = await createTestVolume({ wrapStore, durability });
    const { volume } = subject;
    await write(volume, 1, 11);
    await volume.flush();
    await write(volume, 2, 22);
    faults().failNext('file.sync');
    await assert.rejects(volume.flush(), { kind: 'io' });
    await assert.rejects(volume.flush(), { code: 'volume-latched' }, 'a later flush must not succeed');
    assert.throws(() => volume.write(0, block, new Region(block), 0, false), { code: 'volume-latched' });
    assert.match(volume.info().latched ?? '', /sync/);
    assert.equal(await firstByte(volume, 1), 11, 'reads go on');
    assert.equal(await firstByte(volume, 2), 22, 'what is only in memory, too');
    await volume.close();
    const again = await subject.open();
    assert.equal(await firstByte(again, 1), 11);
    await write(again, 3, 33);
    await again.close();
    await subject.dispose();
  });
}

test('a full disk in the middle of a write: the write or the flush says so, nothing flushed is lost', async () => {
  const { wrapStore, faults } = faulty();
  const subject = await createTestVolume({ wrapStore, size: 16 * 2 ** 20 });
  await write(subject.volume, 0, 1, 16);
  await subject.volume.flush();
  const full = new CaissonError('full', 'store-full', 'no room is left on the disk');
  faults().failNext('file.write', 1000, full);
  faults().failNext('file.writeNow', 1000, full);
  await assert.rejects(
    async () => {
      await write(subject.volume, 100, 2, 512);
      await subject.volume.flush();
    },
    { kind: 'full', code: 'store-full' },
  );
  await assert.rejects(subject.volume.flush(), { kind: 'full' });
  await subject.volume.close();
  const again = await subject.open().catch((error: unknown) => error);
  assert.ok(again instanceof CaissonError && again.kind === 'full', 'recovery needs room, too, and says so');
  await subject.dispose();
});

test('the head was taken over: flush, checkpoint and close say fenced, and the new writer is not harmed', async () => {
  const subject = await createTestVolume({ size: 2 ** 20 });
  const { environment, volumeId, keySource, volume } = subject;
  await write(volume, 1, 1);
  await volume.flush();
  const prefix = volumePrefix(volumeId);
  const { version, bytes } = await environment.store.getVersioned(headKey(prefix), 512);
  const changed = Uint8Array.from(bytes);
  changed[100]! ^= 1;
  await environment.store.swap(headKey(prefix), version, changed);
  await write(volume, 2, 2);
  await assert.rejects(volume.flush(), { code: 'volume-fenced', kind: 'fenced' });
  await assert.rejects(volume.checkpoint(), { code: 'volume-fenced' });
  await volume.close();
  await assert.rejects(openVolume(environment, { volumeId, keySource }), { code: 'head-tampered' });
  await subject.dispose();
});

test('open elsewhere, wrong key, unknown volume, missing anchor: each has its name, and changes nothing', async () => {
  const subject = await createTestVolume();
  const { environment, volumeId, keySource } = subject;
  await assert.rejects(openVolume(environment, { volumeId, keySource }), { code: 'volume-open-elsewhere' });
  await write(subject.volume, 5, 55);
  await subject.volume.close();
  const other = createKeyFileSource({ content: systemRandom.bytes(32), random: systemRandom });
  await assert.rejects(openVolume(environment, { volumeId, keySource: other }), { code: 'key-wrong' });
  await assert.rejects(openVolume(environment, { volumeId: systemRandom.bytes(16), keySource }), {
    code: 'volume-missing',
  });
  await environment.anchor.forget(volumeId);
  await assert.rejects(openVolume(environment, { volumeId, keySource }), { code: 'anchor-missing' });
  const volume = await subject.open({ acceptMissingAnchor: true });
  assert.equal(await firstByte(volume, 5), 55);
  await subject.dispose();
});

test('a change of keys lasts: the new key opens, the old one does not', async () => {
  const subject = await createTestVolume();
  const { environment, volumeId, keySource } = subject;
  const fresh = createKeyFileSource({ content: systemRandom.bytes(32), random: systemRandom });
  await write(subject.volume, 0, 7);
  const { slot } = await subject.volume.addKey(fresh);
  assert.equal(slot, 1);
  await subject.volume.removeKey(0);
  await assert.rejects(subject.volume.removeKey(1), { code: 'key-slot-last' });
  await subject.volume.close();
  await assert.rejects(openVolume(environment, { volumeId, keySource }), { code: 'key-wrong' });
  const volume = await subject.open({ keySource: fresh });
  assert.equal(await firstByte(volume, 0), 7);
  await volume.close();
  assert.deepEqual((await verifyVolume(environment, { volumeId, keySource: fresh })).findings, []);
  await subject.dispose();
});

test('read-only: reads what a crashed writer flushed, changes nothing, refuses writes', async () => {
  const { wrapStore, faults } = faulty();
  const subject = await createTestVolume({ wrapStore });
  await write(subject.volume, 1, 9);
  await subject.volume.flush();
  faults().failNext('file.sync');
  await write(subject.volume, 2, 8);
  await assert.rejects(subject.volume.flush());
  await subject.volume.close();
  const creates = faults().countOf('create');
  const swaps = faults().countOf('swap');
  const reader = await subject.open({ readOnly: true });
  assert.equal(await firstByte(reader, 1), 9);
  assert.throws(() => reader.write(0, block, new Region(block), 0, false), { code: 'volume-read-only' });
  await reader.flush();
  await reader.close();
  assert.equal(faults().countOf('create'), creates);
  assert.equal(faults().countOf('swap'), swaps);
  await subject.dispose();
});
