/**
 * Lets a mounted file system stand still: everything written to it goes to its device and it is marked clean,
 * and whoever writes to it waits. By fsfreeze(8) and not by ioctl, since the freezing writes through the
 * process that serves the device, which may be this one.
 *
 * Invariant: what was frozen here is thawed, also when this process dies: a helper waits for the end of its
 * standard input, which the kernel brings about, and thaws then.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Clock } from '../lib/clock.ts';
import { freezeMillisecondsMax } from '../lib/limits.ts';
import type { ToolRunner } from './run-tool.ts';

export interface Frozen {
  /** Resolves to whether it stood still until now. */
  thaw(): Promise<boolean>;
}

export interface FreezeTools {
  readonly run: ToolRunner;
  readonly clock: Clock;
  readonly log: (level: 'warn', message: string, details: Readonly<Record<string, unknown>>) => void;
}

/** Undefined where the file system, the rights or the system do not allow it. */
export async function freezeFileSystem(directory: string, tools: FreezeTools): Promise<Frozen | undefined> {
  const { run, clock, log } = tools;
  const helper = await startHelper(directory);
  if (helper === undefined) return undefined;
  try {
    const { status, errorText } = await run('fsfreeze', ['--freeze', directory], { clock });
    if (status !== 0) {
      log('warn', 'the file system cannot be frozen', { directory, error: errorText });
      helper.kill('SIGKILL'); // it must not thaw what somebody else froze
      return undefined;
    }
  } catch (error) {
    // Killed for taking too long, it may yet have frozen it.
    log('warn', 'the file system was not frozen in time', { directory, error: String(error) });
    helper.stdin?.end();
    return undefined;
  }
  let inTime = true;
  const cancel = clock.after(freezeMillisecondsMax, () => {
    inTime = false;
    log('warn', 'a snapshot takes long: the file system goes on', { directory });
    helper.stdin?.end();
  });
  return {
    async thaw() {
      cancel();
      helper.stdin?.end();
      if (helper.exitCode === null && helper.signalCode === null) await once(helper, 'exit');
      if (helper.exitCode !== 0) log('warn', 'the file system was not thawed', { directory, status: helper.exitCode });
      return inTime;
    },
  };
}

/** It says a line when it waits, so that nothing is frozen that nobody would thaw. */
async function startHelper(directory: string): Promise<ChildProcess | undefined> {
  const script = 'echo ready; read -r line; exec fsfreeze --unfreeze "$0"';
  const helper = spawn('/bin/sh', ['-c', script, directory], {
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    stdio: ['pipe', 'pipe', 'ignore'],
    cwd: '/',
    detached: true, // a Ctrl-C that ends this process must not end the helper before it thawed
  });
  helper.stdin?.on('error', () => undefined);
  const started = await Promise.race([
    once(helper.stdout, 'data').then(() => true),
    once(helper, 'exit').then(() => false),
    once(helper, 'error').then(() => false),
  ]).catch(() => false);
  return started ? helper : undefined;
}
