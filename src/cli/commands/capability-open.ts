/** `caisson capability open FILE`. */
import { resolve } from 'node:path';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';

export const run: RunCommand = async (context, [file = ''], options) => {
  const tools = await (await context.local()).capabilities();
  const opened = await tools.open(
    resolve(file),
    resolve(textOption(options, 'holderKey') ?? ''),
    resolve(textOption(options, 'socket') ?? ''),
  );
  context.output.result(opened, () => opened.uri);
};
