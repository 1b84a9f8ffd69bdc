/**
 * The speed that Caisson promises itself, as data: which ratio of which two measurements has to reach
 * which value. A ratio is always throughput of `ours` by throughput of `against` in the same round.
 */
import { technologies } from '../src/wire/evidence.ts';
import type { ServerId } from './jobs.ts';
import type { RatioSummary } from './statistics.ts';

export interface RatioTarget {
  readonly job: string;
  readonly ours: ServerId;
  readonly against: ServerId;
  readonly atLeast: number;
}

/** A single figure: most are times and sizes with an upper bound. */
export interface FigureTarget {
  readonly figure: string;
  readonly bound: 'at most' | 'at least';
  readonly value: number;
}

const luks = 'nbdkit-luks';
const qemu = 'qemu-luks';

/** job, against nbdkit file + luks, against qemu-nbd LUKS */
const againstLuks: readonly (readonly [string, number, number])[] = [
  ['4k-randread-d32', 1.4, 3.4],
  ['4k-randwrite-d32', 1.6, 3.9],
  ['4k-randread-4x32', 1.0, 4],
  ['4k-randwrite-4x32', 1.3, 4],
  ['disk-4k-randwrite-d32-flush32', 3, 4],
  ['disk-4k-randwrite-d1-flush1', 1.0, 1.0],
  ['4k-randread-d1', 0.9, 1.8],
  ['4k-randwrite-d1', 1.1, 1.8],
  ['128k-read-d32', 1.6, 3.6],
  ['1m-read-d4', 1.6, 3.6],
  ['128k-write-d32', 2.5, 4],
  ['1m-write-d4', 2.5, 4],
  ['nbdcopy-out', 1.3, 3],
  ['nbdcopy-in', 1.3, 3],
];

const sealedAgainstNoneMin = 0.8;

/** Sealed against unsealed holds on every line, so it is a rule and not a table. */
export function sealedAgainstNone(job: string): RatioTarget {
  return { job, ours: 'caisson', against: 'caisson-none', atLeast: sealedAgainstNoneMin };
}

export const ratioTargets: readonly RatioTarget[] = [
  ...againstLuks.flatMap(([job, nbdkitMin, qemuMin]): RatioTarget[] => [
    { job, ours: 'caisson', against: luks, atLeast: nbdkitMin },
    { job, ours: 'caisson', against: qemu, atLeast: qemuMin },
  ]),
  { job: '4k-randread-d32', ours: 'protocol-alone', against: 'nbdkit-memory', atLeast: 1.5 },
  { job: '4k-randwrite-d32', ours: 'protocol-alone', against: 'nbdkit-memory', atLeast: 1.0 },
  { job: '1m-read-d4', ours: 'protocol-alone', against: 'nbdkit-memory', atLeast: 1.1 },
  { job: '1m-write-d4', ours: 'protocol-alone', against: 'nbdkit-memory', atLeast: 1.1 },
  { job: '4k-randread-d32', ours: 'caisson-node-crypto', against: luks, atLeast: 0.9 },
  { job: '4k-randwrite-d32', ours: 'caisson-node-crypto', against: luks, atLeast: 0.9 },
  { job: 'disk-4k-randwrite-d32-flush32', ours: 'caisson-node-crypto', against: luks, atLeast: 2 },
  // "At most 1.3 x a raw write + fdatasync" in time is at least 1 / 1.3 of its rate.
  { job: 'disk-4k-randwrite-d1-flush1', ours: 'caisson', against: 'raw-file', atLeast: 1 / 1.3 },
];

const mebibyte = 1024 * 1024;

export const figureTargets: readonly FigureTarget[] = [
  { figure: 'start-milliseconds', bound: 'at most', value: 300 },
  { figure: 'open-empty-64tib-more-milliseconds', bound: 'at most', value: 50 },
  { figure: 'open-empty-64tib-resident-bytes', bound: 'at most', value: 120 * mebibyte },
  { figure: 'trim-2tib-nbd-milliseconds', bound: 'at most', value: 100 },
  { figure: 'trim-2tib-in-process-milliseconds', bound: 'at most', value: 100 },
  // 1 s plus 1.5 s a GiB: the figure is what is left after the second, by GiB.
  { figure: 'open-after-crash-milliseconds-per-gib', bound: 'at most', value: 1500 },
  { figure: 'map-bytes-per-random-tib', bound: 'at most', value: 2048 * mebibyte },
  { figure: 'cleaning-uploaded-per-byte', bound: 'at most', value: 2.5 },
  { figure: 'cleaning-space-after', bound: 'at most', value: 1.25 },
  { figure: 'broker-release-mlkem768-x25519', bound: 'at least', value: 500 },
  { figure: 'broker-release-x25519', bound: 'at least', value: 500 },
  { figure: 'broker-release-p256', bound: 'at least', value: 500 },
  { figure: 'broker-advance', bound: 'at least', value: 5_000 },
  { figure: 'broker-ledger-sqlite-512', bound: 'at least', value: 5_000 },
  { figure: 'broker-start-milliseconds', bound: 'at most', value: 1_000 },
  { figure: 'broker-idle-resident-bytes', bound: 'at most', value: 150 * mebibyte },
  { figure: 'broker-load-resident-bytes', bound: 'at most', value: 150 * mebibyte },
  ...technologies.map((technology): FigureTarget => ({
    figure: `broker-verify-${technology}`,
    bound: 'at most',
    value: 10,
  })),
  { figure: 'mount-1m-read-ratio', bound: 'at least', value: 0.5 },
  { figure: 'mount-1m-write-ratio', bound: 'at least', value: 0.5 },
  ...[0, 10].flatMap((milliseconds): FigureTarget[] => [
    { figure: `s3-1m-write-ratio-${milliseconds}ms`, bound: 'at least', value: 0.8 },
    { figure: `s3-1m-read-ratio-${milliseconds}ms`, bound: 'at least', value: 0.8 },
    { figure: `s3-sequential-resident-bytes-${milliseconds}ms`, bound: 'at most', value: 256 * mebibyte },
    { figure: `s3-open-1tib-resident-bytes-${milliseconds}ms`, bound: 'at most', value: 256 * mebibyte },
    { figure: `s3-anchored-ratio-${milliseconds}ms`, bound: 'at least', value: 0.85 },
  ]),
  // "1 s plus round trips": the round trips are free with the server next door.
  { figure: 's3-open-1tib-0ms', bound: 'at most', value: 1000 },
  { figure: 's3-puts-per-gib', bound: 'at most', value: 70 },
  { figure: 's3-upload-ratio', bound: 'at most', value: 1.1 },
  { figure: 's3-cleaning-upload-ratio', bound: 'at most', value: 2.5 },
  { figure: 's3-cleaning-space-ratio', bound: 'at most', value: 1.25 },
  ...['snapshot', 'clone', 'erase'].flatMap((step) =>
    ['1gib', '100gib', '10tib'].flatMap((size): FigureTarget[] => [
      { figure: `s3-${step}-${size}-milliseconds`, bound: 'at most', value: 20 },
      { figure: `s3-${step}-${size}-round-trips`, bound: 'at most', value: 4 },
    ]),
  ),
];

export interface Verdict {
  readonly target: number | undefined;
  /** Undefined where nothing is promised or nothing was measured. */
  readonly met: boolean | undefined;
}

export function judgeRatio(
  targets: readonly RatioTarget[],
  job: string,
  ours: ServerId,
  against: ServerId,
  ratio: RatioSummary | undefined,
): Verdict {
  const found = targets.find((target) => target.job === job && target.ours === ours && target.against === against);
  const target = found ?? (ours === 'caisson' && against === 'caisson-none' ? sealedAgainstNone(job) : undefined);
  if (target === undefined) return { target: undefined, met: undefined };
  return { target: target.atLeast, met: ratio === undefined ? undefined : ratio.median >= target.atLeast };
}

export interface FigureVerdict extends Verdict {
  readonly bound: FigureTarget['bound'] | undefined;
}

export function judgeFigure(targets: readonly FigureTarget[], figure: string, value: number): FigureVerdict {
  const found = targets.find((target) => target.figure === figure);
  if (found === undefined) return { target: undefined, met: undefined, bound: undefined };
  const met = found.bound === 'at most' ? value <= found.value : value >= found.value;
  return { target: found.value, met, bound: found.bound };
}
