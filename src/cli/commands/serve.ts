/** `caisson serve [NAME...]`. */
import { resolve } from 'node:path';
import type { ServedVolume, TcpRequest } from '../../admin/operations.ts';
import { CaissonError } from '../../lib/errors.ts';
import { checkReference, parseReference } from '../../lib/names.ts';
import type { CommandOptions, RunCommand } from '../command.ts';
import { keyFromOptions, textOption, unlockingKey } from '../keys.ts';
import { protectionNote } from '../protection.ts';

export const run: RunCommand = async (context, names, options) => {
  names.forEach(checkReference);
  const socket = textOption(options, 'socket');
  if (socket !== undefined && names.length !== 1) {
    throw new CaissonError('invalid', 'argument-invalid', '--socket goes with exactly one name', {
      remedy: 'Give each volume its socket under "volumes" in the configuration.',
    });
  }
  const readyDescriptor = descriptor(textOption(options, 'readyFd'));
  const local = await context.local();
  const given = (await keyFromOptions(options))?.credential;
  const volumes: ServedVolume[] = [];
  for (const name of new Set(names)) {
    volumes.push({
      name,
      credential: given ?? (await unlockingKey(local.operations, parseReference(name).name, {})),
      socket: socket === undefined ? undefined : resolve(socket),
      readOnly: options['readOnly'] === true,
    });
  }
  const capabilitySocket = textOption(options, 'capabilitySocket');
  await local.serve({
    volumes,
    capabilitySocket: capabilitySocket === undefined ? undefined : resolve(capabilitySocket),
    tcp: tcpRequest(options),
    background: options['background'] === true,
    readyDescriptor,
    onReady: (ready) =>
      context.output.result({ ready: true, ...ready, tcp: ready.tcp ?? null }, () =>
        [
          ...ready.volumes.map(
            ({ name, uri, readOnly, protection }) =>
              `serving ${name}${protectionNote(protection)}${readOnly ? ' read-only' : ''} at ${uri}`,
          ),
          ...(ready.tcp === undefined ? [] : [`listening on ${ready.tcp}`]),
          'ready',
        ].join('\n'),
      ),
  });
};

function tcpRequest(options: CommandOptions): TcpRequest | undefined {
  const files = {
    tlsCertificate: textOption(options, 'tlsCert'),
    tlsKey: textOption(options, 'tlsKey'),
    tlsAuthority: textOption(options, 'tlsCa'),
    pskFile: textOption(options, 'pskFile'),
  };
  const listen = textOption(options, 'tcp');
  const given = Object.entries(files).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const insecureNoTls = options['insecureNoTls'] === true;
  if (listen !== undefined) {
    return { listen, insecureNoTls, ...Object.fromEntries(given.map(([key, path]) => [key, resolve(path)])) };
  }
  if (given.length === 0 && !insecureNoTls) return undefined;
  throw new CaissonError('invalid', 'argument-invalid', 'TLS options go with --tcp', {
    remedy: 'Give --tcp host:port as well.',
  });
}

function descriptor(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,6}$/.test(text) && Number(text) > 2) return Number(text);
  throw new CaissonError('invalid', 'argument-invalid', `--ready-fd ${text} is not a descriptor above 2`, {
    remedy: 'Open one, such as --ready-fd 3 3>ready.',
  });
}
