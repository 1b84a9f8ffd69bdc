/** `caisson key generate FILE`. */
import { resolve } from 'node:path';
import type { RunCommand } from '../command.ts';
import { keyFromOptions, namesKey, newKey } from '../keys.ts';

export const run: RunCommand = async (context, [file = ''], options) => {
  const { operations } = await context.local();
  const path = resolve(file);
  const second = await keyFromOptions(options, true);
  if (!namesKey(options) && second === undefined) {
    const made = await operations.generateKey({ path });
    const advice = "keep a copy where the store's operator cannot reach it";
    return context.output.result(made, () => `${made.path} is a new key file; ${advice}`);
  }
  const first = await newKey(options, `New passphrase for ${file}`);
  const credentials = [first.credential, ...(second === undefined ? [] : [second.credential])];
  const made = await operations.generateKey({ path, credentials });
  return context.output.result(made, () => `${made.path} is a new keystore; use it with --key keystore:${made.path}?…`);
};
