/** `caisson volume clone NAME NEWNAME`. */
import { checkName } from '../../lib/names.ts';
import { formatBytes } from '../../lib/sizes.ts';
import type { RunCommand } from '../command.ts';
import { keyFromOptions, textOption, unlockingKey } from '../keys.ts';
import { protectionNote } from '../protection.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = '', newName = ''], options) => {
  checkName(name);
  checkName(newName);
  const operations = await operationsFor(context, name);
  const own = await keyFromOptions(options, true);
  const given = await keyFromOptions(options);
  const snapshot = textOption(options, 'snapshot');
  // The daemon has forgotten the secret that opened the parent: a clone under the same needs it again.
  const credential = given?.credential ?? (await unlockingKey(operations, name, {}, own === undefined));
  const key = (own ?? given)?.hint;
  const cloned = await operations.cloneVolume({
    name,
    newName,
    credential,
    ...(snapshot === undefined ? {} : { snapshot }),
    ...(own === undefined ? {} : { newCredential: own.credential }),
    ...(key === undefined ? {} : { key }),
  });
  const { public: shown } = cloned;
  const from = snapshot === undefined ? name : `${name}@${snapshot}`;
  const keys =
    own === undefined ? 'opens with the same key' : `has a key of its own, which opens nothing that ${name} writes now`;
  context.output.result(
    cloned,
    () =>
      `cloned ${from} to ${newName}${protectionNote(shown.protection)}: it shares ${formatBytes(shown.objectBytes)} and ${keys}\n` +
      `next: caisson mount ${newName} DIRECTORY, or caisson serve ${newName}`,
  );
};
