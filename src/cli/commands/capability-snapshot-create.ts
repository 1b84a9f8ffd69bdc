/** `caisson capability snapshot-create FILE SNAPSHOT`. */
import { checkSnapshotName } from '../../lib/names.ts';
import { showingOf } from '../capability-options.ts';
import type { RunCommand } from '../command.ts';

export const run: RunCommand = async (context, [file = '', snapshot = ''], options) => {
  checkSnapshotName(snapshot);
  const tools = await (await context.local()).capabilities();
  const taken = await tools.createSnapshot(showingOf(file, options), snapshot);
  const how = taken.frozen ? '; its file system was clean at that moment' : '';
  context.output.result(taken, () => `took ${snapshot} (${taken.id}), manifest ${taken.manifestNumber}${how}`);
};
