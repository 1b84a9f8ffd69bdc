/** `caisson mount NAME DIRECTORY`, and `NAME@SNAPSHOT`. */
import { resolve } from 'node:path';
import type { Operations } from '../../admin/operations.ts';
import { parseReference } from '../../lib/names.ts';
import type { CommandContext, RunCommand } from '../command.ts';
import { textOption, unlockingKey } from '../keys.ts';
import { protectionNote } from '../protection.ts';
import { operationsFor, requireDaemon } from '../reach.ts';

export const run: RunCommand = async (context, [name = '', directory = ''], options) => {
  const { name: volume, snapshot } = parseReference(name);
  const running = await context.daemon();
  // Asked before a daemon is started, so that a wrong name or a refused prompt leaves none behind.
  const { operations } = await context.local();
  await (await operationsFor(context, volume)).listKeys({ name: volume });
  const credential = await unlockingKey(running ?? operations, volume, options, snapshot !== undefined);
  const makeFileSystem = textOption(options, 'mkfs') as 'ext4' | 'xfs' | 'btrfs' | undefined;
  const daemon = running ?? (await startDaemon(context));
  try {
    const mounted = await daemon.mountVolume({
      name,
      directory: resolve(directory),
      credential,
      readOnly: options['readOnly'] === true,
      force: options['force'] === true,
      mountOptions: (textOption(options, 'mountOptions') ?? '').split(',').filter((option) => option !== ''),
      ...(makeFileSystem === undefined ? {} : { makeFileSystem }),
    });
    context.output.result(mounted, () =>
      [
        ...mounted.notes,
        `mounted ${name}${protectionNote(mounted.protection)} (${mounted.fileSystem}) on ${mounted.directory} by ${mounted.via}`,
      ].join('\n'),
    );
  } catch (error) {
    if (running === undefined) await stopIfIdle(daemon);
    throw error;
  }
};

async function startDaemon(context: CommandContext): Promise<Operations> {
  await (await context.local()).startBackground();
  return requireDaemon(context);
}

/** It stops by itself once it held something; after a failed first mount it may not have. */
async function stopIfIdle(daemon: Operations): Promise<void> {
  try {
    const { volumes } = await daemon.status({});
    if (volumes.length === 0) await daemon.stop({});
  } catch {
    // Gone already, which is what was wanted; the error of the mount is the one to report.
  }
}
