/** `caisson policy test PLACE...`. */
import { relative, resolve } from 'node:path';
import type { RunCommand } from '../command.ts';
import { ExitCode } from '../exit-code.ts';
import { printable } from '../output.ts';

export const run: RunCommand = async (context, places) => {
  const tools = await (await context.broker()).policies();
  const report = await tools.test(places.map((place) => resolve(place)));
  const cases = report.cases.map((one) => ({ ...one, failure: one.failure ?? null }));
  context.output.result({ ...report, cases }, () => {
    const lines = report.cases.map(({ file, line, name, failure }) =>
      failure === undefined ? `ok      ${name}` : `FAILED  ${name}\n        ${relative('', file)}:${line}: ${failure}`,
    );
    return printable([...lines, `${report.passed} passed, ${report.failed} failed`].join('\n'));
  });
  return report.failed === 0 ? ExitCode.good : ExitCode.general;
};
