/** `caisson broker restore`. */
import { resolve } from 'node:path';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';
import { keyOf, timeText } from '../log-output.ts';

export const run: RunCommand = async (context, _args, options) => {
  const tools = await (await context.broker()).backups();
  const database = resolve(String(options['database']));
  const [key, masterKey] = [keyOf(options), textOption(options, 'masterKey')];
  const isHeadChecked = key !== undefined || masterKey !== undefined;
  const report = await tools.restore(resolve(String(options['from'])), database, key, masterKey);
  context.output.result(
    { database, ...report, isHeadChecked },
    () =>
      `${database} is as it was at ${timeText(report.time)}: a log of ${report.logSize} lines, every line checked\n` +
      (isHeadChecked
        ? 'the key of the log signed its head\n'
        : 'who made it was not checked: give --key or --master-key\n') +
      'a broker that keeps its log head elsewhere refuses it until it is started with --accept-rollback',
  );
};
