/** From measurements to tables: medians, ratios, verdicts; as text, Markdown and JSON. Pure. */
import { serverTitles } from './jobs.ts';
import type { Job, ServerId } from './jobs.ts';
import type { MachineReport } from './machine.ts';
import type { Measurement } from './measure.ts';
import { median, ratiosOf } from './statistics.ts';
import type { RatioSummary } from './statistics.ts';
import { figureTargets, judgeFigure, judgeRatio, ratioTargets } from './targets.ts';
import type { FigureVerdict } from './targets.ts';

/** A measurement of a job, by its round. */
export interface Sample {
  readonly job: string;
  readonly server: ServerId;
  readonly round: number;
  readonly measurement: Measurement;
}

/** A single figure that is no throughput: a time, a size, a rate of one function. */
export interface Figure {
  readonly id: string;
  readonly title: string;
  readonly value: number;
  readonly unit: 'ms' | 'op/s' | 'MiB/s' | 'ratio' | 'bytes' | 'count';
  readonly note?: string;
}

export interface JobLine {
  readonly job: string;
  readonly title: string;
  readonly server: ServerId;
  readonly mebibytesPerSecond: number;
  readonly operationsPerSecond: number | undefined;
  readonly flushesPerSecond: number;
  readonly p50Microseconds: number | undefined;
  readonly p99Microseconds: number | undefined;
  readonly serverMicroseconds: number;
  readonly othersPercent: number;
  readonly rounds: number;
  readonly disturbedRounds: number;
}

export interface RatioLine {
  readonly job: string;
  readonly title: string;
  readonly ours: ServerId;
  readonly against: ServerId;
  readonly ratio: RatioSummary;
  readonly target: number | undefined;
  readonly met: boolean | undefined;
}

export interface FigureLine extends Figure, FigureVerdict {}

export interface Report {
  readonly machine: MachineReport;
  readonly method: Readonly<Record<string, unknown>>;
  readonly jobs: readonly JobLine[];
  readonly ratios: readonly RatioLine[];
  readonly figures: readonly FigureLine[];
  readonly failures: readonly string[];
  readonly samples: readonly Sample[];
}

/** Which pairs are put side by side. */
const pairs: readonly (readonly [ServerId, ServerId])[] = [
  ['caisson', 'nbdkit-luks'],
  ['caisson', 'qemu-luks'],
  ['caisson-32k', 'nbdkit-luks'],
  ['caisson-32k', 'qemu-luks'],
  ['caisson', 'caisson-none'],
  ['caisson', 'raw-file'],
  ['caisson-node-crypto', 'nbdkit-luks'],
  ['caisson-node-crypto', 'qemu-luks'],
  ['protocol-alone', 'nbdkit-memory'],
  ['caisson', 'nbdkit-memory'],
  ['caisson', 'qemu-raw'],
];

export function buildReport(
  machine: MachineReport,
  method: Readonly<Record<string, unknown>>,
  jobs: readonly Job[],
  samples: readonly Sample[],
  figures: readonly Figure[],
  failures: readonly string[],
): Report {
  const ratios: RatioLine[] = [];
  const lines: JobLine[] = [];
  for (const { id, title } of jobs) {
    const own = samples.filter(({ job }) => job === id);
    const servers = [...new Set(own.map(({ server }) => server))];
    const order = Object.keys(serverTitles);
    for (const server of servers.toSorted((left, right) => order.indexOf(left) - order.indexOf(right))) {
      lines.push(jobLine(id, title, server, own));
    }
    for (const [ours, against] of pairs) {
      const ratio = ratiosOf(ratesOf(own, ours), ratesOf(own, against));
      if (ratio === undefined) continue;
      ratios.push({ job: id, title, ours, against, ratio, ...judgeRatio(ratioTargets, id, ours, against, ratio) });
    }
  }
  const judged = figures.map((figure) => ({ ...figure, ...judgeFigure(figureTargets, figure.id, figure.value) }));
  return { machine, method, jobs: lines, ratios, figures: judged, failures, samples };
}

function ratesOf(samples: readonly Sample[], server: ServerId): Map<number, number> {
  return new Map(
    samples
      .filter((sample) => sample.server === server)
      .map(({ round, measurement }) => [round, measurement.bytesPerSecond]),
  );
}

function jobLine(job: string, title: string, server: ServerId, samples: readonly Sample[]): JobLine {
  const own = samples.filter((sample) => sample.server === server).map(({ measurement }) => measurement);
  const middle = (pick: (measurement: Measurement) => number | undefined): number | undefined => {
    const values = own.map(pick).filter((value) => value !== undefined);
    return values.length === 0 ? undefined : median(values);
  };
  return {
    job,
    title,
    server,
    mebibytesPerSecond: median(own.map(({ bytesPerSecond }) => bytesPerSecond / 2 ** 20)),
    operationsPerSecond: middle(({ operationsPerSecond }) => operationsPerSecond),
    flushesPerSecond: median(own.map(({ flushesPerSecond }) => flushesPerSecond)),
    p50Microseconds: middle(({ p50Microseconds }) => p50Microseconds),
    p99Microseconds: middle(({ p99Microseconds }) => p99Microseconds),
    serverMicroseconds: median(own.map(({ serverMicroseconds }) => serverMicroseconds)),
    othersPercent: median(own.map(({ othersPercent }) => othersPercent)),
    rounds: own.length,
    disturbedRounds: own.filter(({ disturbed }) => disturbed).length,
  };
}

/** Lines that promise something and do not keep it; a failed part keeps nothing either. */
export function missedTargets({ ratios, figures, failures }: Report): string[] {
  return [
    ...ratios
      .filter(({ met }) => met === false)
      .map(
        ({ job, ours, against, ratio, target }) =>
          `${job}: ${ours} / ${against} is ${ratio.median.toFixed(2)}, not ${target?.toFixed(2)}`,
      ),
    ...figures
      .filter(({ met }) => met === false)
      .map((line) => `${line.id}: ${valueText(line.unit, line.value)}, not ${boundText(line)}`),
    ...failures.map((failure) => `failed: ${failure}`),
  ];
}

function valueText(unit: Figure['unit'], value: number): string {
  if (unit === 'bytes') return `${(value / 2 ** 20).toFixed(1)} MiB`;
  if (unit === 'ratio') return value.toFixed(2);
  if (unit === 'count') return value.toFixed(1);
  return `${value.toFixed(value < 100 ? 1 : 0)} ${unit}`;
}

function boundText({ bound, target, unit }: FigureLine): string {
  return bound === undefined || target === undefined ? '' : `${bound} ${valueText(unit, target)}`;
}

export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Columns from this one on hold numbers. */
  readonly numbersFrom: number;
}

const number = (value: number | undefined, digits = 0): string =>
  value === undefined || Number.isNaN(value) ? '-' : value.toFixed(digits);

export function jobTable({ jobs }: Report): Table {
  return {
    head: ['job', 'server', 'MiB/s', 'op/s', 'flush/s', 'p50 us', 'p99 us', 'server us/op', 'others %', 'disturbed'],
    numbersFrom: 2,
    rows: jobs.map((line) => [
      line.title,
      serverTitles[line.server],
      number(line.mebibytesPerSecond),
      number(line.operationsPerSecond),
      number(line.flushesPerSecond),
      number(line.p50Microseconds, 1),
      number(line.p99Microseconds, 1),
      line.server === 'raw-file' ? '-' : number(line.serverMicroseconds, 2),
      number(line.othersPercent),
      line.disturbedRounds === 0 ? '' : `${line.disturbedRounds} of ${line.rounds}`,
    ]),
  };
}

export function ratioTable({ ratios }: Report): Table {
  return {
    head: ['job', 'ours', 'against', 'ratio', 'from', 'to', 'target', ''],
    numbersFrom: 3,
    rows: ratios.map(({ title, ours, against, ratio, target, met }) => [
      title,
      serverTitles[ours],
      serverTitles[against],
      number(ratio.median, 2),
      number(ratio.min, 2),
      number(ratio.max, 2),
      number(target, 2),
      verdict(met),
    ]),
  };
}

export function figureTable({ figures }: Report): Table {
  return {
    head: ['figure', 'value', 'target', '', 'note'],
    numbersFrom: 1,
    rows: figures.map((line) => [
      line.title,
      valueText(line.unit, line.value),
      boundText(line),
      verdict(line.met),
      line.note ?? '',
    ]),
  };
}

function verdict(met: boolean | undefined): string {
  return met === undefined ? '' : met ? 'met' : 'MISSED';
}

export function plainTable({ head, rows, numbersFrom }: Table): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) =>
        column < numbersFrom ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return [line(head), ...rows.map(line)].join('\n');
}

export function markdownTable({ head, rows, numbersFrom }: Table): string {
  const escape = (cell: string): string => cell.replaceAll('|', '\\|');
  const line = (cells: readonly string[]): string => `| ${cells.map(escape).join(' | ')} |`;
  return [
    line(head),
    `|${head.map((_, column) => (column < numbersFrom ? '---|' : '--:|')).join('')}`,
    ...rows.map(line),
  ].join('\n');
}

export function textReport(report: Report): string {
  const parts: string[] = [];
  if (report.jobs.length > 0) parts.push(plainTable(jobTable(report)), plainTable(ratioTable(report)));
  if (report.figures.length > 0) parts.push(plainTable(figureTable(report)));
  return [...parts, caveat, summary(report)].join('\n\n');
}

export const caveat =
  'The peers encrypt (LUKS) but have neither integrity nor freshness: they notice no changed block and no old copy.';

export function summary(report: Report): string {
  const judged = [...report.ratios, ...report.figures].filter(({ met }) => met !== undefined);
  const missed = missedTargets(report);
  const met = judged.filter((line) => line.met === true).length;
  return [`${met} of ${judged.length} targets met`, ...missed].join('\n');
}

export function markdownReport(report: Report): string {
  const { machine, method } = report;
  const peers = Object.entries(machine.peers).map(([name, version]) => `${name}: ${version}`);
  const facts = [
    `- date ${machine.date}, commit ${machine.commit}`,
    `- ${machine.cpu}, ${machine.cores} cores, ${(machine.memoryBytes / 2 ** 30).toFixed(0)} GiB; ${machine.kernel}; node ${machine.node}`,
    `- ${peers.join('; ')}`,
    `- ${Object.entries(method)
      .map(([name, value]) => `${name} ${String(value)}`)
      .join(', ')}`,
  ];
  const disturbed = report.jobs.reduce((total, line) => total + line.disturbedRounds, 0);
  return `# Latest benchmark

Written by \`npm run bench\`; how it measures is in [bench/README.md](../README.md).

${facts.join('\n')}
- ${disturbed} of ${report.samples.length} measurements were disturbed by other processes
- ${caveat}

## Targets

${summary(report).replaceAll('\n', '\n- ')}

## Ratios

Throughput by throughput, round by round; the median, the lowest and the highest round.
"${serverTitles.caisson}" is what the targets of 4 KiB jobs are about: the volume was filled by 4 KiB random
writes, as a database leaves it. "${serverTitles['caisson-32k']}" shows the other state.

${markdownTable(ratioTable(report))}

## Start, open, trim, recovery, parts

${markdownTable(figureTable(report))}

## Medians

${markdownTable(jobTable(report))}
`;
}
