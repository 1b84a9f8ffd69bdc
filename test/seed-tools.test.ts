/** The simulator's and the fuzzer's runners report a failing and a dying seed, and say how to replay it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';

const folder = mkdtempSync(join(tmpdir(), 'caisson-seed-tools-'));
after(() => rmSync(folder, { recursive: true }));

function run(
  tool: string,
  file: string,
  code: string,
  ...options: string[]
): { status: number | null; output: string } {
  const path = join(folder, file);
  writeFileSync(path, code);
  const environment = { ...process.env, CAISSON_SIMULATION: path, CAISSON_FUZZ_TARGETS: folder };
  const script = resolve(import.meta.dirname, '../tools', tool);
  const child = spawnSync(process.execPath, [script, ...options], { env: environment, encoding: 'utf8' });
  return { status: child.status, output: child.stdout + child.stderr };
}

test('sim: all seeds pass, once each', () => {
  const code = 'export const simulate = async (seed) => ({ digest: String(seed), steps: 2 });';
  const { status, output } = run('sim.ts', 'good.ts', code, '--seeds', '20', '--from', '5');
  assert.equal(status, 0, output);
  assert.match(output, /20 passed, 0 failed \(seeds 5 to 24, 40 steps/);
});

test('sim: a failing seed is named with its replay line', () => {
  const code =
    "export const simulate = async (seed) => { if (seed === 7) throw new Error('lost a block'); return { digest: '', steps: 1 }; };";
  const { status, output } = run('sim.ts', 'bad.ts', code, '--seeds', '20');
  assert.equal(status, 1);
  assert.match(output, /lost a block/);
  assert.match(output, /replay: npm run sim -- --seed 7/);
});

test('sim: a run that depends on more than its seed fails', () => {
  const code = 'export const simulate = async () => ({ digest: String(Math.random()), steps: 1 });';
  const { status, output } = run('sim.ts', 'random.ts', code, '--seeds', '2');
  assert.equal(status, 1);
  assert.match(output, /the same seed gave two digests/);
});

test('sim: too little time is a failure', () => {
  const code = "export const simulate = async () => ({ digest: '', steps: 1 });";
  const { status, output } = run('sim.ts', 'slow.ts', code, '--seeds', '1000000', '--minutes', '0.002');
  assert.equal(status, 1);
  assert.match(output, /the time was up after/);
});

test('fuzz: a seed that kills the process is named', () => {
  const code = "export function fuzz(seed) { if (seed % 3 === 0) process.kill(process.pid, 'SIGKILL'); }";
  const { status, output } = run('fuzz.ts', 'dying.fuzz.ts', code, 'dying', '--seconds', '5');
  assert.equal(status, 1);
  assert.match(output, /ended with SIGKILL/);
  const seed = /replay: npm run fuzz -- dying --seed (\d+)/.exec(output)?.[1] ?? '';
  assert.equal(Number(seed) % 3, 0);
  assert.match(run('fuzz.ts', 'dying.fuzz.ts', code, 'dying', '--seed', seed).output, new RegExp(`--seed ${seed}`));
});

test('fuzz: an unknown target lists the known ones', () => {
  const { status, output } = run('fuzz.ts', 'known.fuzz.ts', 'export function fuzz() {}', 'unknown');
  assert.equal(status, 1);
  assert.match(output, /there is no fuzz target unknown; there are: .*known/);
});
