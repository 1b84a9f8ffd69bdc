/**
 * Snapshot, clone and erase of thin volumes of three sizes: the engine's own time, over a store in RAM,
 * and the requests that each costs over S3. In process, so that nothing but the engine is measured.
 */
import fs from 'node:fs';
import path from 'node:path';
import { chooseSealer } from '../src/crypto/choose-sealer.ts';
import { systemRandom } from '../src/crypto/random.ts';
import { openEnvironment } from '../src/daemon/environment.ts';
import { createKeyFileSource } from '../src/keys/key-file.ts';
import type { KeySource } from '../src/keys/key-source.ts';
import { fromHex } from '../src/lib/hex.ts';
import { Region } from '../src/lib/region.ts';
import { createVolume, eraseVolume, openVolume } from '../src/volume/volume.ts';
import type { VolumeEnvironment } from '../src/volume/volume-types.ts';
import { requestCount } from './latency-proxy.ts';
import type { PartContext } from './part.ts';
import { S3Place } from './s3-place.ts';
import { median } from './statistics.ts';

const gibibyte = 2 ** 30;
const sizes = [
  { name: '1gib', title: '1 GiB', bytes: gibibyte },
  { name: '100gib', title: '100 GiB', bytes: 100 * gibibyte },
  { name: '10tib', title: '10 TiB', bytes: 10 * 1024 * gibibyte },
] as const;
const steps = ['snapshot', 'clone', 'erase'] as const;
type Step = (typeof steps)[number];
/** Spread over the volume, so that its map has as many directories and leaves. */
const writtenBlocks = 256;
const roundsMin = 5;

interface Cost {
  readonly milliseconds: number;
  readonly roundTrips: number;
  readonly requests: number;
}

type Count = () => Promise<Pick<Cost, 'roundTrips' | 'requests'>>;

export async function branchFigures(context: PartContext): Promise<void> {
  const rounds = Math.max(roundsMin, context.rounds);
  const folder = fs.mkdtempSync(path.join(context.ram, 'branches-'));
  const place = await S3Place.start(context, { bytes: gibibyte, milliseconds: 0, counts: true });
  const count: Count = async () => {
    const counts = await place.proxy.takeCounts();
    return { roundTrips: counts.roundTrips, requests: requestCount(counts) };
  };
  const nothing = async (): Promise<Awaited<ReturnType<Count>>> => ({ roundTrips: 0, requests: 0 });
  try {
    for (const size of sizes) {
      const url = `dir:${path.join(folder, size.name)}`;
      const near = await costsOf(url, folder, place.keys, size.bytes, rounds, nothing);
      const far = await costsOf(place.url(size.name), folder, place.keys, size.bytes, 1, count);
      for (const step of steps) {
        const title = `${step} of a thin volume of ${size.title}`;
        context.add({
          id: `s3-${step}-${size.name}-milliseconds`,
          title: `${title}, engine over a store in RAM`,
          value: near.get(step)!.milliseconds,
          unit: 'ms',
        });
        const { roundTrips: value, requests, milliseconds } = far.get(step)!;
        const note = `${requests} requests, ${milliseconds.toFixed(1)} ms with the server next door`;
        context.add({
          id: `s3-${step}-${size.name}-round-trips`,
          title: `${title}, round trips over S3`,
          value,
          unit: 'count',
          note,
        });
      }
    }
  } finally {
    await place.stop();
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

async function costsOf(
  url: string,
  folder: string,
  keys: Readonly<Record<string, string>>,
  bytes: number,
  rounds: number,
  count: Count,
): Promise<Map<Step, Cost>> {
  const { sealer } = chooseSealer();
  const remote = { spoolFolder: path.join(folder, 'spools'), environment: keys, random: systemRandom };
  const parts = { anchorFolder: path.join(folder, 'anchors'), sealer, tuning: {}, remote };
  const opened = await openEnvironment(url, { create: true }, parts);
  const keySource = createKeyFileSource({ content: systemRandom.bytes(32), random: systemRandom });
  const all = new Map<Step, Cost[]>(steps.map((step) => [step, []]));
  try {
    for (let round = 0; round < rounds; round++)
      for (const [step, cost] of await roundOf(opened.environment, keySource, bytes, count)) all.get(step)?.push(cost);
  } finally {
    await opened.close();
  }
  return new Map(
    [...all].map(([step, costs]) => [
      step,
      { ...costs.at(-1)!, milliseconds: median(costs.map((cost) => cost.milliseconds)) },
    ]),
  );
}

async function roundOf(
  environment: VolumeEnvironment,
  keySource: KeySource,
  bytes: number,
  count: Count,
): Promise<Map<Step, Cost>> {
  const costs = new Map<Step, Cost>();
  const timed = async <Value>(step: Step, work: () => Promise<Value>): Promise<Value> => {
    await count();
    const start = performance.now();
    const value = await work();
    const milliseconds = performance.now() - start;
    costs.set(step, { milliseconds, ...(await count()) });
    return value;
  };
  const options = { size: bytes, protection: 'sealed', durability: 'remote', keySource } as const;
  const volumeId = fromHex((await createVolume(environment, options)).volumeId, 16)!;
  const volume = await openVolume(environment, { volumeId, keySource });
  const block = Region.from(new Uint8Array(4096).fill(1));
  const stride = Math.floor(bytes / writtenBlocks / 4096) * 4096;
  for (let index = 0; index < writtenBlocks; index++) await volume.write(index * stride, 4096, block, 0, false);
  await volume.checkpoint();
  await timed('snapshot', () => volume.snapshot('first'));
  const clone = await timed('clone', () => volume.clone({ keySource, isolate: false }));
  await volume.close();
  await eraseVolume(environment, { volumeId: fromHex(clone.volumeId, 16)!, keySource, keepObjects: true });
  await timed('erase', () => eraseVolume(environment, { volumeId, keySource, keepObjects: true }));
  return costs;
}
