/** `caisson key generate FILE`. */
import { resolve } from 'node:path';
import type { RunCommand } from '../command.ts';

export const run: RunCommand = async (context, [file = '']) => {
  const { operations } = await context.local();
  const made = await operations.generateKey({ path: resolve(file) });
  context.output.result(
    made,
    () => `${made.path} is a new key file; keep a copy where the store's operator cannot reach it`,
  );
};
