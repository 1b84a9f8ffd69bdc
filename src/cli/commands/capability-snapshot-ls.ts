/** `caisson capability snapshot-ls FILE`. */
import { showingOf, snapshotLine } from '../capability-options.ts';
import type { RunCommand } from '../command.ts';
import { table } from '../output.ts';

export const run: RunCommand = async (context, [file = ''], options) => {
  const tools = await (await context.local()).capabilities();
  const answer = await tools.snapshots(showingOf(file, options));
  context.output.result(answer, () =>
    table([['NAME', 'TAKEN', 'MANIFEST', 'ID'], ...answer.snapshots.map(snapshotLine)]),
  );
};
