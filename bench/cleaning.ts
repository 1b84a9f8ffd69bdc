/**
 * What cleaning costs: a volume that is 80 % full is overwritten at random, three times its data. Two figures matter,
 * and they pull against each other: space for each live byte, and bytes that go to the store for each byte written.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { chooseSealer } from '../src/crypto/choose-sealer.ts';
import { systemRandom } from '../src/crypto/random.ts';
import { openEnvironment } from '../src/daemon/environment.ts';
import { createKeyFileSource } from '../src/keys/key-file.ts';
import { Region } from '../src/lib/region.ts';
import type { SpoolArea, Store } from '../src/store/store.ts';
import type { Volume } from '../src/volume/volume-types.ts';
import { openVolume } from '../src/volume/volume.ts';
import { CaissonHome } from './caisson-home.ts';
import { freeBytes } from './machine.ts';
import { part, type PartContext } from './part.ts';
import type { Figure } from './report.ts';

const blockBytes = 4096;
const fullShare = 0.8;
const overwriteTimes = 3;
const settleSecondsMax = 60;

export async function cleaningFigures(context: PartContext): Promise<void> {
  await part(context, 'cleaning', () => measureCleaning(context));
}

async function measureCleaning(context: PartContext): Promise<void> {
  const needed = context.volumeBytes * 2.5;
  const folder = freeBytes(context.ram) > needed * 1.5 ? context.ram : context.disk;
  const home = new CaissonHome(fs.mkdtempSync(path.join(folder, 'cleaning-')));
  try {
    const volumeId = await home.create({ name: 'volume', bytes: context.volumeBytes, protection: 'sealed' });
    await overwriteAtRandom(context, home, volumeId);
  } finally {
    fs.rmSync(home.folder, { recursive: true, force: true });
  }
}

async function overwriteAtRandom(context: PartContext, home: CaissonHome, volumeId: string): Promise<void> {
  const { sealer } = chooseSealer();
  const state = path.join(home.folder, 'state');
  const remote = { spoolFolder: path.join(state, 'spools'), environment: {}, random: systemRandom };
  const parts = {
    anchorFolder: path.join(state, 'anchors'),
    sealer,
    tuning: { unpublishedBytesMax: context.volumeBytes / 4 },
    remote,
  };
  const opened = await openEnvironment(`dir:${home.store}`, { create: false }, parts);
  const counted = { bytes: 0 };
  const environment = { ...opened.environment, store: countingStore(opened.environment.store, counted) };
  const keySource = createKeyFileSource({ content: fs.readFileSync(home.keyFile), random: systemRandom });
  const volume = await openVolume(environment, { volumeId: new Uint8Array(Buffer.from(volumeId, 'hex')), keySource });
  try {
    const liveBytes = await fill(volume, Math.floor((context.volumeBytes * fullShare) / 2 ** 20) * 2 ** 20);
    await volume.checkpoint();
    counted.bytes = 0;
    const started = performance.now();
    const written = liveBytes * overwriteTimes;
    const spaceMax = await overwrite(volume, liveBytes, written, () => folderBytes(home.store));
    const seconds = (performance.now() - started) / 1000;
    await volume.checkpoint();
    const space = await settle(volume, () => folderBytes(home.store));
    const uploaded = counted.bytes;
    const add = (id: string, title: string, value: number, unit: Figure['unit']): void =>
      context.add({ id, title, value, unit });
    const job = `${overwriteTimes} times the data overwritten at random, 80 % full`;
    add('cleaning-uploaded-per-byte', `${job}: bytes to the store for each byte written`, uploaded / written, 'ratio');
    add(
      'cleaning-space-after',
      `the same, then idle: bytes in the store for each live byte`,
      space / liveBytes,
      'ratio',
    );
    add('cleaning-space-most', `the same, the most while writing`, spaceMax / liveBytes, 'ratio');
    add('cleaning-write-rate', `the same, 4 KiB writes in process`, written / seconds / 2 ** 20, 'MiB/s');
  } finally {
    await volume.close();
    await opened.close();
  }
}

async function fill(volume: Volume, bytes: number): Promise<number> {
  const piece = new Region(2 ** 20);
  piece.bytes.fill(7);
  for (let offset = 0; offset < bytes; offset += piece.length) {
    await volume.write(offset, piece.length, piece, 0, false);
    await volume.pressure();
    await setImmediate();
  }
  return bytes;
}

/** Returns the most that the store held. */
async function overwrite(volume: Volume, range: number, bytes: number, spaceNow: () => number): Promise<number> {
  const block = new Region(blockBytes);
  let most = 0;
  for (let done = 0; done < bytes; done += blockBytes) {
    block.bytes.fill(done & 0xff, 0, 64);
    const at = Math.floor(Math.random() * (range / blockBytes)) * blockBytes;
    await volume.write(at, blockBytes, block, 0, false);
    const count = done / blockBytes;
    if (count % 32 === 0) await setImmediate();
    const pressure = volume.pressure();
    if (pressure !== undefined) await pressure;
    if (count % 8192 === 0) most = Math.max(most, spaceNow());
  }
  return most;
}

/** Waits until cleaning in the background has come to rest. */
async function settle(volume: Volume, spaceNow: () => number): Promise<number> {
  let space = spaceNow();
  for (let quiet = 0, waited = 0; quiet < 4 && waited < settleSecondsMax; waited++) {
    const before = volume.housekeeping().segmentsCleaned;
    await setTimeout(1000);
    const now = spaceNow();
    quiet = now === space && volume.housekeeping().segmentsCleaned === before ? quiet + 1 : 0;
    space = now;
  }
  return space;
}

function folderBytes(folder: string): number {
  let bytes = 0;
  for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    bytes += fs.statSync(path.join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

/** The store, with the bytes counted that become objects. */
function countingStore(store: Store, counted: { bytes: number }): Store {
  const countingArea = (area: SpoolArea): SpoolArea =>
    withMethod(area, 'publish', async (name, key) => {
      await area.publish(name, key);
      counted.bytes += (await store.stat(key)).size;
    });
  const counting = withMethod(store, 'create', async (key, bytes) => {
    counted.bytes += bytes.length;
    await store.create(key, bytes);
  });
  return withMethod(counting, 'spool', async (prefix) => countingArea(await store.spool(prefix)));
}

/** `inner` with one method of another making. */
function withMethod<T extends object, Name extends keyof T>(inner: T, name: Name, method: T[Name]): T {
  return new Proxy(inner, {
    get(target, asked) {
      if (asked === name) return method;
      const found: unknown = Reflect.get(target, asked, target);
      return typeof found === 'function' ? (found.bind(target) as unknown) : found;
    },
  });
}
