/**
 * The deterministic simulator, many seeds at once:
 *
 *   npm run sim -- --seeds 300 [--from 1] [--minutes 20] [--processes 2]
 *   npm run sim -- --seed 4711        replays one seed
 *
 * Runs `simulate(seed)` of test/sim/simulation.ts. One seed is one run: the first is run a second time
 * and has to give the same digest. A failing seed prints its replay line. Ends with exit code 1 on a
 * failure, and when the time was up before all seeds were run.
 */
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { positiveNumber, toolArguments } from './arguments.ts';
import { runSeeds, type SeedOutcome } from './seed-workers.ts';

const seedSecondsMax = 120;
const progressSeconds = 5;
/** A test of this tool puts its own simulation here. */
const module = resolve(process.env['CAISSON_SIMULATION'] ?? `${import.meta.dirname}/../test/sim/simulation.ts`);

const { values } = toolArguments(import.meta.filename, {
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string', default: '300' },
    from: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '60' },
    processes: { type: 'string', default: String(availableParallelism()) },
  },
});

const from = Number(values.seed ?? values.from);
const wanted = values.seed === undefined ? positiveNumber('--seeds', values.seeds) : 1;
const started = performance.now();
const deadline = started + positiveNumber('--minutes', values.minutes) * 60_000;

let given = 0;
let done = 0;
let steps = 0;
let firstDigest = '';
let shown = started;

function nextSeed(): number | undefined {
  if (given >= wanted || performance.now() > deadline) return undefined;
  given += 1;
  return from + given - 1;
}

function onOutcome(outcome: SeedOutcome): void {
  if (outcome.failure !== undefined) return;
  const result = outcome.result as { digest: string; steps: number };
  done += 1;
  steps += result.steps;
  if (outcome.seed === from) firstDigest = result.digest;
  if (performance.now() - shown > progressSeconds * 1000) {
    shown = performance.now();
    console.log(`sim: ${done} of ${wanted} seeds, ${steps} steps, ${seconds()} s`);
  }
}

function seconds(): string {
  return ((performance.now() - started) / 1000).toFixed(1);
}

/** Undefined when seed `from` gives the same digest once more. */
async function replayFirst(): Promise<SeedOutcome | undefined> {
  const seeds = [from];
  let second = '';
  const failure = await runSeeds({
    ...{ module, name: 'simulate', iterations: 1, processes: 1, seedSecondsMax },
    nextSeed: () => seeds.pop(),
    onOutcome: ({ result }) => (second = (result as { digest: string } | undefined)?.digest ?? ''),
  });
  if (failure !== undefined || second === firstDigest) return failure;
  return { seed: from, failure: `the same seed gave two digests, ${firstDigest} and ${second}` };
}

const processes = Math.min(positiveNumber('--processes', values.processes), wanted);
let failure = await runSeeds({
  module,
  name: 'simulate',
  iterations: 1,
  nextSeed,
  processes,
  seedSecondsMax,
  onOutcome,
});
if (failure === undefined && done > 0) failure = await replayFirst();

if (failure !== undefined) {
  console.error(`sim: seed ${failure.seed} failed\n${failure.failure}\nreplay: npm run sim -- --seed ${failure.seed}`);
  process.exitCode = 1;
} else if (done < wanted) {
  console.error(`sim: the time was up after ${done} of ${wanted} seeds`);
  process.exitCode = 1;
}
console.log(
  `sim: ${done} passed, ${failure === undefined ? 0 : 1} failed (seeds ${from} to ${from + given - 1}, ${steps} steps, ${seconds()} s)`,
);
