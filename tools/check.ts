/**
 * `npm run check`: everything that can be said about the code without running it. Runs every step,
 * prints the output of those that fail, and ends with exit code 1 when one did.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from './source-files.ts';

interface Step {
  readonly name: string;
  /** Below the root; run by this Node. */
  readonly script: string;
  readonly options: readonly string[];
}

const steps: readonly Step[] = [
  { name: 'types', script: 'node_modules/typescript/bin/tsc', options: ['--noEmit', '-p', '.'] },
  { name: 'lint', script: 'node_modules/oxlint/bin/oxlint', options: ['--type-aware', '--deny-warnings'] },
  { name: 'layers', script: 'tools/layers.ts', options: [] },
  { name: 'house rules', script: 'tools/tidy.ts', options: [] },
  { name: 'dead code', script: 'node_modules/knip/bin/knip.js', options: ['--no-progress'] },
  { name: 'format', script: 'node_modules/prettier/bin/prettier.cjs', options: ['--check', '.'] },
];

const wanted = process.argv.slice(2);
for (const { name, script, options } of steps) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const started = performance.now();
  const path = join(repositoryRoot, script);
  if (!existsSync(path)) throw new Error(`${script} is missing: run npm ci`);
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', path, ...options],
    {
      cwd: repositoryRoot,
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
    },
  );
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${status === 0 ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)`);
  if (status !== 0) {
    console.log(stdout + stderr);
    process.exitCode = 1;
  }
}
