/** `caisson broker key-rotate`. */
import { resolve } from 'node:path';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';

export const run: RunCommand = async (context, _args, options) => {
  const [config, state, masterKey] = [
    textOption(options, 'config'),
    textOption(options, 'state'),
    textOption(options, 'to'),
  ];
  const tools = await (await context.broker()).rotation();
  const report = await tools.rotate({
    configurationFile: config === undefined ? undefined : resolve(config),
    stateFolder: state === undefined ? undefined : resolve(state),
    masterKey,
  });
  context.output.result(
    { ...report },
    () =>
      `rotated: ${report.keys} keys are wrapped below a new root key, rotation ${report.generation} of this broker\n` +
      'name the new master key in masterKey and start the broker again; backups from before still need the old one',
  );
};
