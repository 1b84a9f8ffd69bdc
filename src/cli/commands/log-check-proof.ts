/** `caisson log check-proof FILE`. */
import { resolve } from 'node:path';
import type { RunCommand } from '../command.ts';
import { entryText, keyOf, timeText } from '../log-output.ts';
import { printable } from '../output.ts';

export const run: RunCommand = async (context, [file = ''], options) => {
  const tools = await (await context.broker()).logs();
  const report = await tools.checkProof(resolve(file), keyOf(options));
  context.output.result(report, () => {
    const what =
      report.kind === 'inclusion'
        ? `the log of ${report.size} lines holds\n${entryText(report.entry)}`
        : `the log of ${report.size} lines continues that of ${report.from}`;
    const key = report.isKeyGiven ? '' : '   (from the proof itself: compare it with what the broker told you)';
    return printable(
      `${what}\nlog      ${report.log}\nkey      ${report.key}${key}\nsigned   ${timeText(report.time)}`,
    );
  });
};
