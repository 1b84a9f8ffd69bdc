import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { pattern, rejects, storeConformance } from '../../../test/conformance/store.ts';
import { VirtualClock } from '../../../test/sim/clock.ts';
import { SeededRandom } from '../../../test/sim/random.ts';
import { placeDevice, smallGeometry } from '../../../test/sim/simulated-device.ts';
import { SimulatedMachine } from '../../../test/sim/simulated-file-system.ts';
import { systemClock } from '../../lib/clock.ts';
import { isCaissonError } from '../../lib/errors.ts';
import { Region } from '../../lib/region.ts';
import { nodeFileSystem } from '../node-file-system.ts';
import * as paths from '../paths.ts';
import type { Store } from '../store.ts';
import { openBlockStore } from './block-store.ts';

const mebibyte = 2 ** 20;
const base = fs.mkdtempSync(path.join(os.tmpdir(), 'caisson-block-store-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));
let fileCount = 0;

const prefix = paths.volumePrefix(new Uint8Array(16).fill(1));
const head = paths.headKey(prefix);
const random = new SeededRandom(1);

function newFile(bytes: number): string {
  const file = path.join(base, String(++fileCount));
  fs.writeFileSync(file, '');
  fs.truncateSync(file, bytes);
  return file;
}

function open(file: string, more: object = {}): Promise<Store> {
  return openBlockStore(nodeFileSystem, file, { create: true, clock: systemClock, random, ...more });
}

storeConformance('block on a real file', async () => {
  const file = newFile(64 * mebibyte);
  return { open: () => open(file), dispose: async () => fs.rmSync(file) };
});

for (const seed of [1, 2, 3]) {
  storeConformance(`block on the simulated file system, seed ${seed}`, async () => {
    const machine = new SimulatedMachine(new SeededRandom(seed));
    placeDevice(machine.disk, 'device', 2 * mebibyte);
    const fileSystem = machine.attach();
    const clock = new VirtualClock({ isBusy: () => machine.isBusy });
    const options = { create: true, clock, random: new SeededRandom(seed), geometry: smallGeometry };
    return { open: () => openBlockStore(fileSystem, '/device', options), dispose: async () => {} };
  });
}

describe('block store', () => {
  it('holds what it acknowledged when it is opened again', async () => {
    const file = newFile(64 * mebibyte);
    const store = await open(file);
    await store.swap(head, null, pattern(500, 1));
    await store.create(manifest(1), pattern(70_000, 2));
    const spool = await store.spool(prefix);
    const written = await spool.create('aa');
    await written.write(0, Region.from(pattern(100_000, 3)), 0, 100_000);
    await written.sync();
    await written.close();
    await store.close();
    const again = await open(file, { create: false });
    assert.deepEqual(await again.get(head, 1000), pattern(500, 1));
    assert.deepEqual(await again.get(manifest(1), mebibyte), pattern(70_000, 2));
    assert.deepEqual(await (await again.spool(prefix)).list(), [{ key: 'aa', size: 100_000 }]);
    await again.close();
  });

  it('never formats a device that it was not told to, and says what is wrong', async () => {
    const file = newFile(64 * mebibyte);
    await rejects(open(file, { create: false }), 'store-missing');
    assert.ok(fs.readFileSync(file).every((byte) => byte === 0));
    await rejects(open(path.join(base, 'nothing')), 'store-missing');
    await rejects(open(base), 'store-foreign');
    await rejects(open(newFile(64 * mebibyte - 1)), 'device-too-small');
    await rejects(open(newFile(0)), 'device-too-small');
  });

  it('refuses a device that is not blank at either end, unless told to overwrite it', async () => {
    for (const position of [0, 510, mebibyte - 1, 64 * mebibyte - 512, 63 * mebibyte]) {
      const file = newFile(64 * mebibyte);
      const descriptor = fs.openSync(file, 'r+');
      fs.writeSync(descriptor, Uint8Array.of(0x55), 0, 1, position);
      fs.closeSync(descriptor);
      const before = fs.readFileSync(file);
      await rejects(open(file), 'device-not-blank');
      assert.ok(before.equals(fs.readFileSync(file)), 'it is as it was');
      await (await open(file, { overwriteDevice: true })).close();
      await (await open(file, { create: false })).close();
    }
    const probed = newFile(64 * mebibyte);
    await rejects(open(probed, { probe: async () => 'zfs_member' }), 'device-not-blank');
  });

  it('overwrites no store, whole, damaged or of another version', async () => {
    const file = newFile(64 * mebibyte);
    const store = await open(file);
    await store.swap(head, null, pattern(10, 1));
    await store.close();
    const again = await open(file, { overwriteDevice: true });
    assert.deepEqual(await again.get(head, 100), pattern(10, 1));
    await again.close();
    const descriptor = fs.openSync(file, 'r+');
    fs.writeSync(descriptor, Uint8Array.of(1), 0, 1, 32 * 1024 + 50);
    await rejects(open(file, { overwriteDevice: true }), 'format-invalid');
    fs.closeSync(descriptor);
  });

  it('refuses a device that has become smaller, and uses one that has become larger', async () => {
    const file = newFile(80 * mebibyte);
    await (await open(file)).close();
    fs.truncateSync(file, 70 * mebibyte);
    await rejects(open(file), 'format-invalid');
    fs.truncateSync(file, 180 * mebibyte);
    const store = await open(file);
    await store.create(manifest(1), pattern(100 * mebibyte, 1));
    await store.close();
    fs.truncateSync(file, 120 * mebibyte);
    await rejects(open(file), 'format-invalid');
    fs.truncateSync(file, 180 * mebibyte);
    const again = await open(file);
    assert.equal((await again.stat(manifest(1))).size, 100 * mebibyte);
    await again.close();
  });

  it('is open in one process at a time', async () => {
    const machine = new SimulatedMachine(new SeededRandom(1));
    placeDevice(machine.disk, 'device', 2 * mebibyte);
    const clock = new VirtualClock({ isBusy: () => machine.isBusy });
    const options = { create: true, clock, random, geometry: smallGeometry };
    const [first, second] = [machine.attach(), machine.attach()];
    const store = await openBlockStore(first, '/device', options);
    await rejects(openBlockStore(second, '/device', options), 'store-open-elsewhere');
    await store.close();
    await (await openBlockStore(second, '/device', options)).close();
  });

  it('a full device loses nothing, and has room again after a removal', async () => {
    const file = newFile(64 * mebibyte);
    const store = await open(file);
    const stored: string[] = [];
    const content = pattern(4 * mebibyte, 1);
    for (;;) {
      try {
        await store.create(manifest(stored.length), content);
        stored.push(manifest(stored.length));
      } catch (error) {
        assert.ok(isCaissonError(error, 'store-full'), String(error));
        break;
      }
    }
    assert.ok(stored.length >= 14, `${stored.length} objects fit`);
    for (let round = 0; round < 5; round++) {
      await store.remove(stored[0]!);
      await store.create(stored[0]!, content);
      await rejects(store.create(manifest(99), content), 'store-full');
    }
    for (const key of stored) assert.deepEqual(await store.get(key, content.length), content);
    await store.close();
    const again = await open(file);
    for (const key of stored) assert.equal((await again.stat(key)).size, content.length);
    await again.close();
  });

  it('leaves room for manifests when spool files have taken all they may', async () => {
    const store = await open(newFile(64 * mebibyte));
    const file = await (await store.spool(prefix)).create('aa');
    const piece = Region.from(pattern(mebibyte, 1));
    let position = 0;
    await rejects(
      (async () => {
        for (;;) {
          await file.write(position, piece, 0, mebibyte);
          position += mebibyte;
        }
      })(),
      'store-full',
    );
    await file.sync();
    await store.create(manifest(1), pattern(mebibyte, 2));
    await file.close();
    await (await store.spool(prefix)).remove('aa');
    const next = await (await store.spool(prefix)).create('bb');
    await next.write(0, piece, 0, mebibyte);
    await next.close();
    await store.close();
  });

  it('gives trimmed space back to the file system below', async () => {
    const file = newFile(256 * mebibyte);
    const store = await open(file);
    await store.create(manifest(1), pattern(64 * mebibyte, 1));
    const before = fs.statSync(file).blocks * 512;
    await store.remove(manifest(1));
    await store.close();
    assert.ok(before - fs.statSync(file).blocks * 512 >= 60 * mebibyte, 'the file has holes');
  });

  it('takes many checkpoints, and finds everything after each', async () => {
    const machine = new SimulatedMachine(new SeededRandom(5));
    placeDevice(machine.disk, 'device', 2 * mebibyte);
    const expected = new Map<string, Uint8Array>();
    const openIt = (): Promise<Store> =>
      openBlockStore(machine.attach(), '/device', {
        create: true,
        clock: new VirtualClock({ isBusy: () => machine.isBusy }),
        random: new SeededRandom(5),
        geometry: smallGeometry,
      });
    for (let round = 0; round < 8; round++) {
      const store = await openIt();
      for (let step = 0; step < 40; step++) {
        const key = manifest(step % 7);
        await store.remove(key);
        await store.create(key, pattern(100 + step * 50, round));
        expected.set(key, pattern(100 + step * 50, round));
        const found = await store.version(head).catch(() => null);
        await store.swap(head, found, pattern(step, round));
        expected.set(head, pattern(step, round));
      }
      if (round % 2 === 0) await store.close();
      machine.powerFailure();
      const again = await openIt();
      for (const [key, bytes] of expected) assert.deepEqual(await again.get(key, mebibyte), bytes);
      await again.close();
    }
  });
});

function manifest(number: number): string {
  return paths.manifestKey(prefix, number, new Uint8Array(32).fill(number));
}
