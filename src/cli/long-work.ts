/** Work that takes long: it shows its progress, and stops cleanly when it is interrupted; `kept` says what is left then. */
import type { OperationProgress } from '../admin/operations.ts';
import type { CommandContext } from './command.ts';
import { watchSignals } from './interruption.ts';

export async function longWork<Value>(
  { output }: CommandContext,
  title: string,
  work: (onProgress: OperationProgress, signal: AbortSignal) => Promise<Value>,
  kept = 'nothing of it was kept',
): Promise<Value> {
  const progress = await output.progress(title);
  const interruption = watchSignals(output, `${title} was stopped; ${kept}`);
  try {
    return await work((done, total, unit) => progress.update(done, total, unit), interruption.signal);
  } finally {
    interruption.stop();
    progress.stop();
  }
}
