/** `caisson attach NAME`, and `NAME@SNAPSHOT`. */
import { resolve } from 'node:path';
import { parseReference } from '../../lib/names.ts';
import type { RunCommand } from '../command.ts';
import { textOption, unlockingKey } from '../keys.ts';
import { protectionNote } from '../protection.ts';
import { requireDaemon } from '../reach.ts';

export const run: RunCommand = async (context, [name = ''], options) => {
  const { name: volume, snapshot } = parseReference(name);
  const daemon = await requireDaemon(context);
  const socket = textOption(options, 'socket');
  const credential = await unlockingKey(daemon, volume, options, snapshot !== undefined);
  const attached = await daemon.attachVolume({
    name,
    credential,
    readOnly: options['readOnly'] === true,
    ...(socket === undefined ? {} : { socket: resolve(socket) }),
  });
  context.output.result(attached, () => `serving ${name}${protectionNote(attached.protection)} at ${attached.uri}`);
};
