/** `caisson volume adopt NAME --store URL`. */
import { resolve } from 'node:path';
import { checkName } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';
import { absoluteStore } from './volume-create.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  checkName(name);
  const volumeId = textOption(options, 'id');
  const keyFile = textOption(options, 'keyFile');
  const { operations } = await context.local();
  const adopted = await operations.adoptVolume({
    name,
    store: absoluteStore(textOption(options, 'store') ?? ''),
    ...(volumeId === undefined ? {} : { volumeId: volumeId.toLowerCase() }),
    ...(keyFile === undefined ? {} : { key: { kind: 'key-file' as const, path: resolve(keyFile) } }),
  });
  context.output.result(adopted, () => `${name} is volume ${adopted.public.volumeId} in ${adopted.store}`);
};
