/** `caisson capability narrow FILE`. */
import { resolve } from 'node:path';
import { boundsOf, capabilityText } from '../capability-options.ts';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';

export const run: RunCommand = async (context, [file = ''], options) => {
  const now = Date.now();
  const bounds = boundsOf(options, now);
  const tools = await (await context.local()).capabilities();
  const made = tools.narrow(
    resolve(file),
    resolve(textOption(options, 'holderKey') ?? ''),
    textOption(options, 'to') ?? '',
    bounds,
    resolve(textOption(options, 'out') ?? ''),
  );
  context.output.result(made, () => capabilityText(made, now));
};
