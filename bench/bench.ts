/**
 * `npm run bench`: Caisson beside the servers that people would otherwise use, the same jobs in the
 * same run, round by round in rotated order. What is measured and how: bench/README.md.
 */
import { randomFillSync } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { brokerLedgerFigures } from './broker-ledger.ts';
import { brokerReleaseFigures } from './broker-release.ts';
import { brokerServerFigures } from './broker-server.ts';
import { brokerVerifyFigures } from './broker-verify.ts';
import { cleaningFigures } from './cleaning.ts';
import { fillBlockBytesOf, runsOn, selectGroups } from './jobs.ts';
import type { Job, JobGroup, ServerId } from './jobs.ts';
import { describeMachine, missingPrograms } from './machine.ts';
import { fill, measure, repeatsMaxDefault } from './measure.ts';
import { microFigures } from './micro.ts';
import { mountFigures } from './mount.ts';
import { openFigures } from './open.ts';
import { parseOptions, usage } from './options.ts';
import type { BenchOptions } from './options.ts';
import { cleanUpAtExit, run, scratchFolder } from './processes.ts';
import { buildReport, markdownReport, missedTargets, textReport } from './report.ts';
import type { Figure, Report, Sample } from './report.ts';
import { s3Figures } from './s3.ts';
import { startTarget } from './servers.ts';
import { rotated } from './statistics.ts';

const programs = ['fio', 'nbdkit', 'qemu-nbd', 'qemu-img', 'nbdcopy', 'nbdinfo', 'nbdsh'];

class Bench {
  readonly #options: BenchOptions;
  readonly #ram: string;
  readonly #disk: string;
  readonly #sourceFile: string;
  readonly #samples: Sample[] = [];
  readonly #figures: Figure[] = [];
  readonly #failures: string[] = [];

  constructor(options: BenchOptions) {
    this.#options = options;
    this.#ram = scratchFolder(options.ramFolder);
    this.#disk = scratchFolder(options.diskFolder);
    this.#sourceFile = path.join(this.#ram, 'source');
  }

  async run(): Promise<Report> {
    const { quick, only, rounds, seconds, volumeBytes } = this.#options;
    const groups = selectGroups(quick, only);
    const machine = describeMachine();
    if (groups.some(({ jobs }) => jobs.some(({ kind }) => kind === 'copy'))) this.#writeSource();
    for (let round = 0; round < rounds; round++) {
      for (const group of groups) {
        for (const server of rotated(group.servers, round)) await this.#measureGroup(group, server, round);
      }
    }
    await this.#measureParts();
    const method = {
      rounds,
      'seconds a job': seconds,
      'volume MiB': volumeBytes / 2 ** 20,
      quick,
      only: only?.source ?? 'all',
    };
    const jobs = groups.flatMap((group) => group.jobs);
    return buildReport(machine, method, jobs, this.#samples, this.#figures, this.#failures);
  }

  /** A part that fails is told at the end; the others are still worth having. */
  async #measureGroup(group: JobGroup, server: ServerId, round: number): Promise<void> {
    const jobs = group.jobs.filter((job) => runsOn(job, server));
    if (jobs.length === 0) return;
    const parent = group.where === 'ram' ? this.#ram : this.#disk;
    const folder = fs.mkdtempSync(path.join(parent, `${server}-`));
    try {
      await this.#measureServer(group, server, round, folder, jobs);
    } catch (error) {
      this.#failed(`${group.id}, ${server}, round ${round + 1}`, error);
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  }

  async #measureServer(
    group: JobGroup,
    server: ServerId,
    round: number,
    folder: string,
    jobs: readonly Job[],
  ): Promise<void> {
    const { volumeBytes, seconds, quick } = this.#options;
    const repeatsMax = quick ? 0 : repeatsMaxDefault;
    const target = await startTarget(server, { folder, bytes: volumeBytes });
    try {
      await fill(target, volumeBytes, fillBlockBytesOf(group, server));
      // What the fill left in the page cache would otherwise be written under the first jobs.
      if (group.where === 'disk') await run('sync', ['-f', folder]);
      for (const job of jobs) {
        const options = { seconds, seed: round + 1, volumeBytes, folder, repeatsMax, sourceFile: this.#sourceFile };
        const measurement = await measure(job, target, options);
        this.#samples.push({ job: job.id, server, round, measurement });
        const { bytesPerSecond, operationsPerSecond, serverMicroseconds, othersPercent, disturbed } = measurement;
        const operations = operationsPerSecond === undefined ? '' : `, ${operationsPerSecond.toFixed(0)} op/s`;
        progress(
          `${round + 1} ${job.id} ${server}: ${(bytesPerSecond / 2 ** 20).toFixed(0)} MiB/s${operations}` +
            `, server ${serverMicroseconds.toFixed(1)} us/op, others ${othersPercent.toFixed(0)} %` +
            (disturbed ? ' DISTURBED' : ''),
        );
      }
    } finally {
      await target.stop();
    }
  }

  async #measureParts(): Promise<void> {
    const { quick, only, full, s3Server, rounds, seconds } = this.#options;
    const context = {
      ram: this.#ram,
      disk: this.#disk,
      full,
      s3Server,
      rounds,
      seconds,
      volumeBytes: this.#options.volumeBytes,
      wants: (id: string) => !quick && (only === undefined || only.test(id)),
      add: (figure: Figure) => {
        this.#figures.push(figure);
        const { id, value, unit, note } = figure;
        progress(`${id}: ${value.toFixed(1)} ${unit}${note === undefined ? '' : ` (${note})`}`);
      },
      failed: (part: string, error: unknown) => this.#failed(part, error),
    };
    await openFigures(context);
    await cleaningFigures(context);
    await mountFigures(context);
    await s3Figures(context);
    await brokerLedgerFigures(context);
    await brokerReleaseFigures(context);
    await brokerVerifyFigures(context);
    await brokerServerFigures(context);
    microFigures(context);
  }

  /** Random bytes, so that no server can make it easier for itself. */
  #writeSource(): void {
    const piece = new Uint8Array(2 ** 20);
    for (let offset = 0; offset < this.#options.volumeBytes; offset += piece.length) {
      randomFillSync(piece);
      fs.appendFileSync(this.#sourceFile, piece);
    }
  }

  #failed(part: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.#failures.push(`${part}: ${message}`);
    progress(`FAILED ${part}: ${message}`);
  }
}

/** Not on standard output, which is for the report. */
function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** A part of a run never takes the place of a whole one. */
function save(report: Report, options: BenchOptions): void {
  if (options.resultsFolder === '-') return;
  const isWhole = !options.quick && options.only === undefined;
  const folder = options.resultsFolder ?? path.join(import.meta.dirname, 'results');
  fs.mkdirSync(folder, { recursive: true });
  const name = `${report.machine.date.substring(0, 10)}-${report.machine.commit}${isWhole ? '' : options.quick ? '-quick' : '-part'}`;
  fs.writeFileSync(path.join(folder, `${name}.json`), `${JSON.stringify(report, undefined, 1)}\n`);
  if (isWhole) fs.writeFileSync(path.join(folder, 'latest.md'), markdownReport(report));
  progress(`written: ${path.join(folder, name)}.json${isWhole ? ' and latest.md' : ''}`);
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) {
    console.log(usage);
    return;
  }
  const missing = missingPrograms(programs);
  if (missing.length > 0) {
    throw new Error(
      `not installed: ${missing.join(', ')}; on Debian: apt install fio nbdkit qemu-utils libnbd-bin python3-libnbd`,
    );
  }
  cleanUpAtExit();
  const report = await new Bench(options).run();
  console.log(options.json ? JSON.stringify(report) : textReport(report));
  save(report, options);
  if (report.failures.length > 0) process.exitCode = 1;
  if (options.check && missedTargets(report).length > 0) process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 2;
}
