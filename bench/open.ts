/**
 * Start, open, memory, TRIM and recovery: what a benchmark of throughput does not show. Volumes lie
 * in RAM unless their size forbids it, so that the figures are about Caisson and not about a cold disk.
 */
import fs from 'node:fs';
import path from 'node:path';
import { directoryMemoryBytes } from '../src/block-map/map-directory.ts';
import { directoryLeaves, leafBlocks } from '../src/block-map/map-format.ts';
import { chooseSealer } from '../src/crypto/choose-sealer.ts';
import { systemRandom } from '../src/crypto/random.ts';
import { openEnvironment } from '../src/daemon/environment.ts';
import type { Volume } from '../src/volume/volume-types.ts';
import { createKeyFileSource } from '../src/keys/key-file.ts';
import { Region } from '../src/lib/region.ts';
import { openVolume } from '../src/volume/volume.ts';
import { CaissonHome } from './caisson-home.ts';
import type { ServedVolume } from './caisson-home.ts';
import { freeBytes, residentBytes } from './machine.ts';
import { isPackaged, packagedEntry } from './packaged.ts';
import { part } from './part.ts';
import type { PartContext } from './part.ts';
import { run } from './processes.ts';
import type { Run } from './processes.ts';
import { median } from './statistics.ts';

const gibibyte = 2 ** 30;
const tebibyte = 2 ** 40;
const mapBlocksPerTebibyte = tebibyte / 4096;

export async function openFigures(context: PartContext): Promise<void> {
  await part(context, 'start', () => measureStart(context));
  await part(context, 'open-written', () => measureWritten(context));
  await part(context, 'open-random', () => measureRandom(context));
  await part(context, 'trim', () => measureTrim(context));
  await part(context, 'open-after-crash', () => measureCrash(context));
}

/** A new home with one volume in it. */
async function withVolume(
  folder: string,
  bytes: number,
  work: (home: CaissonHome, volumeId: string) => Promise<void>,
  configuration = '',
): Promise<void> {
  const home = new CaissonHome(fs.mkdtempSync(path.join(folder, 'open-')), configuration);
  try {
    await work(home, await home.create({ name: 'volume', bytes, protection: 'sealed' }));
  } finally {
    fs.rmSync(home.folder, { recursive: true, force: true });
  }
}

async function serving<Value>(
  home: CaissonHome,
  work: (served: ServedVolume) => Promise<Value> | Value,
  crash = false,
): Promise<Value> {
  const served = await home.serve('volume');
  try {
    return await work(served);
  } finally {
    await (crash ? served.server.kill() : served.server.stop());
  }
}

interface Opened {
  readonly readyMilliseconds: number;
  readonly residentBytes: number;
}

async function startsOf(context: PartContext, homes: readonly CaissonHome[]): Promise<Opened[]> {
  const all = homes.map((): Opened[] => []);
  for (let round = 0; round < Math.max(3, context.rounds); round++) {
    for (const [index, home] of homes.entries()) {
      const opened = await serving(home, ({ server, readyMilliseconds }) => ({
        readyMilliseconds,
        residentBytes: residentBytes(server.pid),
      }));
      all[index]?.push(opened);
    }
  }
  return all.map((starts) => ({
    readyMilliseconds: median(starts.map(({ readyMilliseconds }) => readyMilliseconds)),
    residentBytes: median(starts.map((opened) => opened.residentBytes)),
  }));
}

async function measureStart(context: PartContext): Promise<void> {
  await withVolume(context.ram, gibibyte, async (small) =>
    withVolume(context.ram, 64 * tebibyte, async (large) => {
      const [first, second] = await startsOf(context, [small, large]);
      if (first === undefined || second === undefined) return;
      context.add({
        id: 'start-milliseconds',
        title: 'process start to serving, empty 1 GiB volume, as bin/caisson runs here',
        value: first.readyMilliseconds,
        unit: 'ms',
      });
      context.add({
        id: 'open-empty-64tib-more-milliseconds',
        title: 'the same with an empty 64 TiB volume, how much more',
        value: second.readyMilliseconds - first.readyMilliseconds,
        unit: 'ms',
      });
      context.add({
        id: 'open-empty-64tib-resident-bytes',
        title: 'resident memory of the daemon, empty 64 TiB volume',
        value: second.residentBytes,
        unit: 'bytes',
      });
      await measurePackagedStart(context, small);
    }),
  );
}

/** What npm installs is emitted JavaScript; it is measured too where `npm run build` was run after the last change. */
async function measurePackagedStart(context: PartContext, home: CaissonHome): Promise<void> {
  if (!isPackaged()) return;
  const times: number[] = [];
  for (let round = 0; round < Math.max(3, context.rounds); round++) {
    const served = await home.serve('volume', process.execPath, [
      '--disable-warning=ExperimentalWarning',
      packagedEntry,
    ]);
    times.push(served.readyMilliseconds);
    await served.server.stop();
  }
  context.add({
    id: 'start-packaged-milliseconds',
    title: 'the same from the emitted JavaScript, as the package runs',
    value: median(times),
    unit: 'ms',
  });
}

const fillSecondsMax = 120;

/** 8 GiB unless the disk is small; 64 GiB with --full. Holes would be dishonest: an empty map costs nothing. */
async function measureWritten(context: PartContext): Promise<void> {
  const wanted = (context.full ? 64 : 8) * gibibyte;
  const room = Math.floor((freeBytes(context.disk) - 2 * gibibyte) / 1.1 / gibibyte) * gibibyte;
  const bytes = Math.min(wanted, Math.max(room, gibibyte));
  await withVolume(context.disk, bytes, async (home) => {
    const written = await serving(home, async ({ uri }) => {
      const limit = context.full ? [] : [`--runtime=${fillSecondsMax}`];
      const { stdout } = await run(
        'fio',
        [
          '--name=fill',
          '--ioengine=nbd',
          `--uri=${uri}`,
          '--rw=write',
          '--bs=1M',
          '--iodepth=8',
          `--size=${bytes}`,
          '--output-format=json',
          ...limit,
        ],
        { secondsMax: 3600 },
      );
      const parsed = JSON.parse(stdout.substring(stdout.indexOf('{'))) as { jobs: { write: { io_bytes: number } }[] };
      return parsed.jobs[0]?.write.io_bytes ?? 0;
    });
    await addOpened(context, home, 'open-written', `fully written, ${(written / gibibyte).toFixed(1)} GiB on disk`);
  });
}

/** Every block written once in random order and then a quarter of them again: no two neighbours share a unit. */
async function measureRandom(context: PartContext): Promise<void> {
  await withVolume(context.ram, context.volumeBytes, async (home, volumeId) => {
    await serving(home, async ({ uri }) => {
      const again = Math.floor(context.volumeBytes / 4);
      const common = [
        '--name=fill',
        '--ioengine=nbd',
        `--uri=${uri}`,
        '--rw=randwrite',
        '--bs=4k',
        '--iodepth=32',
        `--size=${context.volumeBytes}`,
      ];
      await run('fio', common);
      await run('fio', [...common, '--norandommap', `--io_size=${again}`, '--randseed=7']);
    });
    const size = `${(context.volumeBytes / gibibyte).toFixed(2)} GiB`;
    await addOpened(context, home, 'open-random', `randomly overwritten, ${size}`);
    await inProcess(home, volumeId, async (volume) => {
      const scratch = new Region(4096);
      for (let offset = 0; offset < context.volumeBytes; offset += 1024 * 4096)
        await volume.read(offset, 4096, scratch, 0);
      const bytes = mapBytesOfTebibyte(volume.stats().mapBytesResident, context.volumeBytes);
      context.add({
        id: 'map-bytes-per-random-tib',
        title: 'resident map of a fully random TiB, without a cap',
        value: bytes,
        unit: 'bytes',
        note: `scaled up from ${size}`,
      });
    });
  });
}

/** Leaves grow with the blocks, directories come one for every 4 GiB. */
function mapBytesOfTebibyte(residentBytes: number, volumeBytes: number): number {
  const directoryBlocks = leafBlocks * directoryLeaves;
  const blocks = volumeBytes / 4096;
  const leafBytes = residentBytes - Math.ceil(blocks / directoryBlocks) * directoryMemoryBytes;
  return (leafBytes / blocks) * mapBlocksPerTebibyte + (mapBlocksPerTebibyte / directoryBlocks) * directoryMemoryBytes;
}

async function addOpened(context: PartContext, home: CaissonHome, id: string, what: string): Promise<void> {
  const [opened] = await startsOf(context, [home]);
  if (opened === undefined) return;
  const { readyMilliseconds } = opened;
  context.add({
    id: `${id}-milliseconds`,
    title: `process start to serving, ${what}`,
    value: readyMilliseconds,
    unit: 'ms',
  });
  context.add({
    id: `${id}-resident-bytes`,
    title: `resident memory then, ${what}`,
    value: opened.residentBytes,
    unit: 'bytes',
  });
  const afterRead = await serving(home, async ({ server, uri }) => {
    await run('fio', [
      '--name=touch',
      '--ioengine=nbd',
      `--uri=${uri}`,
      '--rw=randread',
      '--bs=4k',
      '--iodepth=32',
      '--runtime=3',
      '--time_based',
      '--norandommap',
    ]);
    return residentBytes(server.pid);
  });
  context.add({
    id: `${id}-read-resident-bytes`,
    title: `the same after 3 s of random reads, ${what}`,
    value: afterRead,
    unit: 'bytes',
  });
}

async function inProcess(home: CaissonHome, volumeId: string, work: (volume: Volume) => Promise<void>): Promise<void> {
  const anchorFolder = path.join(home.folder, 'state', 'anchors');
  const { sealer } = chooseSealer();
  const remote = { spoolFolder: path.join(home.folder, 'state', 'spools'), environment: {}, random: systemRandom };
  const parts = { anchorFolder, sealer, tuning: {}, remote };
  const opened = await openEnvironment(`dir:${home.store}`, { create: false }, parts);
  try {
    const keySource = createKeyFileSource({ content: fs.readFileSync(home.keyFile), random: systemRandom });
    const volume = await openVolume(opened.environment, {
      volumeId: new Uint8Array(Buffer.from(volumeId, 'hex')),
      keySource,
    });
    try {
      await work(volume);
    } finally {
      await volume.close();
    }
  } finally {
    await opened.close();
  }
}

/** nbdsh takes the first python3 of the PATH; the one with the nbd module is the distribution's. */
function nbdsh(uri: string, script: string): Promise<Run> {
  const PATH = `/usr/bin:${process.env['PATH'] ?? ''}`;
  return run('nbdsh', ['-u', uri, '-c', script], { environment: { PATH } });
}

const trimBytes = 2 * tebibyte;
/** The largest whole number of MiB that a 32-bit length can name, less one leaf of the map. */
const trimRequestBytes = 4 * gibibyte - 4 * 2 ** 20;

/** One written block in every 4 GiB, so that there is something to give back all over the range. */
const trimScript = `
import time
size, step, request = ${trimBytes}, ${4 * gibibyte}, ${trimRequestBytes}
for offset in range(0, size, step):
    h.pwrite(b"x" * 4096, offset + ${gibibyte})
h.flush()
start = time.monotonic()
pending = []
offset = 0
while offset < size:
    length = min(request, size - offset)
    pending.append(h.aio_trim(length, offset))
    offset += length
    while len(pending) >= 32:
        h.poll(-1)
        pending = [cookie for cookie in pending if not h.aio_command_completed(cookie)]
while pending:
    h.poll(-1)
    pending = [cookie for cookie in pending if not h.aio_command_completed(cookie)]
trimmed = time.monotonic()
h.flush()
print(trimmed - start, time.monotonic() - start)
`;

async function measureTrim(context: PartContext): Promise<void> {
  await withVolume(context.ram, 64 * tebibyte, async (home, volumeId) => {
    const [trimmed = NaN, flushed = NaN] = await serving(home, async ({ uri }) => {
      const { stdout } = await nbdsh(uri, trimScript);
      return stdout.trim().split(' ').map(Number);
    });
    const note = `with a FLUSH ${(flushed * 1000).toFixed(1)} ms; a written block in every 4 GiB`;
    context.add({
      id: 'trim-2tib-nbd-milliseconds',
      title: 'TRIM of 2 TiB over NBD',
      value: trimmed * 1000,
      unit: 'ms',
      note,
    });
    await inProcess(home, volumeId, async (volume) => {
      const block = Region.from(new Uint8Array(4096).fill(1));
      for (let offset = 0; offset < trimBytes; offset += 4 * gibibyte)
        await volume.write(offset, 4096, block, 0, false);
      await volume.checkpoint();
      const start = performance.now();
      await volume.trim(0, trimBytes, false);
      const middle = performance.now();
      await volume.flush();
      context.add({
        id: 'trim-2tib-in-process-milliseconds',
        title: 'TRIM of 2 TiB in one call, in process',
        value: middle - start,
        unit: 'ms',
        note: `with a FLUSH ${(performance.now() - start).toFixed(1)} ms`,
      });
    });
  });
}

/** Nothing is published before the crash: the whole spool has to be replayed. */
const neverPublish = `tuning:
  checkpointBytes: 64GiB
  checkpointMilliseconds: 3600000
  unpublishedBytesMax: 64GiB
`;
const openSecondsFree = 1;
const crashesMax = 3;

async function measureCrash(context: PartContext): Promise<void> {
  const bytes = Math.min(gibibyte, context.volumeBytes);
  const opened: { readonly milliseconds: number; readonly gibibytes: number }[] = [];
  // A new volume each time: what overwrites an old one makes garbage, and cleaning publishes what was written.
  for (let round = 0; round < Math.min(context.rounds, crashesMax); round++) {
    const work = async (home: CaissonHome): Promise<void> => {
      const spoolBytes = await serving(home, ({ uri }) => writeUnpublished(home, uri, bytes), true);
      const milliseconds = await serving(home, ({ readyMilliseconds }) => readyMilliseconds);
      opened.push({ milliseconds, gibibytes: spoolBytes / gibibyte });
    };
    await withVolume(context.disk, bytes, work, neverPublish);
  }
  const gibibytes = median(opened.map((crash) => crash.gibibytes));
  const title = `process start to serving after kill -9, ${gibibytes.toFixed(2)} GiB of unpublished spool`;
  const milliseconds = median(opened.map((crash) => crash.milliseconds));
  context.add({ id: 'open-after-crash-milliseconds', title, value: milliseconds, unit: 'ms' });
  context.add({
    id: 'open-after-crash-milliseconds-per-gib',
    title: 'the same beyond the first second, for each GiB of spool',
    value: Math.max(0, milliseconds - openSecondsFree * 1000) / gibibytes,
    unit: 'ms',
  });
}

async function writeUnpublished(home: CaissonHome, uri: string, bytes: number): Promise<number> {
  const jobs = ['--name=fill', '--ioengine=nbd', `--uri=${uri}`, '--rw=randwrite', '--bs=4k', '--iodepth=32'];
  await run('fio', [...jobs, `--size=${bytes}`]);
  await nbdsh(uri, 'h.flush()');
  return unpublishedBytes(home);
}

async function unpublishedBytes(home: CaissonHome): Promise<number> {
  const status = JSON.parse(await home.caisson('status', '-o', 'json')) as { volumes: { spoolBytes: number }[] };
  const bytes = status.volumes[0]?.spoolBytes ?? 0;
  if (bytes < 2 ** 20) throw new Error('the spool was published before the crash');
  return bytes;
}
