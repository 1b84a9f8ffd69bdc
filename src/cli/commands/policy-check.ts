/** `caisson policy check FILE...`. */
import { resolve } from 'node:path';
import type { RunCommand } from '../command.ts';
import { ExitCode } from '../exit-code.ts';
import { printable } from '../output.ts';
import { filesOf } from '../policy-output.ts';

const kindTexts = {
  policy: 'a good policy',
  'reference-values': 'good reference values',
  'policy-test': 'a good test file',
} as const;

export const run: RunCommand = async (context, files, options) => {
  const tools = await (await context.broker()).policies();
  const report = await tools.check(
    files.map((file) => resolve(file)),
    filesOf(options['references']),
  );
  const count = report.files.reduce((sum, { problems }) => sum + problems.length, 0);
  context.output.result({ good: count === 0, ...report }, () => {
    const lines = report.files.flatMap(({ file, kind, problems }, index) => {
      // As it was given: what an editor can jump to from here.
      const given = files[index] ?? file;
      if (problems.length === 0) return [`${given}: ${kindTexts[kind]}`];
      return problems.map(({ line, column, message }) => `${given}:${line}:${column}: ${message}`);
    });
    return printable(lines.join('\n'));
  });
  return count === 0 ? ExitCode.good : ExitCode.usage;
};
