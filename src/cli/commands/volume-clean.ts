/** `caisson volume clean NAME`. */
import type { VolumeSpace } from '../../admin/schema.ts';
import { checkName } from '../../lib/names.ts';
import { formatBytes } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { ExitCode } from '../exit-code.ts';
import { unlockingKey } from '../keys.ts';
import { longWork } from '../long-work.ts';
import { printable, table } from '../output.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const operations = await operationsFor(context, name);
  const credential = await unlockingKey(operations, name, options);
  const report = await longWork(
    context,
    `cleaning ${name}`,
    (onProgress, signal) =>
      operations.cleanVolume({ name, credential, all: options['all'] === true }, onProgress, signal),
    'what was cleaned stays clean',
  );
  context.output.result(report, () =>
    [
      `cleaned ${name}: gave up ${report.segmentsCleaned} segments of ${formatBytes(report.cleanedBytes)}, for which ` +
        `${formatBytes(report.copiedBytes)} were sealed anew; ${report.orphansRemoved} orphans removed`,
      table(spaceRows(report.space)),
      ...report.findings.map(({ code, object, message }) => printable(`KEPT ${object}: ${code}: ${message}`)),
    ].join('\n'),
  );
  return report.findings.length > 0 ? ExitCode.tampered : ExitCode.good;
};

export function spaceRows(space: VolumeSpace): string[][] {
  const { rekey } = space;
  return [
    ['live', formatBytes(space.liveBytes)],
    ['dead', `${formatBytes(space.deadBytes)}, for cleaning to give back`],
    ['pinned', `${formatBytes(space.pinnedBytes)}, for snapshots and clones alone`],
    ...(rekey === null
      ? []
      : [
          [
            'rekey',
            `to key epoch ${rekey.keyEpoch}: ${formatBytes(rekey.bytesLeft)} of ${formatBytes(rekey.bytesAtStart)} left`,
          ],
        ]),
  ];
}
