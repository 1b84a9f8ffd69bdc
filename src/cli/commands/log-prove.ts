/** `caisson log prove FILE [INDEX]`. */
import type { RunCommand } from '../command.ts';
import { copyOf, countOf } from '../log-output.ts';

export const run: RunCommand = async (context, [file = '', index], options) => {
  const tools = await (await context.broker()).logs();
  const place = index === undefined ? undefined : countOf(index, 'the place of a line');
  context.output.verbatim(await tools.prove(copyOf(file, options), place));
};
