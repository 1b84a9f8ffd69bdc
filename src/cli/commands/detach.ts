/** `caisson detach NAME`. */
import { checkReference } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { requireDaemon } from '../reach.ts';

export const run: RunCommand = async (context, [name = '']) => {
  const daemon = await requireDaemon(context);
  await daemon.detachVolume({ name: checkReference(name) });
  context.output.result({ name }, () => `${name} is closed`);
};
