/**
 * `npm test`: every test file and 300 seeds of the simulator.
 *
 *   npm test -- src/store test/tidy.test.ts     only these files or folders, no simulator
 *   npm run coverage                            the same with coverage of src/ and its thresholds
 *
 * The globs are explicit, because Node's default takes every file below a folder named `test`. With
 * CI=true a skipped test is a failure: what a test needs has to be there. Ends with one plain line.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { toolArguments } from './arguments.ts';
import { repositoryRoot } from './source-files.ts';

const testSecondsMax = 300;
const simulatorSeeds = 300;
/** Percent of `src/`; raised as the code gets there, never lowered. */
const coverageMin = { lines: 85, branches: 75, functions: 80 };

const { values, positionals } = toolArguments(import.meta.filename, {
  allowPositionals: true,
  options: { coverage: { type: 'boolean', default: false } },
});
process.chdir(repositoryRoot);

/** A test file that blocks its own thread does not hear the runner's time limit: it is killed a little later. */
const watchdogs = new Map<string, NodeJS.Timeout>();
function watch(file: string): void {
  const kill = (): void => {
    console.error(`${file} hangs after ${testSecondsMax + 10} s and is killed`);
    for (const id of childrenRunning(file)) process.kill(id, 'SIGKILL');
  };
  watchdogs.set(file, setTimeout(kill, (testSecondsMax + 10) * 1000));
}

/** The processes that this one started with `file` as an argument. */
function childrenRunning(file: string): number[] {
  const ids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return ids.filter((id) => isChildRunning(id, relative(repositoryRoot, file))).map(Number);
}

function isChildRunning(id: string, file: string): boolean {
  try {
    const parent = /^.*\) \S (\d+) /s.exec(readFileSync(`/proc/${id}/stat`, 'utf8'))?.[1];
    return parent === String(process.pid) && readFileSync(`/proc/${id}/cmdline`, 'utf8').split('\0').includes(file);
  } catch {
    return false; // it ended meanwhile
  }
}

const globs = positionals.length === 0 ? ['src/**/*.test.ts', 'test/**/*.test.ts'] : positionals.map(globOf);
const counts = { passed: 0, failed: 0, skipped: 0 };
const skippedInCi: string[] = [];

function globOf(path: string): string {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true ? `${path}/**/*.test.ts` : path;
}

const coverage = values.coverage
  ? {
      coverage: true,
      coverageIncludeGlobs: ['src/**'],
      coverageExcludeGlobs: ['src/**/*.test.ts'],
      lineCoverage: coverageMin.lines,
      branchCoverage: coverageMin.branches,
      functionCoverage: coverageMin.functions,
    }
  : {};

const events = run({
  globPatterns: globs,
  concurrency: availableParallelism(),
  timeout: testSecondsMax * 1000,
  execArgv: ['--disable-warning=ExperimentalWarning'],
  ...coverage,
});
events.on('test:dequeue', ({ name, file }) => {
  if (file !== undefined && resolve(name) === file) watch(file);
});
events.on('test:complete', ({ name, file }) => {
  if (file !== undefined && resolve(name) === file) clearTimeout(watchdogs.get(file));
});
events.on('test:summary', ({ file, counts: summary, success }) => {
  if (file !== undefined) return;
  counts.passed = summary.passed;
  counts.skipped = summary.skipped + summary.todo;
  counts.failed = summary.tests - summary.passed - counts.skipped;
  if (!success) process.exitCode = 1;
  if (!success && counts.failed === 0) console.error('coverage is below its threshold, see above');
});
events.on('test:pass', ({ name, skip, todo, file }) => {
  // Samples of evidence lie outside the repository: nobody who clones it has them (test/support/evidence-samples.ts).
  const isOutside = typeof skip === 'string' && skip.startsWith('no samples of evidence here');
  const isSkipped = (skip ?? false) !== false || (todo ?? false) !== false;
  if (isSkipped && !isOutside && process.env['CI'] === 'true') skippedInCi.push(`${file}: ${name}`);
});
for await (const text of events.compose(new spec())) process.stdout.write(text as string);

if (skippedInCi.length > 0) {
  console.error(`skipped, although CI=true:\n  ${skippedInCi.join('\n  ')}`);
  process.exitCode = 1;
}
if (positionals.length === 0) {
  const script = join(import.meta.dirname, 'sim.ts');
  const simulator = spawnSync(process.execPath, [script, '--seeds', String(simulatorSeeds)], { encoding: 'utf8' });
  process.stdout.write(simulator.stdout);
  process.stderr.write(simulator.stderr);
  const [, passed = '0', failed = '1'] = /(\d+) passed, (\d+) failed/.exec(simulator.stdout) ?? [];
  counts.passed += Number(passed);
  counts.failed += Number(failed);
  if (simulator.status !== 0) process.exitCode = 1;
}
if (counts.passed === 0) process.exitCode = 1;
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit();
