/** `caisson snapshot restore NAME SNAPSHOT`. */
import { checkName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { confirmByName } from '../confirm.ts';
import { unlockingKey } from '../keys.ts';
import { printable } from '../output.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = '', snapshot = ''], options) => {
  checkName(name);
  const operations = await operationsFor(context, name);
  // Before anybody is asked anything: what is not there cannot be restored.
  await operations.listKeys({ name });
  const loss = `What was written to ${name} since ${printable(snapshot)} will be lost, except in later snapshots`;
  await confirmByName(name, options, loss, 'restored');
  const credential = await unlockingKey(operations, name, options);
  const restored = await operations.restoreSnapshot({ name, snapshot, credential });
  context.output.result(
    restored,
    () => `${name} is again as it was at ${printable(restored.name)}; its other snapshots are still there`,
  );
};
