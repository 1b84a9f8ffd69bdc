import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { systemRandom } from '../crypto/random.ts';
import { createKeyFileSource } from '../keys/key-file.ts';
import type { KeySource } from '../keys/key-source.ts';
import { isCaissonError, type ErrorCode } from '../lib/errors.ts';
import { fromHex } from '../lib/hex.ts';
import { Region } from '../lib/region.ts';
import { createTestVolume, type TestVolume } from '../../test/support/test-volume.ts';
import {
  diffSnapshots,
  eraseVolume,
  openSnapshot,
  openVolume,
  removeVolume,
  verifyVolume,
  checkReceipt,
  readReceipt,
} from './volume.ts';
import type { ChangedExtent, Volume } from './volume-types.ts';

const block = 4096;

function pattern(seed: number, length = block): Region {
  const region = new Region(length);
  for (let at = 0; at < length; at++) region.bytes[at] = (seed * 31 + at * 7 + (at >> 8)) & 0xff;
  return region;
}

async function write(volume: Volume, at: number, seed: number, blocks = 1): Promise<void> {
  await volume.write(at * block, blocks * block, pattern(seed, blocks * block), 0, false);
}

async function read(volume: Volume, at: number, blocks = 1): Promise<Uint8Array> {
  const target = new Region(blocks * block);
  await volume.read(at * block, blocks * block, target, 0);
  return target.bytes;
}

async function assertHolds(volume: Volume, at: number, seed: number, blocks = 1): Promise<void> {
  const expected = seed === 0 ? new Uint8Array(blocks * block) : pattern(seed, blocks * block).bytes;
  assert.equal(Buffer.compare(await read(volume, at, blocks), expected), 0, `block ${at} holds pattern ${seed}`);
}

function otherKey(seed = 9): KeySource {
  return createKeyFileSource({
    content: Uint8Array.from({ length: 32 }, (_, at) => seed + 5 * at),
    random: systemRandom,
  });
}

async function refused(code: ErrorCode, call: () => Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error: unknown) => isCaissonError(error, code), code);
}

async function withVolume(body: (subject: TestVolume) => Promise<void>, size = 64 * 2 ** 20): Promise<void> {
  const subject = await createTestVolume({ size, tuning: { segmentBytesMax: 256 * 1024 } });
  try {
    await body(subject);
  } finally {
    await subject.dispose();
  }
}

async function assertSound({ environment, volumeId }: TestVolume, keySource: KeySource, id = volumeId): Promise<void> {
  const open = await verifyVolume(environment, { volumeId: id });
  assert.deepEqual(open.findings, []);
  assert.deepEqual(open.orphans, []);
  const all = await verifyVolume(environment, { volumeId: id, keySource });
  assert.deepEqual(all.findings, []);
}

describe('snapshots', () => {
  test('a snapshot keeps what was, whatever is written, trimmed or resized afterwards', () =>
    withVolume(async (subject) => {
      const { volume, environment, volumeId, keySource } = subject;
      for (let at = 0; at < 300; at++) await write(volume, at, 1 + at);
      await volume.snapshot('first');
      for (let at = 0; at < 300; at += 2) await write(volume, at, 1000 + at);
      await volume.trim(200 * block, 50 * block, false);
      await volume.resize(32 * 2 ** 20);
      await volume.snapshot('second');
      await volume.zero(0, 16 * 2 ** 20, true, false);
      await volume.checkpoint();
      const first = await openSnapshot(environment, { volumeId, keySource, snapshot: 'first' });
      assert.equal(first.size, 64 * 2 ** 20);
      for (let at = 0; at < 300; at++) await assertHolds(first, at, 1 + at);
      await refused('volume-read-only', async () => first.write(0, block, pattern(1), 0, false));
      const second = await openSnapshot(environment, { volumeId, keySource, snapshot: 'second' });
      assert.equal(second.size, 32 * 2 ** 20);
      await assertHolds(second, 1, 2);
      await assertHolds(second, 2, 1002);
      await assertHolds(second, 210, 0);
      await first.close();
      await second.close();
      await volume.close();
      await assertSound(subject, keySource);
    }));

  test('what only a removed snapshot needed leaves the store', () =>
    withVolume(async (subject) => {
      const { volume, environment, keySource } = subject;
      const objects = async (): Promise<number> => {
        let count = 0;
        for await (const object of environment.store.list('')) if (object.size > 0) count++;
        return count;
      };
      await write(volume, 0, 1, 512);
      await volume.checkpoint();
      await volume.snapshot('kept');
      await volume.trim(0, 64 * 2 ** 20, false);
      for (let round = 0; round < 20; round++) {
        await write(volume, 5000 + round, round + 2);
        await volume.checkpoint();
      }
      const before = await objects();
      await volume.removeSnapshot('kept');
      assert.ok((await objects()) < before, 'objects left');
      assert.deepEqual(volume.snapshots(), []);
      await volume.close();
      await assertSound(subject, keySource);
    }));

  test('names: taken, missing, impossible', () =>
    withVolume(async ({ volume }) => {
      await volume.snapshot('über wichtig');
      await refused('snapshot-exists', () => volume.snapshot('über wichtig'));
      await refused('name-invalid', () => volume.snapshot(''));
      await refused('name-invalid', () => volume.snapshot('a\nb'));
      await refused('snapshot-missing', () => volume.removeSnapshot('other'));
      await volume.close();
      await refused('volume-closed', () => volume.snapshot('late'));
    }));

  test('a restore is a new state that is an old one', () =>
    withVolume(async (subject) => {
      const { volume, environment, keySource, volumeId } = subject;
      await write(volume, 0, 1, 64);
      await volume.snapshot('good');
      await write(volume, 0, 2, 64);
      await write(volume, 9000, 3, 8);
      await volume.snapshot('bad');
      await write(volume, 1, 4);
      await volume.restore('good');
      const again = await subject.open();
      await assertHolds(again, 0, 1, 64);
      await assertHolds(again, 9000, 0, 8);
      assert.equal(again.info().recovery.clean, true);
      await write(again, 2, 5);
      await again.checkpoint();
      const bad = await openSnapshot(environment, { volumeId, keySource, snapshot: 'bad' });
      await assertHolds(bad, 0, 2, 64);
      await assertHolds(bad, 9000, 3, 8);
      await bad.close();
      await again.restore('bad');
      const third = await subject.open();
      await assertHolds(third, 0, 2, 64);
      await third.removeSnapshot('good');
      await third.removeSnapshot('bad');
      await assertHolds(third, 9000, 3, 8);
      await third.close();
      await assertSound(subject, keySource);
    }));

  test('the difference of two snapshots names exactly what was written and trimmed', () =>
    withVolume(async ({ volume, environment, volumeId, keySource }) => {
      await write(volume, 0, 1, 4096);
      await volume.snapshot('a');
      await write(volume, 10, 2, 3);
      await write(volume, 2000, 3);
      await volume.trim(3000 * block, 5 * block, false);
      await volume.snapshot('b');
      await write(volume, 0, 9);
      const changed: ChangedExtent[] = [];
      for await (const extent of diffSnapshots(environment, { volumeId, keySource, from: 'a', to: 'b' }))
        changed.push(extent);
      assert.deepEqual(changed, [
        { offset: 10 * block, length: 3 * block, kind: 'data' },
        { offset: 2000 * block, length: block, kind: 'data' },
        { offset: 3000 * block, length: 5 * block, kind: 'hole' },
      ]);
      await volume.close();
    }));
});

describe('clones', () => {
  test('parent and clone go separate ways', () =>
    withVolume(async (subject) => {
      const { volume, environment, keySource } = subject;
      const cloneKey = otherKey();
      await write(volume, 0, 1, 600);
      const { volumeId: name } = await volume.clone({ keySource: cloneKey });
      const cloneId = fromHex(name, 16)!;
      await write(volume, 0, 2, 300);
      const clone = await openVolume(environment, { volumeId: cloneId, keySource: cloneKey });
      await assertHolds(clone, 0, 1, 600);
      await write(clone, 100, 3, 50);
      await clone.checkpoint();
      await write(volume, 120, 4);
      await assertHolds(clone, 100, 3, 50);
      await assertHolds(volume, 120, 4);
      const grandId = fromHex((await clone.clone({ keySource })).volumeId, 16)!;
      await clone.close();
      const grand = await openVolume(environment, { volumeId: grandId, keySource });
      await assertHolds(grand, 100, 3, 50);
      assert.deepEqual((await read(grand, 0)).subarray(0, 16), pattern(1, 600 * block).bytes.subarray(0, 16));
      await write(grand, 0, 7, 600);
      await grand.close();
      await volume.close();
      await assertSound(subject, keySource);
      await assertSound(subject, cloneKey, cloneId);
      await assertSound(subject, keySource, grandId);
      await refused('key-wrong', () => openVolume(environment, { volumeId: cloneId, keySource }));
    }));

  test('a snapshot that a clone starts from stays; a removed clone frees it', () =>
    withVolume(async (subject) => {
      const { volume, environment, keySource } = subject;
      await write(volume, 0, 1, 64);
      await volume.snapshot('base');
      await write(volume, 0, 2, 64);
      const cloneId = fromHex((await volume.clone({ keySource, snapshot: 'base', isolate: false })).volumeId, 16)!;
      await refused('snapshot-needed', () => volume.removeSnapshot('base'));
      const clone = await openVolume(environment, { volumeId: cloneId, keySource });
      await assertHolds(clone, 0, 1, 64);
      await clone.close();
      await volume.close();
      await refused('volume-needed', () => removeVolume(environment, subject.volumeId));
      await removeVolume(environment, cloneId);
      const again = await subject.open();
      await new Promise((resolve) => setImmediate(resolve));
      await again.checkpoint();
      await again.removeSnapshot('base');
      await again.close();
      await assertSound(subject, keySource);
    }));
});

describe('clones of clones', () => {
  test('a volume keeps what the clone of an erased clone reads', () =>
    withVolume(async (subject) => {
      const { volume, environment, keySource } = subject;
      await write(volume, 0, 1, 300);
      const middleId = fromHex((await volume.clone({ keySource })).volumeId, 16)!;
      const middle = await openVolume(environment, { volumeId: middleId, keySource });
      await write(middle, 400, 2, 20);
      const lastId = fromHex((await middle.clone({ keySource })).volumeId, 16)!;
      await middle.close();
      await eraseVolume(environment, { volumeId: middleId, keySource });
      await write(volume, 0, 3, 300);
      await volume.close();
      const again = await subject.open();
      await new Promise((resolve) => setTimeout(resolve, 50));
      for (let round = 0; round < 20; round++) {
        await write(again, 0, 10 + round, 300);
        await again.checkpoint();
      }
      await again.close();
      const last = await openVolume(environment, { volumeId: lastId, keySource });
      await assertHolds(last, 0, 1, 300);
      await assertHolds(last, 400, 2, 20);
      await last.close();
      await assertSound(subject, keySource, lastId);
      await eraseVolume(environment, { volumeId: middleId, keySource });
      await assertSound(subject, keySource, lastId);
    }));
});

describe('erase', () => {
  test('an erased volume opens for nobody, its clone goes on, and the receipt holds', () =>
    withVolume(async (subject) => {
      const { volume, environment, keySource, volumeId } = subject;
      const cloneKey = otherKey();
      await write(volume, 0, 1, 256);
      const cloneId = fromHex((await volume.clone({ keySource: cloneKey })).volumeId, 16)!;
      await write(volume, 0, 2, 256);
      await volume.close();
      const receipt = await eraseVolume(environment, { volumeId, keySource });
      assert.equal(checkReceipt(receipt.manifest, volumeId).manifestDigest, receipt.manifestDigest);
      assert.equal((await readReceipt(environment, volumeId))?.manifestDigest, receipt.manifestDigest);
      await refused('volume-erased', () => openVolume(environment, { volumeId, keySource }));
      const report = await verifyVolume(environment, { volumeId });
      assert.deepEqual(report.findings, []);
      assert.equal(report.erased, true);
      const clone = await openVolume(environment, { volumeId: cloneId, keySource: cloneKey });
      await assertHolds(clone, 0, 1, 256);
      await clone.close();
      await assertSound(subject, cloneKey, cloneId);
      const changed = Uint8Array.from(receipt.manifest);
      changed[40]! ^= 1;
      await assert.rejects(
        async () => checkReceipt(changed, volumeId),
        (error: unknown) => isCaissonError(error, 'manifest-tampered'),
      );
    }));
});
