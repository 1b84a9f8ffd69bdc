/** The daemon killed with SIGKILL under load: what a FLUSH acknowledged is there, in the order it was written. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { python, ServedVolume } from '../support/served-volume.ts';
import { requireFile, requireTool, runTool } from '../support/tools.ts';

const limit = { timeout: 150_000 };
const writerPath = fileURLToPath(new URL('../support/crash-writer.py', import.meta.url));
const writerMilliseconds = 60_000;

/** Segments and checkpoints so small that every kill hits several of them. */
const busyEngine = `
tuning:
  segmentBytesMax: 1MiB
  checkpointBytes: 2MiB
  checkpointMilliseconds: 40
`;

/** Writes until `progress` lines came, kills the daemon then, and waits for the writer to note what it was promised. */
async function writeAndKill(t: TestContext, volume: ServedVolume, seed: number, progress: number): Promise<void> {
  const parameters = [writerPath, 'write', volume.uri, volume.home.folder, String(seed)];
  const child = spawn(python, parameters, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: writerMilliseconds,
    killSignal: 'SIGKILL',
  });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  child.stderr.on('data', (piece: Buffer) => (said += piece.toString()));
  let printed = '';
  const far = new Promise<void>((resolve) => {
    child.stdout.on('data', (piece: Buffer) => {
      printed += piece.toString();
      if (printed.split('\n').length > progress + 1) resolve();
    });
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  await Promise.race([far, ended]);
  assert.equal(child.exitCode, null, `the writer is at work when the daemon is killed: ${said}`);
  await volume.kill();
  assert.equal(await ended, 0, said);
}

interface Verdict {
  readonly promised: number[];
  readonly kept: number[];
  readonly sent: number[];
}

async function checkPrefix(volume: ServedVolume): Promise<Verdict> {
  const parameters = [writerPath, 'check', volume.uri, volume.home.folder];
  const { stdout } = await volume.tool(python, parameters, { timeoutMilliseconds: writerMilliseconds });
  return JSON.parse(stdout) as Verdict;
}

for (const { what, options } of [
  { what: 'with the defaults', options: {} },
  {
    what: 'in the middle of checkpoints, FLUSH anchored',
    options: { configuration: busyEngine, durability: 'anchored' },
  },
] as const) {
  test(`three writers through three kills ${what}`, limit, async (t) => {
    if (!requireFile(t, python)) return;
    const volume = await ServedVolume.create(t, options);
    for (const [round, progress] of [2, 4, 1].entries()) {
      await writeAndKill(t, volume, 1000 + round, progress);
      await volume.start();
      const { promised, kept, sent } = await checkPrefix(volume);
      assert.ok(promised[0]! >= 50, 'something was promised');
      t.diagnostic(`round ${round}: promised ${promised.join(' ')}, kept ${kept.join(' ')}, sent ${sent.join(' ')}`);
    }
    await volume.assertSound();
    // The check itself can fail: one byte of one block, and a promise that nobody kept.
    await volume.python('handle = connect(); handle.pwrite(b"?", 5 * 1048576 + 17)');
    const parameters = [writerPath, 'check', volume.uri, volume.home.folder];
    const refused = await runTool(python, parameters, { timeoutMilliseconds: writerMilliseconds });
    assert.deepEqual([refused.status, /area 0: no prefix/.test(refused.stderr)], [1, true]);
  });
}

test(
  'fio verifies what it had synced, from the state it saved, after a kill amid the writes of another job',
  limit,
  async (t) => {
    if (!requireTool(t, 'fio')) return;
    const volume = await ServedVolume.create(t, { configuration: busyEngine });
    const { folder } = volume.home;
    const engine = ['--ioengine=nbd', `--uri=${volume.uri}`, '--rw=randwrite'];
    const checks = ['--verify=crc32c', '--verify_fatal=1', '--randseed=42'];
    const job = ['--name=saved', ...engine, ...checks, '--bssplit=4k/50:64k/50', '--size=24m', '--iodepth=16'];
    // After its two seconds fio saves what was answered, lets its jobs sync and end, and runs the trigger meanwhile.
    const trigger = volume.home.write('trigger', `sleep 1; kill -9 ${volume.served.child.pid}\n`);
    const stop = ['--trigger-timeout=2', `--trigger=sh ${trigger}`, `--aux-path=${folder}`];
    const repeats = ['--loops=1000', '--fsync=32', '--end_fsync=1', '--do_verify=0'];
    // Overwrites nothing of the first, but shares its segments, map pages and checkpoints.
    const noise = ['--name=noise', ...engine, '--bs=4k', '--offset=32m', '--size=32m', '--iodepth=8', '--fsync=64'];
    const other = runTool('fio', [...noise, '--time_based', '--runtime=60'], { folder, timeoutMilliseconds: 70_000 });
    const saved = await runTool('fio', [...job, ...repeats, ...stop], { folder, timeoutMilliseconds: 60_000 });
    const said = `${saved.stdout} ${saved.stderr}`;
    assert.equal((await volume.served.ended).code, null, `the trigger killed the daemon; fio: ${said}`);
    assert.notEqual((await other).status, 0, 'the other job was at work when the daemon was killed');
    assert.ok(statSync(volume.home.path('local-saved-0-verify.state')).size > 0, said);
    await volume.start();
    const { stdout } = await volume.tool('fio', [...job, '--verify_only', '--verify_state_load=1']);
    assert.match(stdout, /READ: .*io=[1-9]/, 'fio read back what the state says');
    await volume.assertSound();
  },
);
