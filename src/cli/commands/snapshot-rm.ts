/** `caisson snapshot rm NAME SNAPSHOT`. */
import { checkName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { unlockingKey } from '../keys.ts';
import { printable } from '../output.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = '', snapshot = ''], options) => {
  checkName(name);
  const operations = await operationsFor(context, name);
  const credential = await unlockingKey(operations, name, options);
  const removed = await operations.removeSnapshot({ name, snapshot, credential });
  context.output.result(
    removed,
    () => `removed ${name}@${printable(removed.name)}; what only it needed leaves the store`,
  );
};
