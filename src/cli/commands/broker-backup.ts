/** `caisson broker backup`. */
import { resolve } from 'node:path';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';

export const run: RunCommand = async (context, _args, options) => {
  const tools = await (await context.broker()).backups();
  const file = resolve(String(options['to']));
  const report = await tools.backup(resolve(String(options['database'])), file, textOption(options, 'masterKey'));
  context.output.result(
    { file, ...report },
    () =>
      `${file} holds ${report.databaseBytes} bytes of database with a log of ${report.logSize} lines${report.isHeadSigned ? ', signed by its key' : ''}\n` +
      'the master key is not in it: without that key nothing in it can be opened',
  );
};
