/** `caisson capability snapshot-rm FILE SNAPSHOT`. */
import { showingOf } from '../capability-options.ts';
import type { RunCommand } from '../command.ts';
import { printable } from '../output.ts';

export const run: RunCommand = async (context, [file = '', snapshot = ''], options) => {
  const tools = await (await context.local()).capabilities();
  const removed = await tools.removeSnapshot(showingOf(file, options), snapshot);
  context.output.result(removed, () => `removed ${printable(removed.name)} (${removed.id})`);
};
