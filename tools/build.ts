/** `npm run build`: emits dist/ (JavaScript and types, no tests) with the compiler alone. */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from './source-files.ts';

rmSync(join(repositoryRoot, 'dist'), { recursive: true, force: true });
const compiler = join(repositoryRoot, 'node_modules/typescript/bin/tsc');
const { status } = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], {
  cwd: repositoryRoot,
  stdio: 'inherit',
});
process.exitCode = status ?? 1;
