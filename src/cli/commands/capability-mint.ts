/** `caisson capability mint NAME`. */
import { resolve } from 'node:path';
import { checkName } from '../../lib/names.ts';
import { boundsOf, capabilityText } from '../capability-options.ts';
import type { RunCommand } from '../command.ts';
import { textOption, unlockingKey } from '../keys.ts';
import { operationsFor } from '../reach.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const now = Date.now();
  const { base = 0, length, rights = ['read'], notBefore = 0, expiresAt = 0, snapshot } = boundsOf(options, now);
  const tools = await (await context.local()).capabilities();
  const holder = tools.publicKey(textOption(options, 'holder') ?? '');
  const operations = await operationsFor(context, name);
  const credential = await unlockingKey(operations, name, options);
  const bounds = {
    ...{ base, rights, notBefore, expiresAt },
    ...(length === undefined ? {} : { length }),
    ...(snapshot === undefined ? {} : { snapshot }),
  };
  const { token } = await operations.mintCapability({ name, credential, grant: { ...bounds, holder } });
  const made = tools.save(token, resolve(textOption(options, 'out') ?? ''));
  context.output.result(made, () => capabilityText(made, now));
};
