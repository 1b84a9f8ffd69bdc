import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isCaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import type { Store } from '../store/store.ts';
import { volumePrefix } from '../store/paths.ts';
import { LocklessStore } from '../../test/sim/lockless-store.ts';
import { RemoteStore } from '../../test/sim/remote-store.ts';
import { createTestVolume, type TestVolume } from '../../test/support/test-volume.ts';
import { openVolume } from './volume.ts';
import type { Durability, Volume } from './volume-types.ts';

const block = 4096;

async function remoteVolume(
  durability: Durability,
  change: (store: Store) => Store = (store) => store,
): Promise<TestVolume> {
  return createTestVolume({
    durability,
    wrapStore: (store) => new RemoteStore(change(store)),
    tuning: { segmentBytesMax: 128 * 1024 },
  });
}

async function writeBlock(volume: Volume, at: number, value: number): Promise<void> {
  await volume.write(at * block, block, Region.from(new Uint8Array(block).fill(value)), 0, false);
}

async function loseMachine({ environment, volumeId }: TestVolume): Promise<void> {
  const area = await environment.store.spool(volumePrefix(volumeId));
  for (const { key } of await area.list()) await area.remove(key);
}

/** Opens beside the writer, which is as good as dead. */
async function openElsewhere(subject: TestVolume): Promise<Volume> {
  const { environment, volumeId, keySource } = subject;
  const store = new LocklessStore(environment.store);
  return openVolume({ ...environment, store }, { volumeId, keySource });
}

for (const durability of ['remote', 'anchored'] as const) {
  test(`what was flushed at level ${durability} outlives the machine with its spool`, async () => {
    const subject = await remoteVolume(durability);
    for (let at = 0; at < 200; at++) {
      await writeBlock(subject.volume, at, 1 + (at % 250));
      if (at % 16 === 0) await subject.volume.flush();
    }
    await subject.volume.flush();
    await loseMachine(subject);
    const again = await openElsewhere(subject);
    const target = new Region(200 * block);
    await again.read(0, 200 * block, target, 0);
    for (let at = 0; at < 200; at++) assert.equal(target.bytes[at * block + 7], 1 + (at % 250));
    assert.ok(again.info().recovery.recordCount > 0);
    await again.close();
    await subject.dispose();
  });
}

test('a spool that is lost with its machine is a rollback to level local, and is called one', async () => {
  const subject = await remoteVolume('local');
  await writeBlock(subject.volume, 0, 1);
  await subject.volume.flush();
  await subject.volume.checkpoint();
  await writeBlock(subject.volume, 0, 2);
  await subject.volume.flush();
  // At this level the anchor follows in its own time.
  const { sequence } = subject.volume.info();
  while ((await subject.environment.anchor.read(subject.volumeId))!.sequence < sequence) await sleep(20);
  await loseMachine(subject);
  await assert.rejects(openElsewhere(subject), (error: unknown) => isCaissonError(error, 'rolled-back'));
  await subject.dispose();
});
