/** What an open volume can do beyond reading and writing: move, rekey, clean. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createVolume, isCaissonError, locateMove, openVolume, removeMovedSource, verifyVolume } from './api.ts';
import type { ErrorCode, Key, OpenVolume, Place } from './api.ts';

const scratch = mkdtempSync(join(tmpdir(), 'caisson-open-volume-'));
after(() => rmSync(scratch, { recursive: true }));

const size = 8 * 1024 * 1024;

async function newVolume(): Promise<{ place: Place; target: string; key: Key; id: string; volume: OpenVolume }> {
  const folder = mkdtempSync(join(scratch, 'place-'));
  const place = { store: join(folder, 'store'), anchorFolder: join(folder, 'anchors') };
  const key = { keyFile: new Uint8Array(randomBytes(32)) };
  const { volumeId: id } = await createVolume({ ...place, size, key });
  return { place, target: join(folder, 'target'), key, id, volume: await openVolume({ ...place, id, key }) };
}

function refusal(code: ErrorCode): (error: unknown) => boolean {
  return (error) => isCaissonError(error, code);
}

test('a volume moves while it is written, and goes on in the other store', async () => {
  const { place, target, key, id, volume } = await newVolume();
  const [first, during, later] = [randomBytes(1_000_000), randomBytes(200_000), randomBytes(5_000)].map(
    (bytes) => new Uint8Array(bytes),
  ) as [Uint8Array, Uint8Array, Uint8Array];
  await volume.write(0, first);
  await volume.flush();
  let progressCount = 0;
  const moving = volume.move({ store: target, onProgress: () => progressCount++ });
  await volume.write(2_000_000, during, { durable: true });
  const report = await moving;
  assert.ok(report.store.endsWith('/target') && report.bytesCopied > 0 && progressCount > 0);
  assert.equal(report.sourceRemains, false);
  await volume.write(4_000_000, later, { durable: true });
  await volume.close();
  await assert.rejects(openVolume({ ...place, id, key }), refusal('volume-missing'));
  const again = await openVolume({ ...place, store: target, id, key });
  assert.deepEqual(await again.read(0, first.length), first);
  assert.deepEqual(await again.read(2_000_000, during.length), during);
  assert.deepEqual(await again.read(4_000_000, later.length), later);
  await again.close();
  assert.deepEqual((await verifyVolume({ ...place, store: target, id, key })).findings, []);
});

test('a move that is stopped leaves the volume where it is, and the next one finds what was copied', async () => {
  const { place, target, key, id, volume } = await newVolume();
  for (let at = 0; at < 4; at++) {
    await volume.write(at * 1_000_000, new Uint8Array(randomBytes(1_000_000)));
    await volume.checkpoint();
  }
  const controller = new AbortController();
  const stopped = new Error('enough');
  const onProgress = (): void => controller.abort(stopped);
  const bytes = await volume.read(0, size);
  await assert.rejects(volume.move({ store: target, signal: controller.signal, onProgress }));
  assert.equal(await locateMove({ ...place, id, from: place.store, to: target }), 'from');
  await volume.write(0, bytes.subarray(0, 4096), { durable: true });
  const report = await volume.move({ store: target, keepSource: true });
  assert.ok(report.objectsPresent > 0);
  assert.equal(report.sourceRemains, true);
  assert.deepEqual(await volume.read(0, size), bytes);
  await volume.close();
  assert.equal(await locateMove({ ...place, id, from: place.store, to: target }), 'to');
  await assert.rejects(openVolume({ ...place, id, key }), refusal('volume-moved'));
  await assert.rejects(removeMovedSource({ ...place, store: target, id }), refusal('volume-busy'));
  assert.ok((await removeMovedSource({ ...place, id })).removedObjects > 0);
  await assert.rejects(openVolume({ ...place, id, key }), refusal('volume-missing'));
});

test('a move to where the volume is, or into the anchor, is refused and harms nothing', async () => {
  const { place, target, volume } = await newVolume();
  await assert.rejects(volume.move({ store: place.store }), refusal('argument-invalid'));
  await assert.rejects(volume.move({ store: join(place.anchorFolder, '..') }), refusal('argument-invalid'));
  await volume.write(0, Uint8Array.of(1, 2, 3), { durable: true });
  await volume.move({ store: target });
  assert.deepEqual(await volume.read(0, 3), Uint8Array.of(1, 2, 3));
  await volume.close();
});

test('a rekey with a new key shuts the old one out, and cleaning gives space back', async () => {
  const { place, key, id, volume } = await newVolume();
  const bytes = new Uint8Array(randomBytes(1_000_000));
  await volume.write(0, bytes, { durable: true });
  const renewWith = { keyFile: new Uint8Array(randomBytes(32)) };
  await volume.rekey({ renewWith });
  await volume.finishRekey();
  assert.equal(volume.housekeeping().rekey, undefined);
  await volume.trim(0, 800_000);
  const { segmentsCleaned, findings } = await volume.clean({ all: true });
  assert.ok(segmentsCleaned > 0);
  assert.deepEqual(findings, []);
  await volume.close();
  await assert.rejects(openVolume({ ...place, id, key }), refusal('key-wrong'));
  await using again = await openVolume({ ...place, id, key: renewWith });
  assert.deepEqual(await again.read(900_000, 1000), bytes.subarray(900_000, 901_000));
});
