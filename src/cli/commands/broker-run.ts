/** `caisson broker run`. */
import { resolve } from 'node:path';
import { CaissonError } from '../../lib/errors.ts';
import type { RunCommand } from '../command.ts';
import { textOption } from '../keys.ts';

export const run: RunCommand = async (context, _args, options) => {
  const [config, state] = [textOption(options, 'config'), textOption(options, 'state')];
  const { run: runBroker } = await context.broker();
  await runBroker({
    configurationFile: config === undefined ? undefined : resolve(config),
    listen: textOption(options, 'listen'),
    stateFolder: state === undefined ? undefined : resolve(state),
    acceptsRollback: options['acceptRollback'] === true,
    readyDescriptor: descriptor(textOption(options, 'readyFd')),
    onReady: (ready) =>
      context.output.result({ ...ready, warnings: [...ready.warnings] }, () =>
        [
          ...ready.warnings.map((warning) => `warning: ${warning}`),
          `broker at ${ready.url}`,
          `identity ${ready.brokerId}`,
          ...(ready.authorityFile === undefined
            ? []
            : [`authority ${ready.authorityFile} (sha256 ${ready.authorityFingerprint ?? ''})`]),
          ...(ready.adminTokenFile === undefined ? [] : [`administrator's token in ${ready.adminTokenFile}`]),
          'ready',
        ].join('\n'),
      ),
  });
};

function descriptor(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,6}$/.test(text) && Number(text) > 2) return Number(text);
  throw new CaissonError('invalid', 'argument-invalid', `--ready-fd ${text} is not a descriptor above 2`, {
    remedy: 'Open one, such as --ready-fd 3 3>ready.',
  });
}
