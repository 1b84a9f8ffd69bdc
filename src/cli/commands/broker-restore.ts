/** `caisson broker restore`. */
import { resolve } from 'node:path';
import type { RunCommand } from '../command.ts';
import { keyOf, timeText } from '../log-output.ts';

export const run: RunCommand = async (context, _args, options) => {
  const tools = await (await context.broker()).backups();
  const database = resolve(String(options['database']));
  const report = await tools.restore(resolve(String(options['from'])), database, keyOf(options));
  context.output.result(
    { database, ...report },
    () =>
      `${database} is as it was at ${timeText(report.time)}: a log of ${report.logSize} lines, every line checked\n` +
      'a broker that keeps its log head elsewhere refuses it until it is started with --accept-rollback',
  );
};
