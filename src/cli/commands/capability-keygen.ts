/** `caisson capability keygen FILE`. */
import { resolve } from 'node:path';
import type { RunCommand } from '../command.ts';

export const run: RunCommand = async (context, [file = '']) => {
  const tools = await (await context.local()).capabilities();
  const made = tools.generateKey(resolve(file));
  context.output.note(`${made.path} is a new key of a holder; whoever gives it something needs this public key:`);
  context.output.result(made, () => made.publicKey);
};
