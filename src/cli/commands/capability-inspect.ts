/** `caisson capability inspect FILE`. */
import { resolve } from 'node:path';
import { capabilityText } from '../capability-options.ts';
import type { RunCommand } from '../command.ts';

export const run: RunCommand = async (context, [file = '']) => {
  const tools = await (await context.local()).capabilities();
  const found = tools.inspect(resolve(file));
  context.output.result(found, () => capabilityText(found, Date.now()));
};
