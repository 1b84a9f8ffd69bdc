/** `caisson stop`: returns when the daemon has ended, so that what comes next finds its sockets and locks free. */
import { CaissonError } from '../../lib/errors.ts';
import { daemonStopMillisecondsMax } from '../../lib/limits.ts';
import type { RunCommand } from '../command.ts';
import { requireDaemon } from '../reach.ts';

const pollMilliseconds = 20;

export const run: RunCommand = async (context) => {
  const daemon = await requireDaemon(context);
  const { pid } = await daemon.status({});
  await daemon.stop({});
  const deadline = performance.now() + daemonStopMillisecondsMax;
  while (isRunning(pid)) {
    if (performance.now() > deadline) throw stillRunning(pid);
    await new Promise((resolve) => setTimeout(resolve, pollMilliseconds));
  }
  context.output.result({ pid }, () => `the daemon (process ${pid}) closed its volumes and ended`);
};

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function stillRunning(pid: number): CaissonError {
  return new CaissonError('transient', 'timeout', `the daemon (process ${pid}) is still closing its volumes`, {
    remedy: 'Look at its log; it ends by itself when everything is written.',
    details: { pid },
  });
}
