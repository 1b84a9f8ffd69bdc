/** Hashed volumes as a program uses them. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { noise } from '../test/support/hashed-image.ts';
import { createHashedVolume, isCaissonError, openHashedVolume, Region, verifyHashedVolume } from './api.ts';

const scratch = mkdtempSync(join(tmpdir(), 'caisson-hashed-'));
after(() => rmSync(scratch, { recursive: true }));

test('an image is made, opened by its root alone, read at any place, and verified', async () => {
  const store = join(scratch, 'store');
  const from = join(scratch, 'image');
  const content = noise(5, 100_001);
  writeFileSync(from, content);
  truncateSync(from, 20_000_001);
  const seen: number[] = [];
  const { root, imageBytes, dataBytes } = await createHashedVolume({
    store,
    from,
    onProgress: (done) => seen.push(done),
  });
  assert.deepEqual([imageBytes, dataBytes, seen.at(-1)], [20_000_001, 7 * 16_384, imageBytes]);
  await using volume = await openHashedVolume({ store, root });
  await using other = await openHashedVolume({ store, root });
  assert.deepEqual([volume.root, volume.size], [root, Math.ceil(imageBytes / 4096) * 4096]);
  assert.deepEqual(await volume.read(3, 50_000), content.slice(3, 50_003));
  assert.deepEqual(await other.read(19_999_999, 5), new Uint8Array(5));
  assert.deepEqual(await volume.read(0, 0), new Uint8Array(0));
  assert.deepEqual(await volume.extents(0, volume.size), [
    { length: dataBytes, hole: false, zero: false },
    { length: volume.size - dataBytes, hole: true, zero: true },
  ]);
  assert.equal(volume.info().root, root);
  assert.ok(volume.stats().leavesChecked > 0);
  await assert.rejects(volume.read(volume.size, 1), (error) => isCaissonError(error, 'range-outside'));
  assert.throws(
    () => volume.device.write(0, 1, new Region(1), 0, false),
    (error) => isCaissonError(error, 'volume-read-only'),
  );
  const { findings, leavesChecked } = await verifyHashedVolume({ store, root });
  assert.deepEqual([findings, leavesChecked], [[], 7]);
});

test('a wrong root, a foreign one, a missing source and an interruption', async () => {
  const store = join(scratch, 'store-2');
  const from = join(scratch, 'image-2');
  writeFileSync(from, 'x');
  const signal = AbortSignal.abort(new Error('stopped'));
  await assert.rejects(createHashedVolume({ store, from, signal }), /stopped/);
  await createHashedVolume({ store, from });
  await assert.rejects(openHashedVolume({ store, root: 'x' }), (error) => isCaissonError(error, 'argument-invalid'));
  const root = `sha256:${'1'.repeat(64)}`;
  await assert.rejects(openHashedVolume({ store, root }), (error) => isCaissonError(error, 'volume-missing'));
  await assert.rejects(verifyHashedVolume({ store, root }), (error) => isCaissonError(error, 'volume-missing'));
  const missing = createHashedVolume({ store, from: join(scratch, 'none') });
  await assert.rejects(missing, (error) => isCaissonError(error, 'import-source-missing'));
});
