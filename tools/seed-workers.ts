/**
 * Runs a function of a module once per seed, spread over child processes.
 *
 * A child that dies or exceeds its time counts as a failure of the seed it was given, so a crash of
 * native code or an endless loop still names its seed. The pool stops at the first failure.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';

export interface SeedJob {
  readonly module: string;
  readonly name: string;
  readonly seed: number;
  readonly iterations: number;
}

export interface SeedOutcome {
  readonly seed: number;
  readonly result?: unknown;
  readonly failure?: string;
}

export interface SeedRun {
  readonly module: string;
  readonly name: string;
  readonly iterations: number;
  /** The next seed, or undefined when there is nothing left to start. */
  readonly nextSeed: () => number | undefined;
  readonly processes: number;
  readonly seedSecondsMax: number;
  readonly onOutcome: (outcome: SeedOutcome) => void;
}

/** Resolves with the first failure, or with undefined when every seed passed. */
export async function runSeeds(run: SeedRun): Promise<SeedOutcome | undefined> {
  let failure: SeedOutcome | undefined;
  async function work(): Promise<void> {
    const child = fork(join(import.meta.dirname, 'seed-worker.ts'), {
      execArgv: ['--disable-warning=ExperimentalWarning', '--expose-gc'],
    });
    try {
      for (let seed = run.nextSeed(); seed !== undefined && failure === undefined; seed = run.nextSeed()) {
        const outcome = await runOne(child, run, seed);
        run.onOutcome(outcome);
        if (outcome.failure !== undefined) failure ??= outcome;
      }
    } finally {
      child.kill('SIGKILL');
    }
  }
  await Promise.all(Array.from({ length: run.processes }, work));
  return failure;
}

function runOne(child: ChildProcess, run: SeedRun, seed: number): Promise<SeedOutcome> {
  return new Promise((resolve) => {
    const timer = setTimeout(
      () => finish({ seed, failure: `no answer within ${run.seedSecondsMax} s` }),
      run.seedSecondsMax * 1000,
    );
    function finish(outcome: SeedOutcome): void {
      clearTimeout(timer);
      child.off('message', onMessage);
      child.off('exit', onExit);
      resolve(outcome);
    }
    function onMessage(message: unknown): void {
      finish(message as SeedOutcome);
    }
    function onExit(code: number | null, signal: string | null): void {
      finish({ seed, failure: `the process ended with ${signal ?? `exit code ${code}`}` });
    }
    child.on('message', onMessage);
    child.on('exit', onExit);
    const job: SeedJob = { module: run.module, name: run.name, seed, iterations: run.iterations };
    child.send(job);
  });
}
