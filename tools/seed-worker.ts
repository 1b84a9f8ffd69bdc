/** The child process of seed-workers.ts: runs one job at a time and answers with its outcome. */
import { pathToFileURL } from 'node:url';
import type { SeedJob, SeedOutcome } from './seed-workers.ts';

type SeedFunction = (seed: number, iterations: number) => unknown;

async function run({ module, name, seed, iterations }: SeedJob): Promise<SeedOutcome> {
  try {
    const loaded = (await import(pathToFileURL(module).href)) as Record<string, SeedFunction | undefined>;
    const call = loaded[name];
    if (call === undefined) throw new Error(`${module} exports no function ${name}`);
    return { seed, result: await call(seed, iterations) };
  } catch (error) {
    return { seed, failure: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

process.on('message', (job: SeedJob) => {
  void run(job).then((outcome) => process.send?.(outcome));
});
