/** The report of a demo: what `-o json` prints. Fields are only ever added (docs/demo.md). */
import type { BenchReport } from '../../admin/schema.ts';
import { formatBytes } from '../../lib/sizes.ts';
import { table } from '../output.ts';

/** How the files reach the volume; the best one that works is taken. */
export type WayName = 'mount' | 'nbd' | 'built-in';

export interface StepReport {
  readonly step: string;
  readonly title: string;
  readonly passed: boolean;
  readonly seconds: number;
  readonly detail: string;
}

export interface Rates {
  readonly sealedBytesPerSecond: number;
  readonly plainBytesPerSecond: number;
  readonly ratio: number;
}

export interface DemoReport {
  passed: boolean;
  way: WayName | null;
  /** Why not a better way, or what the way is. */
  wayReason: string;
  /** Where everything still lies (`--keep`), else null. */
  folder: string | null;
  seconds: number;
  steps: StepReport[];
  files: { count: number; bytes: number } | null;
  crash: {
    acknowledgedWrites: number;
    lostWrites: number;
    changedFiles: number;
    recoverySeconds: number;
    /** `not-run` where fsck.ext4 is missing or there is no file system. */
    fileSystemCheck: 'clean' | 'not-run';
  } | null;
  search: { needles: number; storeBytes: number; sealedHits: number; plainHits: number } | null;
  flip: { object: string; publicCodes: string[]; keyCodes: string[]; exitCode: number } | null;
  rollback: { openCode: string; openExitCode: number; freshness: string } | null;
  cost: { write: Rates; read: Rates; engine: BenchReport } | null;
  /** Of `--attested`. */
  attested: {
    registerCode: string;
    registerRule: string;
    rollbackCode: string;
    logEntries: number;
    releases: number;
    refusals: number;
    changedLogCode: string;
  } | null;
  failure: { step: string; kind: string; code: string; message: string; remedy: string | null } | null;
}

export function emptyReport(): DemoReport {
  return {
    passed: false,
    way: null,
    wayReason: '',
    folder: null,
    seconds: 0,
    steps: [],
    files: null,
    crash: null,
    search: null,
    flip: null,
    rollback: null,
    cost: null,
    attested: null,
    failure: null,
  };
}

export function ratesOf(bytes: number, sealedSeconds: number, plainSeconds: number): Rates {
  const round = (value: number): number => Math.round(value * 1000) / 1000;
  return {
    sealedBytesPerSecond: Math.round(bytes / sealedSeconds),
    plainBytesPerSecond: Math.round(bytes / plainSeconds),
    ratio: round(plainSeconds / sealedSeconds),
  };
}

/** The end of a demo that went well, for people. */
export function describeReport(report: DemoReport): string {
  if (report.attested !== null) return describeAttested(report, report.attested);
  return [
    '',
    costTable(report),
    `Every check held, in ${report.seconds.toFixed(0)} s.`,
    'Lost: nothing that was acknowledged. Found in the store: no plaintext. Changed byte and old copy: refused by name.',
    '',
    'Where to go next:',
    '  caisson doctor                                            what this machine can do',
    '  caisson volume create data --size 100GiB --store dir:/srv/caisson',
    '  caisson mount data /mnt/data --mkfs ext4                  or: caisson serve data',
    '  caisson volume verify data --public                       what anybody can check without a key',
  ].join('\n');
}

export function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

function describeAttested({ seconds }: DemoReport, attested: NonNullable<DemoReport['attested']>): string {
  const { releases, refusals, logEntries, registerRule } = attested;
  return [
    '',
    `Every check held, in ${seconds.toFixed(0)} s.`,
    `The key was released ${times(releases)}, each time for evidence, and refused ${times(refusals)} (${registerRule}).`,
    `An old copy of the store was refused, and the log shows all of it: ${logEntries} entries, verified.`,
    '',
    'The TPM was a program on this machine: it shows the way, and protects nothing. With a real one:',
    '  caisson doctor                                            what this machine can prove about itself',
    '  caisson broker run                                        on another machine',
    '  caisson policy example tpm > machine.yaml                 what it must have booted',
    '  caisson volume create data --size 10GiB --key broker:https://HOST:7443/TENANT/data --anchor broker',
  ].join('\n');
}

function costTable({ cost, way }: DemoReport): string {
  if (cost === null) return '';
  const row = (job: string, { sealedBytesPerSecond, plainBytesPerSecond, ratio }: Rates): string[] => [
    job,
    `${formatBytes(sealedBytesPerSecond)}/s`,
    `${formatBytes(plainBytesPerSecond)}/s`,
    ratio.toFixed(2),
  ];
  const rows = [
    ['JOB', 'SEALED', 'UNSEALED', 'RATIO'],
    row(`this demo, files written (${way})`, cost.write),
    row(`this demo, files read (${way})`, cost.read),
    // The sealer's own lines are in the JSON: without a volume around it they say little.
    ...cost.engine.results.filter(({ job }) => job.startsWith('volume')).map((result) => row(result.job, result)),
  ];
  return `What it cost here, measured once and in a hurry (sealer ${cost.engine.sealer}; a busy machine shows):\n${table(rows)}\n`;
}
