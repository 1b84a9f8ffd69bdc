import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { test } from 'node:test';
import type { AnchorState } from '../anchor/anchor.ts';
import { openFileAnchor } from '../anchor/file-anchor.ts';
import { chooseSealer } from '../crypto/choose-sealer.ts';
import { systemRandom } from '../crypto/random.ts';
import { createKeyFileSource } from '../keys/key-file.ts';
import { systemClock } from '../lib/clock.ts';
import { fromHex } from '../lib/hex.ts';
import { Region } from '../lib/region.ts';
import { openDirStore } from '../store/dir-store.ts';
import { nodeFileSystem } from '../store/node-file-system.ts';
import { createVolume, openVolume, verifyVolume } from './volume.ts';
import type { VolumeEnvironment } from './volume-types.ts';

const key = createKeyFileSource({
  content: Uint8Array.from({ length: 32 }, (_, index) => index + 1),
  random: systemRandom,
});

async function scratch(context: { after(fn: () => void): void }): Promise<VolumeEnvironment> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-volume-'));
  context.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return {
    store: await openDirStore(nodeFileSystem, path.join(folder, 'store'), { create: true }),
    anchor: await openFileAnchor(nodeFileSystem, path.join(folder, 'anchors')),
    clock: systemClock,
    random: systemRandom,
    sealer: chooseSealer('auto').sealer,
  };
}

test('what is written is read back, across close and open', async (context) => {
  const environment = await scratch(context);
  const { volumeId } = await createVolume(environment, {
    size: 64 * 2 ** 20,
    protection: 'sealed',
    durability: 'local',
    keySource: key,
  });
  const id = fromHex(volumeId, 16)!;
  const volume = await openVolume(environment, { volumeId: id, keySource: key });
  const source = Region.from(systemRandom.bytes(2 ** 20));
  await volume.write(8192, 2 ** 20, source, 0, false);
  await volume.write(5, 3, source, 100, false);
  await volume.flush();
  const target = new Region(2 ** 20);
  await volume.read(8192, 2 ** 20, target, 0);
  assert.deepEqual(target.bytes, source.bytes);
  await volume.close();
  const again = await openVolume(environment, { volumeId: id, keySource: key });
  assert.equal(again.info().recovery.clean, true);
  target.bytes.fill(9);
  await again.read(8192, 2 ** 20, target, 0);
  assert.deepEqual(target.bytes, source.bytes);
  await again.read(0, 16, target, 0);
  assert.deepEqual(
    [...target.bytes.subarray(0, 10)],
    [0, 0, 0, 0, 0, source.bytes[100], source.bytes[101], source.bytes[102], 0, 0],
  );
  await again.close();
  const report = await verifyVolume(environment, { volumeId: id, keySource: key });
  assert.deepEqual(report.findings, []);
  assert.equal(report.unitsChecked, 257);
  assert.equal(report.freshness, 'current');
});

test('an anchor whose memory wears out sets the pace of advances that nobody waits for', async (context) => {
  const plain = await scratch(context);
  const waits = new Set<number>();
  const clock = {
    ...systemClock,
    after: (milliseconds: number, callback: () => void) => {
      waits.add(milliseconds);
      return systemClock.after(milliseconds, callback);
    },
  };
  const anchor = {
    describe: plain.anchor.describe,
    read: (id: Uint8Array) => plain.anchor.read(id),
    advance: (state: AnchorState) => plain.anchor.advance(state),
    forget: (id: Uint8Array) => plain.anchor.forget(id),
    restMilliseconds: () => 54_321,
  };
  const environment = { ...plain, anchor, clock, tuning: { anchorMilliseconds: 4_321 } };
  const options = { size: 2 ** 20, protection: 'sealed', durability: 'local', keySource: key } as const;
  const { volumeId } = await createVolume(environment, options);
  const id = fromHex(volumeId, 16)!;
  const flushOnce = async (used: VolumeEnvironment): Promise<void> => {
    const volume = await openVolume(used, { volumeId: id, keySource: key });
    await volume.write(0, 4096, Region.from(systemRandom.bytes(4096)), 0, false);
    await volume.flush();
    await volume.close();
  };
  await flushOnce(environment);
  assert.deepEqual([waits.has(54_321), waits.has(4_321)], [true, false]);
  waits.clear();
  await flushOnce({ ...environment, anchor: { ...anchor, restMilliseconds: () => 0 } });
  assert.deepEqual([waits.has(54_321), waits.has(4_321)], [false, true]);
});
