/**
 * `caisson bench`: what sealing costs on this machine, in a few seconds. First the sealer alone,
 * then a scratch volume written and read through the engine; each sealed and unsealed, side by side.
 * For figures to compare with other software there is `npm run bench`.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { OperationProgress, OperationRequest, OperationResponse } from '../admin/operations.ts';
import type { Credential } from '../admin/schema.ts';
import { systemRandom } from '../crypto/random.ts';
import { plainSealer } from '../crypto/plain-sealer.ts';
import type { Sealer } from '../crypto/sealer.ts';
import { tagBytes } from '../crypto/sealer.ts';
import { Region } from '../lib/region.ts';
import type { BlockDevice } from '../export/block-device.ts';
import type { VolumeEnvironment } from '../volume/volume-types.ts';
import type { OperationsContext } from './operations-context.ts';

type Report = OperationResponse<'bench'>;
type Result = Report['results'][number];

const scratchBytes = 256 * 1024 * 1024;
const smallBytes = 4096;
const largeBytes = 1024 * 1024;
/** Between two looks at the clock and two turns of the event loop. */
const batchBytes = 8 * 1024 * 1024;

interface VolumeJob {
  readonly job: string;
  readonly length: number;
  readonly isRandom: boolean;
  readonly isWrite: boolean;
}

const volumeJobs: readonly VolumeJob[] = [
  { job: 'volume, 1 MiB sequential write', length: largeBytes, isRandom: false, isWrite: true },
  { job: 'volume, 1 MiB sequential read', length: largeBytes, isRandom: false, isWrite: false },
  { job: 'volume, 4 KiB random write', length: smallBytes, isRandom: true, isWrite: true },
  { job: 'volume, 4 KiB random read', length: smallBytes, isRandom: true, isWrite: false },
];

export async function measure(
  context: OperationsContext,
  { folder, seconds }: OperationRequest<'bench'>,
  onProgress: OperationProgress = () => undefined,
): Promise<Report> {
  const scratch = fs.mkdtempSync(path.join(folder ?? os.tmpdir(), 'caisson-bench-'));
  const total = 2 + volumeJobs.length * 2;
  let done = 0;
  const step = (): void => onProgress(++done, total, 'jobs');
  try {
    const keyFile = path.join(scratch, 'key');
    await context.parts.generateKeyFile(keyFile, []);
    const opened = await context.parts.openEnvironment(path.join(scratch, 'store'), { create: true });
    const { environment } = opened;
    try {
      const results = [
        sealerResult(environment.sealer, smallBytes, seconds),
        sealerResult(environment.sealer, 32 * 1024, seconds),
      ];
      done = 1;
      step();
      const sealed = await volumeRates(context, environment, { kind: 'key-file', path: keyFile }, seconds, step);
      const plain = await volumeRates(context, environment, { kind: 'none' }, seconds, step);
      for (const [index, { job }] of volumeJobs.entries())
        results.push(resultOf(job, sealed[index] ?? 0, plain[index] ?? 0));
      return { sealer: environment.sealer.name, results };
    } finally {
      await opened.close();
    }
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

function sealerResult(sealer: Sealer, length: number, seconds: number): Result {
  return resultOf(
    `sealer, ${length / 1024} KiB units`,
    sealerRate(sealer, length, seconds),
    sealerRate(plainSealer, length, seconds),
  );
}

function sealerRate(sealer: Sealer, length: number, seconds: number): number {
  const key = sealer.createKey(systemRandom.bytes(32));
  const source = new Region(length);
  const target = new Region(length + tagBytes);
  try {
    let slot = 0;
    return rateOf(seconds, () => {
      for (let bytes = 0; bytes < batchBytes; bytes += length) key.seal(slot++, slot, length, source, 0, target, 0);
      return batchBytes;
    });
  } finally {
    key.destroy();
  }
}

function rateOf(seconds: number, batch: () => number): number {
  const start = performance.now();
  let bytes = 0;
  let elapsed = 0;
  while (elapsed < seconds * 1000) {
    bytes += batch();
    elapsed = performance.now() - start;
  }
  return (bytes * 1000) / elapsed;
}

async function volumeRates(
  { parts }: OperationsContext,
  environment: VolumeEnvironment,
  credential: Credential,
  seconds: number,
  step: () => void,
): Promise<number[]> {
  const engine = await parts.engine();
  const keySource = await parts.keySource(credential);
  const protection = credential.kind === 'none' ? 'none' : 'sealed';
  const info = await engine.createVolume(environment, {
    size: scratchBytes,
    protection,
    durability: 'local',
    keySource,
  });
  const volumeId = new Uint8Array(Buffer.from(info.volumeId, 'hex'));
  const volume = await engine.openVolume(environment, { volumeId, keySource });
  try {
    const rates: number[] = [];
    for (const job of volumeJobs) {
      rates.push(await jobRate(volume, job, seconds));
      step();
    }
    return rates;
  } finally {
    await volume.close();
    await engine.removeVolume(environment, volumeId);
  }
}

async function jobRate(
  device: BlockDevice,
  { length, isRandom, isWrite }: VolumeJob,
  seconds: number,
): Promise<number> {
  const region = Region.from(systemRandom.bytes(length));
  const units = scratchBytes / length;
  const start = performance.now();
  let unit = 0;
  let bytes = 0;
  let elapsed = 0;
  while (elapsed < seconds * 1000) {
    for (let batch = 0; batch < batchBytes; batch += length) {
      // A full-period generator: every unit once before any comes again, in no useful order.
      unit = isRandom ? (unit * 5 + 12_345) % units : (unit + 1) % units;
      const completion = isWrite
        ? device.write(unit * length, length, region, 0, false)
        : device.read(unit * length, length, region, 0);
      if (completion !== undefined) await completion;
      const pressure = device.pressure();
      if (pressure !== undefined) await pressure;
      bytes += length;
    }
    await new Promise((resolve) => setImmediate(resolve));
    elapsed = performance.now() - start;
  }
  if (isWrite) await device.flush();
  return (bytes * 1000) / (performance.now() - start);
}

function resultOf(job: string, sealed: number, plain: number): Result {
  const round = (value: number): number => Math.round(value);
  return {
    job,
    sealedBytesPerSecond: round(sealed),
    plainBytesPerSecond: round(plain),
    ratio: Math.round((sealed / plain) * 1000) / 1000,
  };
}
