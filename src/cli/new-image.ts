/** `caisson volume create NAME --protection hashed --from SOURCE`: an image with a root instead of a key. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { CaissonError } from '../lib/errors.ts';
import { formatBytes } from '../lib/sizes.ts';
import type { CommandContext, CommandOptions } from './command.ts';
import { namesKey, textOption } from './keys.ts';
import { longWork } from './long-work.ts';
import { absoluteStore } from './new-volume.ts';
import { shellWord } from './shell-word.ts';

export async function createImage(context: CommandContext, name: string, options: CommandOptions): Promise<void> {
  const from = sourceOf(options);
  const store = textOption(options, 'store');
  const { operations } = await context.local();
  const report = await longWork(context, `hashing ${name}`, (onProgress, signal) =>
    operations.createHashedVolume(
      { name, from, ...(store === undefined ? {} : { store: absoluteStore(store) }) },
      onProgress,
      signal,
    ),
  );
  const { volume, root, imageBytes, dataBytes, bytesWritten, objectsShared } = report;
  context.output.result(report, () => {
    const shared = objectsShared === 0 ? '' : `, ${objectsShared} objects were there already`;
    return [
      `created ${name}: hashed volume of ${formatBytes(imageBytes)}, ${formatBytes(dataBytes)} of data in whole units, in ${volume.store}`,
      `not secret: whoever reaches the store can read it; written ${formatBytes(bytesWritten)}${shared}`,
      `root ${root}`,
      `next: caisson mount ${name} DIRECTORY; elsewhere: caisson volume adopt ${name} --store ${shellWord(volume.store)} --root ${root}`,
    ].join('\n');
  });
}

function sourceOf(options: CommandOptions): string {
  const from = textOption(options, 'from');
  if (from === undefined)
    throw refused(
      'a hashed volume is made --from something',
      'Give a directory, an image file or a block device with --from.',
    );
  if (textOption(options, 'size') !== undefined)
    throw refused('a hashed volume has the size of its source', 'Leave out --size.');
  if (namesKey(options)) throw refused('a hashed volume has no key: its root is public', 'Leave out the key options.');
  if (existsSync(from)) return resolve(from);
  throw new CaissonError('invalid', 'import-source-missing', `there is no ${from}`, {
    remedy: 'Check the path given with --from.',
  });
}

function refused(message: string, remedy: string): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', message, { remedy });
}
