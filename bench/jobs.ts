/**
 * What is measured: groups of jobs. A server runs a whole group on one fresh volume, filled as the
 * group says, so that no server inherits another's state and no volume grows without bound (a log
 * that is written again and again takes new space).
 *
 * Every job ends after `--seconds` or after its bytes, whichever is first; the bytes are the same for all.
 */

export type ServerId =
  | 'caisson'
  | 'caisson-32k'
  | 'caisson-none'
  | 'caisson-node-crypto'
  | 'protocol-alone'
  | 'nbdkit-memory'
  | 'nbdkit-luks'
  | 'qemu-raw'
  | 'qemu-luks'
  | 'raw-file';

export interface FioJob {
  readonly kind: 'fio';
  readonly id: string;
  readonly title: string;
  readonly rw: 'read' | 'write' | 'randread' | 'randwrite';
  readonly blockBytes: number;
  readonly depth: number;
  readonly connections: number;
  /** A FLUSH after so many writes; 0 is never. */
  readonly flushEvery: number;
}

export interface CopyJob {
  readonly kind: 'copy';
  readonly id: string;
  readonly title: string;
  readonly direction: 'in' | 'out';
}

export type Job = FioJob | CopyJob;

export interface JobGroup {
  readonly id: string;
  readonly title: string;
  readonly where: 'ram' | 'disk';
  /** The writes that fill a Caisson volume before the group decide in which units it is stored. */
  readonly fillBlockBytes: number;
  readonly servers: readonly ServerId[];
  readonly jobs: readonly Job[];
}

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

export const serverTitles: Readonly<Record<ServerId, string>> = {
  caisson: 'caisson, sealed',
  'caisson-32k': 'caisson, sealed, filled by 1 MiB writes',
  'caisson-none': 'caisson --protection none',
  'caisson-node-crypto': 'caisson, node:crypto alone',
  'protocol-alone': 'NBD server of caisson over RAM',
  'nbdkit-memory': 'nbdkit memory',
  'nbdkit-luks': 'nbdkit file + luks',
  'qemu-raw': 'qemu-nbd raw',
  'qemu-luks': 'qemu-nbd LUKS',
  'raw-file': 'the file itself, write + fdatasync',
};

const peersInRam: readonly ServerId[] = ['nbdkit-memory', 'nbdkit-luks', 'qemu-raw', 'qemu-luks'];
const peersOnDisk: readonly ServerId[] = ['nbdkit-luks', 'qemu-raw', 'qemu-luks'];
const ours: readonly ServerId[] = ['caisson', 'caisson-none', 'caisson-node-crypto'];

/** One fio job, named by what it does: `4k-randread-d32`, `128k-write-d32-flush64`. */
export function fioJob(
  rw: FioJob['rw'],
  blockBytes: number,
  depth: number,
  { connections = 1, flushEvery = 0, prefix = '' } = {},
): FioJob {
  const isMebibytes = blockBytes >= mebibyte;
  const size = isMebibytes ? `${blockBytes / mebibyte}m` : `${blockBytes / kibibyte}k`;
  const id = `${prefix}${size}-${rw}-${connections > 1 ? `${connections}x` : 'd'}${depth}${flushEvery > 0 ? `-flush${flushEvery}` : ''}`;
  const words = {
    read: 'sequential read',
    write: 'sequential write',
    randread: 'random read',
    randwrite: 'random write',
  };
  const title = [
    `${isMebibytes ? `${blockBytes / mebibyte} MiB` : `${blockBytes / kibibyte} KiB`} ${words[rw]}`,
    ...(connections > 1 ? [`${connections} connections of depth ${depth}`] : [`depth ${depth}`]),
    ...(flushEvery > 0 ? [flushEvery === 1 ? 'FLUSH after each' : `FLUSH every ${flushEvery}`] : []),
    ...(prefix === '' ? [] : ['on disk']),
  ].join(', ');
  return { kind: 'fio', id, title, rw, blockBytes, depth, connections, flushEvery };
}

function randomJobs(rw: 'randread' | 'randwrite', flushEvery: number): FioJob[] {
  return [
    fioJob(rw, 4 * kibibyte, 1, { flushEvery }),
    fioJob(rw, 4 * kibibyte, 32, { flushEvery }),
    fioJob(rw, 4 * kibibyte, 32, { connections: 4, flushEvery }),
  ];
}

function sequentialJobs(blockBytes: number, depth: number): FioJob[] {
  return [
    fioJob('read', blockBytes, depth),
    fioJob('write', blockBytes, depth),
    fioJob('write', blockBytes, depth, { flushEvery: 64 }),
  ];
}

export const groups: readonly JobGroup[] = [
  {
    id: 'random',
    title: '4 KiB, in RAM; Caisson volumes filled by 4 KiB random writes, as a database leaves them',
    where: 'ram',
    fillBlockBytes: 4 * kibibyte,
    servers: ['caisson', 'caisson-32k', 'caisson-none', 'caisson-node-crypto', 'protocol-alone', ...peersInRam],
    // Reads come first: the writes would blur in which units the volume is stored.
    jobs: [...randomJobs('randread', 0), ...randomJobs('randwrite', 0), ...randomJobs('randwrite', 64)],
  },
  {
    id: 'sequential-128k',
    title: '128 KiB, in RAM',
    where: 'ram',
    fillBlockBytes: mebibyte,
    servers: [...ours, 'protocol-alone', ...peersInRam],
    jobs: sequentialJobs(128 * kibibyte, 32),
  },
  {
    id: 'sequential-1m',
    title: '1 MiB and nbdcopy, in RAM',
    where: 'ram',
    fillBlockBytes: mebibyte,
    servers: [...ours, 'protocol-alone', ...peersInRam],
    jobs: [
      ...sequentialJobs(mebibyte, 4),
      { kind: 'copy', id: 'nbdcopy-out', title: 'nbdcopy of the volume to null:', direction: 'out' },
      { kind: 'copy', id: 'nbdcopy-in', title: 'nbdcopy of a file into the volume', direction: 'in' },
    ],
  },
  {
    id: 'disk',
    title: '4 KiB writes, on disk',
    where: 'disk',
    fillBlockBytes: 4 * kibibyte,
    servers: [...ours, ...peersOnDisk, 'raw-file'],
    jobs: [
      fioJob('randwrite', 4 * kibibyte, 1, { flushEvery: 1, prefix: 'disk-' }),
      fioJob('randwrite', 4 * kibibyte, 32, { prefix: 'disk-' }),
      fioJob('randwrite', 4 * kibibyte, 32, { flushEvery: 32, prefix: 'disk-' }),
      fioJob('randwrite', 4 * kibibyte, 32, { flushEvery: 64, prefix: 'disk-' }),
    ],
  },
];

/** `--quick`: 4 KiB at depth 32 and 1 MiB, against the two that encrypt. */
const quickServers: readonly ServerId[] = ['caisson', 'nbdkit-luks', 'qemu-luks'];
const quickJobs = ['4k-randread-d32', '4k-randwrite-d32', '1m-read-d4', '1m-write-d4'];

/** The groups that are left with `--quick` and `--only`, without those that became empty. */
export function selectGroups(quick: boolean, only: RegExp | undefined): JobGroup[] {
  return groups
    .map((group) => ({
      ...group,
      servers: group.servers.filter((server) => !quick || quickServers.includes(server)),
      jobs: group.jobs.filter(({ id }) => (!quick || quickJobs.includes(id)) && (only === undefined || only.test(id))),
    }))
    .filter(({ jobs, servers }) => jobs.length > 0 && servers.length > 0);
}

/** The bare file knows one job; the rest is for servers. */
export function runsOn(job: Job, server: ServerId): boolean {
  return server !== 'raw-file' || (job.kind === 'fio' && job.flushEvery === 1);
}

/** Other servers keep no trace of how they were filled, so they are filled the fast way. */
export function fillBlockBytesOf({ fillBlockBytes }: JobGroup, server: ServerId): number {
  return server.startsWith('caisson') && server !== 'caisson-32k' ? fillBlockBytes : mebibyte;
}

/** What a job may write or read, bytes: fast servers end there, slow ones with the clock. */
export function jobBytesMax(job: FioJob): number {
  return (job.blockBytes >= 64 * kibibyte ? 2048 : 1024) * mebibyte;
}
