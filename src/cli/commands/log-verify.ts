/** `caisson log verify FILE`. */
import type { RunCommand } from '../command.ts';
import { copyOf, pathOf, verdictText } from '../log-output.ts';
import { printable } from '../output.ts';

export const run: RunCommand = async (context, [file = ''], options) => {
  const tools = await (await context.broker()).logs();
  const report = await tools.verify(copyOf(file, options), pathOf(options['saveHead']));
  context.output.result(report, () => {
    const kinds = Object.entries(report.kinds).map(([kind, count]) => `${kind} ${count}`);
    return printable(`the log holds\n${verdictText(report)}\n${kinds.join(', ')}`);
  });
};
