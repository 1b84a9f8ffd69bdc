/** `caisson capability resize FILE --size SIZE`. */
import { formatBytes, parseVolumeSize } from '../../lib/sizes.ts';
import { showingOf } from '../capability-options.ts';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';

export const run: RunCommand = async (context, [file = ''], options) => {
  const size = parseVolumeSize(textOption(options, 'size') ?? '');
  const tools = await (await context.local()).capabilities();
  const resized = await tools.resize(showingOf(file, options), size);
  context.output.result(resized, () => `the part has ${formatBytes(resized.size)} now`);
};
