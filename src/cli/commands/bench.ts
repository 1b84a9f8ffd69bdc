/** `caisson bench`. */
import { resolve } from 'node:path';
import { CaissonError } from '../../lib/errors.ts';
import { formatBytes } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';
import { table } from '../output.ts';

const secondsMin = 0.05;
const secondsMax = 60;

export const run: RunCommand = async (context, _args, options) => {
  const seconds = Number(textOption(options, 'seconds'));
  if (!(seconds >= secondsMin && seconds <= secondsMax)) {
    throw new CaissonError('invalid', 'argument-invalid', `--seconds takes ${secondsMin} to ${secondsMax}`, {
      remedy: 'Give a number, such as 0.5.',
    });
  }
  const folder = textOption(options, 'folder');
  const progress = await context.output.progress('measuring');
  try {
    const { operations } = await context.local();
    const report = await operations.bench(
      { seconds, ...(folder === undefined ? {} : { folder: resolve(folder) }) },
      (done, total, unit) => progress.update(done, total, unit),
    );
    progress.stop();
    context.output.result(report, () => {
      const rows = report.results.map(({ job, sealedBytesPerSecond, plainBytesPerSecond, ratio }) => [
        job,
        `${formatBytes(sealedBytesPerSecond)}/s`,
        `${formatBytes(plainBytesPerSecond)}/s`,
        ratio.toFixed(2),
      ]);
      return `sealer ${report.sealer}\n${table([['JOB', 'SEALED', 'UNSEALED', 'RATIO'], ...rows])}`;
    });
  } finally {
    progress.stop();
  }
};
