/** `caisson volume import-backup --from FILE --store URL`. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { CaissonError } from '../../lib/errors.ts';
import { formatBytes } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';
import { longWork } from '../long-work.ts';
import { absoluteStore } from '../new-volume.ts';
import { shellWord } from '../shell-word.ts';

export const run: RunCommand = async (context, _args, options) => {
  const from = textOption(options, 'from') ?? '';
  if (from === '-' && process.stdin.isTTY) {
    throw new CaissonError('invalid', 'argument-invalid', '--from - reads a pipe, and standard input is a terminal', {
      remedy: 'Pipe the backup in, or give its file.',
    });
  }
  if (from !== '-' && !existsSync(from)) {
    throw new CaissonError('invalid', 'import-source-missing', `there is no ${from}`, {
      remedy: 'Check the path given with --from.',
    });
  }
  const { operations } = await context.local();
  const store = absoluteStore(textOption(options, 'store') ?? '');
  const report = await longWork(
    context,
    'importing the backup',
    (onProgress, signal) =>
      operations.importBackup({ from: from === '-' ? from : resolve(from), store }, onProgress, signal),
    'nothing has changed for anybody; repeat it, and what arrived is skipped',
  );
  context.output.result(report, () => {
    const { volumeId, base, manifestNumber, createdObjects, presentObjects, bytes, wasPresent } = report;
    const outcome = wasPresent
      ? `${report.store} holds this state of volume ${volumeId} already`
      : `${report.store} holds volume ${volumeId} at manifest ${manifestNumber}`;
    const way = base === null ? 'a full backup' : `from manifest ${base}`;
    return (
      `${outcome} (${way}, ${formatBytes(bytes)}: ${createdObjects} objects new, ${presentObjects} there before)\n` +
      `to use it: caisson volume adopt NAME --store ${shellWord(report.store)} --id ${volumeId} --accept-missing-anchor`
    );
  });
};
