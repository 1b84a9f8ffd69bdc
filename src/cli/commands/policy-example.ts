/** `caisson policy example TECHNOLOGY`. */
import type { RunCommand } from '../command.ts';

export const run: RunCommand = async (context, [technology = '']) => {
  const tools = await (await context.broker()).policies();
  context.output.verbatim(await tools.example(technology));
};
