/** `caisson key change NAME [SLOT]`. */
import type { Operations } from '../../admin/operations.ts';
import { CaissonError } from '../../lib/errors.ts';
import { checkName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { newKey, unlockingKey } from '../keys.ts';
import { operationsFor } from '../reach.ts';
import { parseSlot } from './key-rm.ts';

export const run: RunCommand = async (context, [name = '', slotText], options) => {
  const operations = await operationsFor(context, checkName(name));
  const slot = slotText === undefined ? await onlySlot(operations, name) : parseSlot(slotText);
  const credential = await unlockingKey(operations, name, options);
  const changed = await newKey(options, `New passphrase for ${name}`, true);
  const info = await operations.changeKey({
    name,
    credential,
    slot,
    newCredential: changed.credential,
    key: changed.hint,
  });
  context.output.result(
    info,
    () => `key ${info.slot} of ${name} is a new ${info.kind} now; the old one opens it no more`,
  );
};

async function onlySlot(operations: Operations, name: string): Promise<number> {
  const { slots } = await operations.listKeys({ name });
  const [first] = slots;
  if (slots.length === 1 && first !== undefined) return first.slot;
  throw new CaissonError('invalid', 'argument-invalid', `${name} has ${slots.length} keys`, {
    remedy: `Say which: ${slots.map(({ slot, kind }) => `${slot} (${kind})`).join(', ')}.`,
  });
}
