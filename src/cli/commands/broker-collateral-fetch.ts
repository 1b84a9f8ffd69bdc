/** `caisson broker collateral-fetch`. */
import { resolve } from 'node:path';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';
import { filesOf } from '../policy-output.ts';

export const run: RunCommand = async (context, _args, options) => {
  const tools = await (await context.broker()).collateral();
  const configuration = textOption(options, 'config');
  const report = await tools.fetch({
    configurationFile: configuration === undefined ? undefined : resolve(configuration),
    file: resolve(textOption(options, 'out') ?? ''),
    fmspcs: listOf(options['fmspc']),
    products: listOf(options['product']),
    evidenceFiles: filesOf(options['evidence']),
  });
  context.output.result({ ...report }, () =>
    [
      `${report.file} holds ${report.names.length} documents:`,
      ...report.names.map((name) => `  ${name}`),
      ...(report.missing.length === 0 ? [] : ['the vendor does not have:']),
      ...report.missing.map((name) => `  ${name}`),
    ].join('\n'),
  );
};

function listOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : [];
}
