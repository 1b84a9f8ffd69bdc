/** `caisson capability open FILE`. */
import { CaissonError } from '../../lib/errors.ts';
import { showingOf } from '../capability-options.ts';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';

export const run: RunCommand = async (context, [file = ''], options) => {
  const tools = await (await context.local()).capabilities();
  const snapshot = textOption(options, 'snapshot');
  const isOverNetwork = options['tcp'] === true;
  if (isOverNetwork && snapshot !== undefined)
    throw new CaissonError('invalid', 'argument-invalid', '--tcp serves what the capability names, not --snapshot', {
      remedy: 'Narrow the capability to the snapshot first, with --of-snapshot.',
    });
  const showing = showingOf(file, options);
  const opened = await (isOverNetwork ? tools.serve(showing) : tools.open(showing, snapshot));
  context.output.result(opened, () => opened.uri);
};
