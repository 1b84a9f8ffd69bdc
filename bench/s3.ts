/**
 * Volumes in a bucket of a real S3 server on this machine, 0 and 10 ms away: throughput beside a plain
 * client of the same server, reads, recovery, what is uploaded, and what opening a large volume takes.
 * Each part starts a server of its own, so that none inherits another's garbage.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { CaissonHome, ServedVolume } from './caisson-home.ts';
import { requestCount } from './latency-proxy.ts';
import { parseFio } from './measure.ts';
import type { Outcome } from './measure.ts';
import { part } from './part.ts';
import type { PartContext } from './part.ts';
import { run } from './processes.ts';
import { branchFigures } from './s3-branches.ts';
import { S3Place } from './s3-place.ts';
import type { PlaceOptions } from './s3-place.ts';
import { median } from './statistics.ts';

const mebibyte = 2 ** 20;
const gibibyte = 2 ** 30;
const tebibyte = 2 ** 40;
/** The server next door, and one in the same region. */
const distancesMilliseconds = [0, 10];
const roundsMax = 3;
const jobSecondsMin = 5;

export async function s3Figures(context: PartContext): Promise<void> {
  await part(context, 's3-write-flush', () => measureFlushes(context));
  await part(context, 's3-sequential', () => measureSequential(context));
  await part(context, 's3-random-read', () => measureRandomReads(context));
  await part(context, 's3-open-after-crash', () => measureCrash(context));
  await part(context, 's3-uploads', () => measureUploads(context));
  await part(context, 's3-branches', () => branchFigures(context));
  await part(context, 's3-open-1tib', () => measureLargeOpen(context));
  await part(context, 's3-anchored', () => measureAnchored(context));
  await part(context, 's3-cleaning', () => measureCleaning(context));
}

async function withPlace<Value>(
  context: PartContext,
  options: PlaceOptions,
  work: (place: S3Place) => Promise<Value>,
): Promise<Value> {
  const place = await S3Place.start(context, options);
  try {
    return await work(place);
  } finally {
    await place.stop();
  }
}

function roundsOf(context: PartContext): number {
  return Math.min(context.rounds, roundsMax);
}

interface FioJob {
  readonly rw: 'read' | 'write' | 'randread' | 'randwrite';
  readonly blockBytes: number;
  readonly depth: number;
  readonly bytes: number;
  readonly more?: readonly string[];
}

async function fio({ uri }: ServedVolume, { rw, blockBytes, depth, bytes, more = [] }: FioJob): Promise<Outcome> {
  const parameters = ['--name=job', '--ioengine=nbd', `--uri=${uri}`, `--rw=${rw}`, `--bs=${blockBytes}`];
  const size = [`--iodepth=${depth}`, `--size=${bytes}`, '--output-format=json'];
  return parseFio((await run('fio', [...parameters, ...size, ...more], { secondsMax: 3600 })).stdout);
}

function flushed(context: PartContext, seed: number): FioJob {
  const seconds = Math.max(context.seconds, jobSecondsMin);
  const more = ['--fsync=64', `--runtime=${seconds}`, '--time_based', '--norandommap', `--randseed=${seed}`];
  return { rw: 'randwrite', blockBytes: 4096, depth: 32, bytes: volumeBytesOf(context), more };
}

/** Each part writes its volume several times over into memory. */
function volumeBytesOf(context: PartContext): number {
  return Math.min(context.volumeBytes, gibibyte);
}

async function measureFlushes(context: PartContext): Promise<void> {
  for (const milliseconds of distancesMilliseconds) {
    const options = { bytes: 4 * gibibyte, milliseconds, counts: true };
    await withPlace(context, options, async (place) => {
      const home = await place.home(volumeBytesOf(context));
      await place.serving(home, async (served) => {
        const rates: number[] = [];
        const flushes: number[] = [];
        await place.proxy.takeCounts();
        for (let round = 0; round < roundsOf(context); round++) {
          const { operations, seconds, flushes: count } = await fio(served, flushed(context, round + 1));
          rates.push(operations / seconds);
          flushes.push(count / seconds);
        }
        const { requests } = await place.proxy.takeCounts();
        context.add({
          id: `s3-4k-randwrite-flush64-${milliseconds}ms`,
          title: `4 KiB random write, depth 32, FLUSH every 64, ${milliseconds} ms away`,
          value: median(rates),
          unit: 'op/s',
          note: `${median(flushes).toFixed(0)} FLUSH a second, ${requests['PUT'] ?? 0} PUTs in all`,
        });
      });
    });
  }
}

/** Ours and the plain client in turn, each with the whole server to itself; a new server for each distance and round. */
async function measureSequential(context: PartContext): Promise<void> {
  const bytes = volumeBytesOf(context);
  for (const milliseconds of distancesMilliseconds) {
    const ratios = { write: [] as number[], read: [] as number[] };
    const rates = { write: [] as number[], read: [] as number[] };
    const plainRates = { write: [] as number[], read: [] as number[] };
    let peakBytes = 0;
    for (let round = 0; round < roundsOf(context); round++) {
      await withPlace(context, { bytes: 2.2 * bytes, milliseconds }, async (place) => {
        const plain = round % 2 === 0 ? await plainRatesAt(place, bytes) : undefined;
        const ours = await ourRatesAt(place, bytes);
        const theirs = plain ?? (await plainRatesAt(place, bytes));
        for (const rw of ['write', 'read'] as const) {
          ratios[rw].push(ours[rw] / theirs[rw]);
          rates[rw].push(ours[rw] / mebibyte);
          plainRates[rw].push(theirs[rw] / mebibyte);
        }
        peakBytes = Math.max(peakBytes, place.peakResidentBytes);
      });
    }
    for (const rw of ['write', 'read'] as const) {
      context.add({
        id: `s3-1m-${rw}-ratio-${milliseconds}ms`,
        title: `1 MiB sequential ${rw}, depth 4, by a plain parallel client, ${milliseconds} ms away`,
        value: median(ratios[rw]),
        unit: 'ratio',
        note: `${median(rates[rw]).toFixed(0)} by ${median(plainRates[rw]).toFixed(0)} MiB/s; from ${Math.min(...ratios[rw]).toFixed(2)} to ${Math.max(...ratios[rw]).toFixed(2)}`,
      });
    }
    context.add({
      id: `s3-sequential-resident-bytes-${milliseconds}ms`,
      title: `most resident memory of the daemon meanwhile, ${milliseconds} ms away`,
      value: peakBytes,
      unit: 'bytes',
    });
  }
}

interface Rates {
  readonly write: number;
  readonly read: number;
}

async function plainRatesAt(place: S3Place, bytes: number): Promise<Rates> {
  const client = place.plainClient('plain');
  try {
    return { write: await client.write(bytes), read: await client.read(bytes) };
  } finally {
    client.close();
  }
}

/** The write ends with a FLUSH, which at level `remote` is everything on the server, and fio's own start counts with it; the read is of a new process with an empty cache. */
async function ourRatesAt(place: S3Place, bytes: number): Promise<Rates> {
  const home = await place.home(bytes);
  const job = { blockBytes: mebibyte, depth: 4, bytes };
  const write = await place.serving(home, async (served) => {
    const start = performance.now();
    await fio(served, { ...job, rw: 'write', more: ['--end_fsync=1'] });
    return (bytes * 1000) / (performance.now() - start);
  });
  const read = await place.serving(home, async (served) => {
    const { seconds } = await fio(served, { ...job, rw: 'read' });
    return bytes / seconds;
  });
  return { write, read };
}

const coldReads = 512;

async function measureRandomReads(context: PartContext): Promise<void> {
  const bytes = volumeBytesOf(context);
  for (const milliseconds of distancesMilliseconds) {
    await withPlace(context, { bytes: 1.5 * bytes, milliseconds }, async (place) => {
      const home = await place.home(bytes);
      const job = { blockBytes: 4096, depth: 32, bytes };
      await place.serving(home, (served) => fio(served, { ...job, rw: 'randwrite', more: ['--end_fsync=1'] }));
      await place.serving(home, async (served) => {
        const limit = ['--norandommap', '--randseed=7'];
        const cold = await fio(served, {
          ...job,
          rw: 'randread',
          more: [...limit, `--io_size=${coldReads * job.blockBytes}`],
        });
        await fio(served, { rw: 'read', blockBytes: mebibyte, depth: 4, bytes });
        const seconds = ['--time_based', `--runtime=${context.seconds}`];
        const warm = await fio(served, { ...job, rw: 'randread', more: [...limit, ...seconds] });
        for (const [name, outcome] of [
          ['cold', cold],
          ['warm', warm],
        ] as const) {
          context.add({
            id: `s3-4k-randread-${name}-${milliseconds}ms`,
            title: `4 KiB random read, depth 32, ${name}, ${milliseconds} ms away`,
            value: outcome.operations / outcome.seconds,
            unit: 'op/s',
            note: `p50 ${((outcome.p50Microseconds ?? 0) / 1000).toFixed(2)} ms, p99 ${((outcome.p99Microseconds ?? 0) / 1000).toFixed(2)} ms`,
          });
        }
      });
    });
  }
}

const neverPublish = `tuning:
  checkpointBytes: 64GiB
  checkpointMilliseconds: 3600000
  unpublishedBytesMax: 64GiB
`;

/** Nothing is named by a manifest before the kill; then once more without this machine's spool, as on another machine. */
async function measureCrash(context: PartContext): Promise<void> {
  const bytes = Math.min(volumeBytesOf(context), gibibyte / 4);
  for (const milliseconds of distancesMilliseconds) {
    await withPlace(context, { bytes: 6 * bytes, milliseconds, counts: true }, async (place) => {
      for (const isElsewhere of [false, true]) {
        const home = await place.home(bytes, 'remote', neverPublish);
        const more = ['--end_fsync=1'];
        await place.serving(
          home,
          (served) => fio(served, { rw: 'randwrite', blockBytes: 4096, depth: 32, bytes, more }),
          true,
        );
        if (isElsewhere) fs.rmSync(path.join(home.folder, 'state', 'spools'), { recursive: true });
        await place.proxy.takeCounts();
        const opened = await place.serving(home, ({ readyMilliseconds }) => readyMilliseconds, true);
        const requests = requestCount(await place.proxy.takeCounts());
        const where = isElsewhere ? 'elsewhere, without the spool' : 'where the spool is';
        context.add({
          id: `s3-open-after-crash-${isElsewhere ? 'elsewhere-' : ''}${milliseconds}ms`,
          title: `process start to serving after kill -9, ${(bytes / mebibyte).toFixed(0)} MiB not published, ${where}, ${milliseconds} ms away`,
          value: opened,
          unit: 'ms',
          note: `${requests} requests`,
        });
      }
    });
  }
}

/** From the first write to the end of the process: segments, map, catalog, manifests and heads. What opening costs is said apart. */
async function measureUploads(context: PartContext): Promise<void> {
  const bytes = volumeBytesOf(context);
  const note = `over ${(bytes / gibibyte).toFixed(2)} GiB`;
  await withPlace(context, { bytes: 1.2 * bytes, milliseconds: 0, counts: true }, async (place) => {
    const home = await place.home(bytes);
    let opening = 0;
    await place.proxy.takeCounts();
    await place.serving(home, async (served) => {
      opening = (await place.proxy.takeCounts()).requests['PUT'] ?? 0;
      await fio(served, { rw: 'write', blockBytes: mebibyte, depth: 4, bytes, more: ['--end_fsync=1'] });
    });
    const { requests, uploadedBytes } = await place.proxy.takeCounts();
    const all = Object.entries(requests).map(([method, count]) => `${count} ${method}`);
    context.add({
      id: 's3-puts-per-gib',
      title: 'PUTs for each GiB written sequentially, checkpoint and close included',
      value: ((requests['PUT'] ?? 0) * gibibyte) / bytes,
      unit: 'count',
      note: `${note}; ${all.join(', ')}; opening ${opening} PUTs`,
    });
    const value = uploadedBytes / bytes;
    context.add({ id: 's3-upload-ratio', title: 'bytes uploaded by bytes written', value, unit: 'ratio', note });
  });
}

/** Written from its start; with --full on versitygw, whose objects lie on disk, 64 GiB are. */
async function measureLargeOpen(context: PartContext): Promise<void> {
  const isFull = context.full && context.s3Server === 'versitygw';
  const bytes = isFull ? 64 * gibibyte : Math.min(4 * gibibyte, 4 * context.volumeBytes);
  for (const milliseconds of distancesMilliseconds) {
    const options = { bytes: 1.1 * bytes, milliseconds, counts: true, ...(isFull ? { folder: context.disk } : {}) };
    await withPlace(context, options, async (place) => {
      const home = await place.home(tebibyte);
      // With everything on the server, so that the end of the process has little to do and is not cut off: what follows is no recovery.
      const written = { rw: 'write', blockBytes: mebibyte, depth: 4, bytes, more: ['--end_fsync=1'] } as const;
      await place.serving(home, (served) => fio(served, written));
      const times: number[] = [];
      place.peakResidentBytes = 0;
      await place.proxy.takeCounts();
      for (let round = 0; round < roundsOf(context); round++)
        times.push(await place.serving(home, ({ readyMilliseconds }) => readyMilliseconds, true));
      const requests = requestCount(await place.proxy.takeCounts()) / roundsOf(context);
      const what = `cold, 1 TiB volume with ${(bytes / gibibyte).toFixed(1)} GiB written, ${milliseconds} ms away`;
      const title = `process start to serving, ${what}`;
      const note = `${requests.toFixed(0)} requests`;
      context.add({ id: `s3-open-1tib-${milliseconds}ms`, title, value: median(times), unit: 'ms', note });
      const resident = { id: `s3-open-1tib-resident-bytes-${milliseconds}ms`, title: `most resident memory, ${what}` };
      context.add({ ...resident, value: place.peakResidentBytes, unit: 'bytes' });
    });
  }
}

/** Both levels at the same time on the same server, taking turns. */
async function measureAnchored(context: PartContext): Promise<void> {
  for (const milliseconds of distancesMilliseconds) {
    await withPlace(context, { bytes: 8 * gibibyte, milliseconds }, async (place) => {
      const bytes = volumeBytesOf(context);
      const homes = [await place.home(bytes, 'remote'), await place.home(bytes, 'anchored')] as const;
      const ratios: number[] = [];
      const all: string[] = [];
      await place.serving(homes[0], (remote) =>
        place.serving(homes[1], async (anchored) => {
          for (let round = 0; round < roundsOf(context); round++) {
            const rates = new Map<ServedVolume, number>();
            for (const served of round % 2 === 0 ? [remote, anchored] : [anchored, remote]) {
              const { operations, seconds } = await fio(served, flushed(context, round + 1));
              rates.set(served, operations / seconds);
            }
            ratios.push(rates.get(anchored)! / rates.get(remote)!);
            all.push(`${rates.get(anchored)!.toFixed(0)} by ${rates.get(remote)!.toFixed(0)}`);
          }
        }),
      );
      context.add({
        id: `s3-anchored-ratio-${milliseconds}ms`,
        title: `anchored by remote, 4 KiB random write, FLUSH every 64, ${milliseconds} ms away`,
        value: median(ratios),
        unit: 'ratio',
        note: `op/s: ${all.join(', ')}`,
      });
    });
  }
}

const liveShare = 0.8;
const overwrites = 3;

/** Of the last overwrite, after the first ones brought it to its steady state. */
async function measureCleaning(context: PartContext): Promise<void> {
  const bytes = Math.min(volumeBytesOf(context), gibibyte / 2);
  const liveBytes = Math.floor((bytes * liveShare) / mebibyte) * mebibyte;
  await withPlace(context, { bytes: 10 * bytes, milliseconds: 0, counts: true }, async (place) => {
    const home = await place.home(bytes);
    await place.serving(home, async (served) => {
      const job = { rw: 'randwrite', blockBytes: 4096, depth: 32, bytes: liveBytes } as const;
      await fio(served, job);
      let uploaded = 0;
      for (let round = 1; round <= overwrites; round++) {
        await place.proxy.takeCounts();
        await fio(served, { ...job, more: ['--norandommap', `--randseed=${round}`, '--end_fsync=1'] });
        await settle(place);
        uploaded = (await place.proxy.takeCounts()).uploadedBytes;
      }
      const { objectBytes } = await publicInfo(home);
      const note = `${(liveBytes / mebibyte).toFixed(0)} MiB overwritten ${overwrites} times`;
      context.add({
        id: 's3-cleaning-upload-ratio',
        title: 'bytes uploaded by bytes written, random overwrite at 80 % full, with cleaning',
        value: uploaded / liveBytes,
        unit: 'ratio',
        note,
      });
      context.add({
        id: 's3-cleaning-space-ratio',
        title: 'bytes in the store by live bytes, the same',
        value: objectBytes / liveBytes,
        unit: 'ratio',
        note,
      });
    });
  });
}

const settleSecondsMax = 60;

/** Until nothing was uploaded for three seconds: checkpoint and cleaning are done. */
async function settle(place: S3Place): Promise<void> {
  const deadline = performance.now() + settleSecondsMax * 1000;
  let quiet = 0;
  while (quiet < 3 && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    quiet = (await place.proxy.uploadsSinceLook()) === 0 ? quiet + 1 : 0;
  }
}

async function publicInfo(home: CaissonHome): Promise<{ readonly objectBytes: number }> {
  const answer = await home.caisson('volume', 'inspect', 'volume', '-o', 'json');
  return (JSON.parse(answer) as { public: { objectBytes: number } }).public;
}
