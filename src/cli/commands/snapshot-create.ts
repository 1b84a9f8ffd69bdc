/** `caisson snapshot create NAME SNAPSHOT`. */
import { checkName, checkSnapshotName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { unlockingKey } from '../keys.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = '', snapshot = ''], options) => {
  checkName(name);
  checkSnapshotName(snapshot);
  const operations = await operationsFor(context, name);
  const credential = await unlockingKey(operations, name, options);
  const taken = await operations.createSnapshot({ name, snapshot, credential });
  const how = taken.frozen ? '; its file system was clean at that moment' : '';
  context.output.result(taken, () => `took ${name}@${snapshot}, manifest ${taken.manifestNumber}${how}`);
};
