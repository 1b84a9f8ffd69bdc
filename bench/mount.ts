/**
 * 1 MiB sequential through `caisson mount` (FUSE and loop, ext4) beside the same volume over NBD, in the
 * same run. Needs root, FUSE and loop devices; elsewhere the part says that it was left out.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { caissonCommand, CaissonHome } from './caisson-home.ts';
import { parseFio } from './measure.ts';
import { part } from './part.ts';
import type { PartContext } from './part.ts';
import { run, undos } from './processes.ts';
import { median } from './statistics.ts';

export async function mountFigures(context: PartContext): Promise<void> {
  await part(context, 'mount', async () => {
    if (!canMount()) throw new Error('left out: it needs root, /dev/fuse and loop devices');
    const ratios = { read: [] as number[], write: [] as number[] };
    for (let round = 0; round < context.rounds; round++) {
      const overNbd = await ratesOverNbd(context);
      const mounted = await ratesMounted(context);
      ratios.read.push(mounted.read / overNbd.read);
      ratios.write.push(mounted.write / overNbd.write);
    }
    for (const rw of ['read', 'write'] as const) {
      const title = `1 MiB sequential ${rw} through the mount (ext4) by the same over NBD`;
      context.add({ id: `mount-1m-${rw}-ratio`, title, value: median(ratios[rw]), unit: 'ratio' });
    }
  });
}

interface Rates {
  readonly read: number;
  readonly write: number;
}

async function ratesOverNbd(context: PartContext): Promise<Rates> {
  return withHome(context, async (home) => {
    const { server, uri } = await home.serve('volume');
    try {
      return await rates(context, ['--ioengine=nbd', `--uri=${uri}`]);
    } finally {
      await server.stop();
    }
  });
}

async function ratesMounted(context: PartContext): Promise<Rates> {
  return withHome(context, async (home) => {
    const directory = path.join(home.folder, 'mounted');
    fs.mkdirSync(directory);
    const environment = { ...process.env, ...home.environment };
    const unmount = (): void => {
      execFileSync(caissonCommand, ['umount', 'volume'], { env: environment, stdio: 'ignore' });
    };
    const undo = (): void => {
      try {
        unmount();
      } catch {
        // The mount was never made, or the daemon has gone with it.
      }
    };
    undos.add(undo);
    try {
      await home.caisson('mount', 'volume', directory, '--mkfs', 'ext4', '--key-file', home.keyFile);
      return await rates(context, ['--ioengine=libaio', '--direct=1', `--filename=${path.join(directory, 'file')}`]);
    } finally {
      undos.delete(undo);
      undo();
    }
  });
}

/** The write comes first: it is what the read finds. */
async function rates({ volumeBytes, seconds }: PartContext, engine: readonly string[]): Promise<Rates> {
  const bytes = Math.floor((volumeBytes * 0.75) / 2 ** 20) * 2 ** 20;
  const rate = async (rw: 'read' | 'write', limit: readonly string[]): Promise<number> => {
    const parameters = ['--name=job', ...engine, `--rw=${rw}`, '--bs=1M', '--iodepth=4', `--size=${bytes}`, ...limit];
    const outcome = parseFio((await run('fio', [...parameters, '--output-format=json'])).stdout);
    return outcome.bytes / outcome.seconds;
  };
  await rate('write', []);
  const limit = [`--runtime=${seconds}`, `--io_size=${2 * bytes}`];
  return { write: await rate('write', limit), read: await rate('read', limit) };
}

async function withHome<Value>(
  { ram, volumeBytes }: PartContext,
  work: (home: CaissonHome) => Promise<Value>,
): Promise<Value> {
  const home = new CaissonHome(fs.mkdtempSync(path.join(ram, 'mount-')));
  try {
    await home.create({ name: 'volume', bytes: volumeBytes, protection: 'sealed' });
    return await work(home);
  } finally {
    fs.rmSync(home.folder, { recursive: true, force: true });
  }
}

function canMount(): boolean {
  return process.getuid?.() === 0 && fs.existsSync('/dev/fuse') && fs.existsSync('/dev/loop-control');
}
