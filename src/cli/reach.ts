/** Which Caisson carries an operation out: the daemon where it holds the volume or a snapshot of it open, else this process. */
import type { Operations } from '../admin/operations.ts';
import { CaissonError } from '../lib/errors.ts';
import { parseReference } from '../lib/names.ts';
import type { CommandContext } from './command.ts';

export async function operationsFor(context: CommandContext, name: string): Promise<Operations> {
  const daemon = await context.daemon();
  if (daemon !== undefined) {
    const { volumes } = await daemon.status({});
    if (volumes.some((volume) => parseReference(volume.name).name === name)) return daemon;
  }
  return (await context.local()).operations;
}

export async function requireDaemon(context: CommandContext): Promise<Operations> {
  const daemon = await context.daemon();
  if (daemon !== undefined) return daemon;
  throw new CaissonError('transient', 'daemon-unreachable', 'no daemon is running', {
    remedy: 'Start one with "caisson serve NAME", or use "caisson mount", which starts its own.',
  });
}
