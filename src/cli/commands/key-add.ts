/** `caisson key add NAME`. */
import { checkName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { newKey, unlockingKey } from '../keys.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  const operations = await operationsFor(context, checkName(name));
  const credential = await unlockingKey(operations, name, options);
  const added = await newKey(options, `New passphrase for ${name}`, true);
  const slot = await operations.addKey({ name, credential, newCredential: added.credential });
  context.output.result(slot, () => `${name} can be opened with key ${slot.slot} (${slot.kind}) too`);
};
