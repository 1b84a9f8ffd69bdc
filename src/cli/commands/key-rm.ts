/** `caisson key rm NAME SLOT`. */
import { CaissonError } from '../../lib/errors.ts';
import { checkName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { unlockingKey } from '../keys.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = '', slotText = ''], options) => {
  checkName(name);
  const slot = parseSlot(slotText);
  const operations = await operationsFor(context, name);
  const credential = await unlockingKey(operations, name, options);
  await operations.removeKey({ name, credential, slot });
  context.output.result({ name, slot }, () => `key ${slot} opens ${name} no more`);
};

export function parseSlot(text: string): number {
  if (/^\d{1,2}$/.test(text) && Number(text) <= 31) return Number(text);
  throw new CaissonError(
    'invalid',
    'argument-invalid',
    `${JSON.stringify(text.slice(0, 20))} is not the number of a key slot`,
    {
      remedy: 'Slots have the numbers 0 to 31; see "caisson key ls".',
    },
  );
}
