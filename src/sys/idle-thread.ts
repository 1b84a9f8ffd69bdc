/**
 * Scheduling of a thread that should run only when nobody else wants to: SCHED_IDLE, which a nice value
 * does not reach. A waking thread of any other kind takes its processor at once.
 */
import { Region } from '../lib/region.ts';
import { native, pin } from './native.ts';

const SCHED_IDLE = 5;

/** Makes the calling thread an idle one; false where the system or this Node does not allow it. */
export function becomeIdleThread(): boolean {
  if (process.platform !== 'linux' || native === undefined) return false;
  try {
    const { functions } = native.dlopen(null, {
      sched_setscheduler: { arguments: ['i32', 'i32', 'pointer'], return: 'i32' },
    });
    // struct sched_param { int sched_priority = 0; }; thread id 0 is the calling thread.
    return functions.sched_setscheduler(0, SCHED_IDLE, pin(new Region(64))) === 0;
  } catch {
    return false;
  }
}
