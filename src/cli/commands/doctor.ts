/** `caisson doctor`. */
import type { RunCommand } from '../command.ts';
import { ExitCode } from '../exit-code.ts';
import { textOption } from '../keys.ts';
import { printable, table } from '../output.ts';

const marks = { good: 'ok', warning: 'warning', broken: 'BROKEN' } as const;

export const run: RunCommand = async (context, _words, options) => {
  const store = textOption(options, 'store');
  const report = await (await context.local()).operations.doctor(store === undefined ? {} : { store });
  context.output.result(report, () => {
    const rows = report.checks.map(({ name, result, message, remedy }) => [
      marks[result],
      printable(name),
      printable(remedy === null ? message : `${message}. ${remedy}`),
    ]);
    return `${table(rows)}\n${report.sound ? 'Caisson can work here' : 'Caisson cannot work here until what is BROKEN is put right'}`;
  });
  return report.sound ? ExitCode.good : ExitCode.unsupported;
};
