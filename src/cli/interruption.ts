/**
 * Ctrl-C and its kin, for commands that have something to undo: the first one asks the work to stop, and
 * what it undoes then is not cut short by a second.
 */
import { CaissonError } from '../lib/errors.ts';
import type { Output } from './output.ts';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface Interruption {
  readonly signal: AbortSignal;
  stop(): void;
}

export function watchSignals(output: Output, stopped: string): Interruption {
  const controller = new AbortController();
  const onSignal = (): void => {
    const isFirst = !controller.signal.aborted;
    controller.abort(new CaissonError('closed', 'cancelled', stopped));
    try {
      output.note(isFirst ? 'stopping, and cleaning up' : 'cleaning up, one moment');
    } catch {
      // The terminal is gone, which is what the signal said.
    }
  };
  for (const name of signals) process.on(name, onSignal);
  return {
    signal: controller.signal,
    stop: () => {
      for (const name of signals) process.off(name, onSignal);
    },
  };
}
