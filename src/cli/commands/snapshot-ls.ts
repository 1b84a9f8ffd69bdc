/** `caisson snapshot ls NAME`. */
import { checkName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { unlockingKey } from '../keys.ts';
import { relativesText, timeText } from '../lineage.ts';
import { printable, table } from '../output.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const operations = await operationsFor(context, name);
  const credential = await unlockingKey(operations, name, options);
  const answer = await operations.listSnapshots({ name, credential });
  context.output.result(answer, () => {
    const { snapshots } = answer;
    if (snapshots.length === 0) return `no snapshots; take one with "caisson snapshot create ${name} SNAPSHOT"`;
    const rows = snapshots.map((snapshot) => [
      printable(snapshot.name),
      timeText(snapshot.time),
      String(snapshot.manifestNumber),
      snapshot.id,
      relativesText(snapshot.clones),
    ]);
    return table([['NAME', 'TAKEN', 'MANIFEST', 'ID', 'CLONES'], ...rows]);
  });
};
