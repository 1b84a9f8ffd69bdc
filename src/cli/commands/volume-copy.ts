/** `caisson volume copy NAME NEWNAME --store URL`. */
import { checkName } from '../../lib/names.ts';
import { formatBytes } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { unlockingKey, withKeyWhenNeeded } from '../keys.ts';
import { longWork } from '../long-work.ts';
import { newVolume, noteCleared } from '../new-volume.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [source = '', name = ''], options) => {
  checkName(source);
  checkName(name);
  const operations = await operationsFor(context, source);
  const unlocking = await unlockingKey(operations, source, options);
  const volume = await newVolume(operations, name, options, true);
  const report = await withKeyWhenNeeded(source, unlocking, (sourceCredential) =>
    longWork(context, `copying ${source}`, (onProgress, signal) =>
      operations.copyVolume({ ...volume, source, sourceCredential }, onProgress, signal),
    ),
  );
  noteCleared(context.output, name, report);
  context.output.result(
    report,
    () =>
      `copied ${source} to ${name}: ${formatBytes(report.sourceBytes)}, of which ${formatBytes(report.writtenBytes)} hold data, in ` +
      `${report.volume.store}\nboth hold the same: sparse SHA-256 ${report.sha256}`,
  );
};
