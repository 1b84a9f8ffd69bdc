/** The demo, run as a user runs it: every way, two at once, stopped in the middle, and made to fail. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { DemoReport } from '../src/cli/demo/report.ts';
import { requireFile, requireRoot, requireTool } from './support/tools.ts';

const launcher = fileURLToPath(new URL('../bin/caisson', import.meta.url));
const fewFiles = ['--files-max', '120'];
const demoMillisecondsMax = 150_000;

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Running {
  readonly pid: number;
  readonly ended: Promise<Ended>;
  /** Resolves when stderr has shown the text. */
  shows(text: string): Promise<void>;
}

function makeFolder(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'caisson-test-demo-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function start(args: readonly string[], environment: Record<string, string> = {}): Running {
  const child = spawn(launcher, ['demo', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
    timeout: demoMillisecondsMax,
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => (stdout += piece));
  child.stderr.setEncoding('utf8').on('data', (piece: string) => (stderr += piece));
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
  const shows = async (text: string): Promise<void> => {
    const seen = new Promise<void>((resolve) => {
      const look = (): void => {
        if (stderr.includes(text)) resolve();
      };
      child.stderr.on('data', look);
      look();
    });
    const failed = ended.then((outcome) => assert.fail(`ended before it showed "${text}": ${outcome.stderr}`));
    failed.catch(() => undefined);
    await Promise.race([seen, failed]);
  };
  assert.ok(child.pid !== undefined);
  return { pid: child.pid, ended, shows };
}

function reportOf({ stdout, stderr }: Ended): DemoReport {
  assert.equal(stdout.trim().split('\n').length, 1, `one line of JSON, not ${stdout} (${stderr})`);
  return JSON.parse(stdout) as DemoReport;
}

/** No file, no mount, no loop device, no process of the demo is left. */
function assertNothingLeft(folder: string): void {
  assert.deepEqual(fs.readdirSync(folder), []);
  assert.ok(!fs.readFileSync('/proc/self/mountinfo', 'utf8').includes(folder), 'a mount is left');
  for (const name of fs.readdirSync('/sys/block')) {
    const file = `/sys/block/${name}/loop/backing_file`;
    assert.ok(!readIfThere(file).includes(folder), `${name} is left`);
  }
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    // A daemon works in the folder, or logs into it.
    for (const link of ['cwd', 'fd/1', 'fd/2']) {
      assert.ok(!linkIfThere(`/proc/${pid}/${link}`).startsWith(`${folder}/`), `process ${pid} is left`);
    }
  }
}

function readIfThere(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function linkIfThere(file: string): string {
  try {
    return fs.readlinkSync(file);
  } catch {
    return '';
  }
}

const stepNames = ['collect', 'create', 'fill', 'kill', 'recover', 'search', 'flip', 'rollback', 'cost'];

function assertPassed(ended: Ended, way: string): DemoReport {
  const report = reportOf(ended);
  assert.equal(ended.code, 0, `${ended.stderr}${ended.stdout}`);
  assert.equal(ended.stderr, '');
  assert.equal(report.passed, true);
  assert.equal(report.failure, null);
  assert.equal(report.folder, null);
  assert.equal(report.way, way);
  assert.notEqual(report.wayReason, '');
  assert.deepEqual(
    report.steps.map(({ step }) => step),
    stepNames,
  );
  assert.ok(report.steps.every(({ passed, title, detail, seconds }) => passed && title && detail && seconds >= 0));
  const { files, crash, search, flip, rollback, cost } = report;
  assert.ok(files && crash && search && flip && rollback && cost);
  assert.ok(files.count > 50 && files.bytes > 100_000);
  assert.ok(crash.acknowledgedWrites >= 32);
  assert.equal(crash.lostWrites, 0);
  assert.equal(crash.changedFiles, 0);
  assert.ok(crash.recoverySeconds > 0);
  assert.equal(search.sealedHits, 0);
  assert.ok(search.needles > 10);
  assert.equal(search.plainHits, search.needles);
  assert.match(flip.object, /^[0-9a-f]{32}$/);
  assert.ok(flip.keyCodes.includes('unit-tampered'));
  assert.deepEqual(flip.publicCodes, ['digest-mismatch']);
  assert.equal(flip.exitCode, 5);
  assert.deepEqual(rollback, { openCode: 'rolled-back', openExitCode: 6, freshness: 'rolled-back' });
  for (const { sealedBytesPerSecond, plainBytesPerSecond, ratio } of [cost.write, cost.read, ...cost.engine.results]) {
    assert.ok(sealedBytesPerSecond > 0 && plainBytesPerSecond > 0 && ratio > 0);
  }
  return report;
}

describe('caisson demo', () => {
  it('runs with no arguments where it can mount, and leaves nothing', async (t) => {
    if (!requireRoot(t) || !requireFile(t, '/dev/fuse') || !requireTool(t, 'mkfs.ext4', 'fsck.ext4')) return;
    const folder = makeFolder(t);
    const ended = await start(['-o', 'json'], { TMPDIR: folder }).ended;
    const report = assertPassed(ended, 'mount');
    assert.equal(report.crash?.fileSystemCheck, 'clean');
    assertNothingLeft(folder);
  });

  it('runs over NBD with and without programs of the system, two at once', async (t) => {
    if (!requireTool(t, 'mkfs.ext4', 'fsck.ext4', 'debugfs', 'nbdcopy')) return;
    const folder = makeFolder(t);
    const common = ['--json', '--folder', folder, ...fewFiles];
    const runs = [start([...common, '--way', 'nbd']), start([...common, '--way', 'built-in'], { PATH: '/nowhere' })];
    const [image, bare] = await Promise.all(runs.map(({ ended }) => ended));
    assert.equal(assertPassed(image as Ended, 'nbd').crash?.fileSystemCheck, 'clean');
    assert.equal(assertPassed(bare as Ended, 'built-in').crash?.fileSystemCheck, 'not-run');
    assertNothingLeft(folder);
  });

  const failures = [
    { sabotage: 'files', step: 'recover', message: /^1 of \d+ files are not what they were$/ },
    { sabotage: 'search', step: 'search', message: /pieces of plaintext were found in the sealed store/ },
    { sabotage: 'flip', step: 'flip', message: /was changed, and verify ended with 0/ },
    { sabotage: 'old-copy', step: 'rollback', message: /an old copy of the store was put back, and the volume opened/ },
  ];
  for (const { sabotage, step, message } of failures) {
    it(`fails in its step "${step}" when that is sabotaged, and leaves nothing`, async (t) => {
      const folder = makeFolder(t);
      const args = ['--folder', folder, '--way', 'built-in', '--sabotage', sabotage, ...fewFiles, '-o', 'json'];
      const ended = await start(args).ended;
      const { passed, failure, steps } = reportOf(ended);
      assert.equal(ended.code, 70);
      assert.equal(passed, false);
      assert.equal(failure?.step, step);
      assert.equal(failure?.code, 'check-failed');
      assert.match(failure?.message ?? '', message);
      assert.ok(failure?.remedy);
      assert.equal(steps.at(-1)?.step, step);
      assert.equal(steps.at(-1)?.passed, false);
      assert.doesNotMatch(ended.stderr, /\n\s+at /);
      assertNothingLeft(folder);
    });
  }

  for (const [signal, shown] of [
    ['SIGINT', 'Collect files'],
    ['SIGTERM', 'Copy the files in'],
    ['SIGHUP', 'Kill the daemon'],
  ] as const) {
    it(`cleans up on ${signal} after "${shown}"`, async (t) => {
      const canMount = process.getuid?.() === 0 && fs.existsSync('/dev/fuse');
      const folder = makeFolder(t);
      const way = canMount ? [] : ['--way', 'built-in'];
      const running = start(['--folder', folder, ...way, ...fewFiles]);
      await running.shows(shown);
      process.kill(running.pid, signal);
      const { code, stdout, stderr } = await running.ended;
      assert.equal(code, 130, stderr);
      assert.equal(stdout, '');
      assert.match(stderr, /the demo was stopped/);
      assertNothingLeft(folder);
    });
  }

  it('keeps its folder when asked, with nothing running in it, and says how to look', async (t) => {
    const folder = makeFolder(t);
    const args = ['--folder', folder, '--keep', '--way', 'built-in', '--sabotage', 'files', ...fewFiles];
    const { code, stderr } = await start(args).ended;
    assert.equal(code, 70);
    assert.match(stderr, /the demo failed in its step "recover"/);
    assert.match(stderr, /what to do: /);
    const [kept = ''] = fs.readdirSync(folder);
    assert.match(stderr, new RegExp(`export CAISSON_STATE='${folder}/${kept}/state'`));
    assert.ok(fs.existsSync(path.join(folder, kept, 'stores', 'sealed')));
    fs.rmSync(path.join(folder, kept), { recursive: true });
    assertNothingLeft(folder);
  });

  it('refuses a folder that is not there, before anything else', async (t) => {
    const folder = path.join(makeFolder(t), 'missing');
    const { code, stderr } = await start(['--folder', folder]).ended;
    assert.equal(code, 2);
    assert.match(stderr, /no folder can be made in .*\n {2}what to do: /);
  });
});

const attestedTools = ['swtpm', 'swtpm_setup', 'swtpm_localca', 'tpm2_pcrextend'] as const;

describe('caisson demo --attested', () => {
  it('gives the key to a machine that proves itself, to no other, and shows all of it in the log', async (t) => {
    if (!requireTool(t, ...attestedTools)) return;
    const folder = makeFolder(t);
    const ended = await start(['--attested', '-o', 'json'], { TMPDIR: folder }).ended;
    const report = reportOf(ended);
    assert.equal(ended.code, 0, `${ended.stderr}${ended.stdout}`);
    assert.equal(report.passed, true);
    assert.deepEqual(
      report.steps.map(({ step }) => step),
      ['tpm', 'broker', 'create', 'open', 'register', 'reboot', 'rollback', 'log', 'forge'],
    );
    const { attested } = report;
    assert.ok(attested);
    assert.deepEqual(
      [attested.registerCode, attested.registerRule, attested.rollbackCode, attested.changedLogCode],
      ['policy-refused', 'profiles.machine.tpm.pcr.sha256.7', 'rolled-back', 'log-tampered'],
    );
    assert.ok(attested.releases >= 3 && attested.refusals >= 1 && attested.logEntries > 10);
    assertNothingLeft(folder);
  });

  for (const [sabotage, step] of [
    ['register', 'register'],
    ['old-copy', 'rollback'],
    ['log', 'forge'],
  ] as const)
    it(`fails when its step "${step}" breaks its promise`, async (t) => {
      if (!requireTool(t, ...attestedTools)) return;
      const folder = makeFolder(t);
      const ended = await start(['--attested', '--sabotage', sabotage, '-o', 'json'], { TMPDIR: folder }).ended;
      const report = reportOf(ended);
      assert.equal(ended.code, 70);
      assert.deepEqual([report.passed, report.failure?.step, report.failure?.code], [false, step, 'check-failed']);
      assertNothingLeft(folder);
    });
});
