/** `caisson key ls NAME`. */
import { checkName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { printable, table } from '../output.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = '']) => {
  const operations = await operationsFor(context, checkName(name));
  const listed = await operations.listKeys({ name });
  context.output.result(listed, () =>
    table([
      ['SLOT', 'KIND', 'DESCRIPTION'],
      ...listed.slots.map(({ slot, kind, description }) => [String(slot), kind, printable(description)]),
    ]),
  );
};
