/**
 * Runs the fuzz targets test/fuzz/<name>.fuzz.ts:
 *
 *   npm run fuzz                                   every target, 10 s each
 *   npm run fuzz -- --total-seconds 60             every target, 60 s in all
 *   npm run fuzz -- segment-format --seconds 60    one target
 *   npm run fuzz -- segment-format --seed 4711     replays one round
 *
 * A target exports `fuzz(seed, iterations)` and depends on nothing but its seed. The starting seed is
 * printed; a failure prints its line to replay and ends with exit code 1.
 */
import { randomInt } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { positiveNumber, toolArguments } from './arguments.ts';
import { runSeeds } from './seed-workers.ts';

const iterationsPerRound = 200;
const roundSecondsMax = 60;
const seedMax = 2 ** 31;
const suffix = '.fuzz.ts';
/** A test of this tool puts its own targets here. */
const folder = resolve(process.env['CAISSON_FUZZ_TARGETS'] ?? `${import.meta.dirname}/../test/fuzz`);

const { values, positionals } = toolArguments(import.meta.filename, {
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '10' },
    'total-seconds': { type: 'string' },
    seed: { type: 'string' },
    iterations: { type: 'string', default: String(iterationsPerRound) },
  },
});

function targetNames(): string[] {
  const all = readdirSync(folder).filter((name) => name.endsWith(suffix));
  const names = all.map((name) => name.substring(0, name.length - suffix.length));
  const unknown = positionals.filter((wanted) => !names.includes(wanted));
  if (unknown.length > 0) {
    console.error(`there is no fuzz target ${unknown.join(', ')}; there are: ${names.join(', ')}`);
    process.exit(1);
  }
  return positionals.length > 0 ? positionals : names;
}

async function fuzzTarget(name: string): Promise<boolean> {
  const first = values.seed === undefined ? randomInt(seedMax) : Number(values.seed);
  const iterations = positiveNumber('--iterations', values.iterations);
  const deadline = performance.now() + secondsEach * 1000;
  let rounds = 0;
  const failure = await runSeeds({
    ...{
      module: resolve(folder, name + suffix),
      name: 'fuzz',
      iterations,
      processes: 1,
      seedSecondsMax: roundSecondsMax,
    },
    nextSeed: () => {
      const over = values.seed === undefined ? performance.now() > deadline && rounds > 0 : rounds > 0;
      return over ? undefined : first + rounds++;
    },
    onOutcome: () => undefined,
  });
  console.log(
    `fuzz ${name}: ${rounds} rounds of ${iterations} from seed ${first}: ${failure === undefined ? 'passed' : 'FAILED'}`,
  );
  if (failure === undefined) return true;
  const size = iterations === iterationsPerRound ? '' : ` --iterations ${iterations}`;
  console.error(`${failure.failure}\nreplay: npm run fuzz -- ${name} --seed ${failure.seed}${size}`);
  return false;
}

let passed = 0;
const names = targetNames();
const total = values['total-seconds'];
const secondsEach =
  total === undefined
    ? positiveNumber('--seconds', values.seconds)
    : positiveNumber('--total-seconds', total) / Math.max(names.length, 1);
for (const name of names) passed += (await fuzzTarget(name)) ? 1 : 0;
console.log(`fuzz: ${passed} passed, ${names.length - passed} failed`);
process.exitCode = passed === names.length && passed > 0 ? 0 : 1;
