/**
 * One listening NBD server of the daemon, over a unix socket or TCP. TLS material is read again on
 * reload: connections that exist keep theirs, new ones get the new, and files that cannot be used
 * leave the old in place.
 */
import { createNbdServer } from '../export/nbd/nbd.ts';
import type { NbdEvent, NbdServer, NbdTlsOptions } from '../export/nbd/nbd.ts';
import { checkTlsOptions } from '../export/nbd/tls.ts';
import { CaissonError } from '../lib/errors.ts';
import { configurationBytesMax, daemonDrainMillisecondsMax } from '../lib/limits.ts';
import type { VolumeLog } from '../volume/volume-types.ts';
import type { ListenAddress, NbdListener, TlsFiles } from './parts.ts';
import { readSmallFile } from './small-files.ts';
import { claimSocketPath } from './socket-path.ts';

const grace = { graceMilliseconds: daemonDrainMillisecondsMax };

export interface NbdListenerOptions {
  readonly spinMicroseconds: number;
  readonly log: VolumeLog;
}

export async function listenNbd(
  address: ListenAddress,
  { spinMicroseconds, log }: NbdListenerOptions,
): Promise<NbdListener> {
  const material = address.kind === 'tcp' && address.tls !== undefined ? new ReloadableTls(address.tls) : undefined;
  const server = createNbdServer({
    spinMicroseconds,
    log: (event) => logEvent(log, event),
    ...(material === undefined ? {} : { tls: 'require' as const, tlsMaterial: material }),
  });
  const listening = await listen(server, address);
  return {
    address: listening,
    usesTls: material !== undefined,
    add: (name, device, options) => server.addExport(name, { device, ...options }),
    remove: (name) => server.removeExport(name, grace),
    reloadTls: () => material?.reload(),
    close: () => server.close(grace),
  };
}

async function listen(server: NbdServer, address: ListenAddress): Promise<string> {
  if (address.kind === 'unix') {
    await claimSocketPath(address.path);
    await server.listen({ path: address.path, ...(address.mode === undefined ? {} : { mode: address.mode }) });
    return address.path;
  }
  const bound = await server.listen({ host: address.host, port: address.port });
  if ('path' in bound) return bound.path;
  return bound.host.includes(':') ? `[${bound.host}]:${bound.port}` : `${bound.host}:${bound.port}`;
}

/** The server asks for the material at each new connection, so replacing it here is enough. */
class ReloadableTls implements NbdTlsOptions {
  readonly #files: TlsFiles;
  #loaded: NbdTlsOptions;

  constructor(files: TlsFiles) {
    this.#files = files;
    this.#loaded = load(files);
  }

  get certificate(): NonNullable<NbdTlsOptions['certificate']> {
    return this.#loaded.certificate as NonNullable<NbdTlsOptions['certificate']>;
  }

  get clientCa(): NonNullable<NbdTlsOptions['clientCa']> {
    return this.#loaded.clientCa as NonNullable<NbdTlsOptions['clientCa']>;
  }

  get preSharedKey(): NonNullable<NbdTlsOptions['preSharedKey']> {
    return this.#loaded.preSharedKey as NonNullable<NbdTlsOptions['preSharedKey']>;
  }

  reload(): void {
    const loaded = load(this.#files);
    checkTlsOptions(loaded);
    this.#loaded = loaded;
  }
}

function load({ certificate, key, authority, pskFile }: TlsFiles): NbdTlsOptions {
  const keys = pskFile === undefined ? undefined : parsePskFile(readText(pskFile), pskFile);
  return {
    ...(certificate === undefined || key === undefined
      ? {}
      : { certificate: { cert: readText(certificate), key: readText(key) } }),
    ...(authority === undefined ? {} : { clientCa: readText(authority) }),
    ...(keys === undefined ? {} : { preSharedKey: (identity: string) => keys.get(identity) }),
  };
}

/** Lines of `identity:hex`, as GnuTLS's psktool writes them; blank lines and # comments are skipped. */
export function parsePskFile(text: string, file: string): ReadonlyMap<string, Uint8Array> {
  const keys = new Map<string, Uint8Array>();
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const match = /^([^:]{1,128}):((?:[0-9a-fA-F]{2}){16,64})\s*$/.exec(line);
    const [, identity, hex] = match ?? [];
    if (identity === undefined || hex === undefined) {
      throw new CaissonError(
        'invalid',
        'configuration-invalid',
        `${file}:${index + 1}: not a line of identity:hex with 16 to 64 bytes`,
        {
          remedy: 'Make one with: psktool -u IDENTITY -p FILE.',
          details: { file, line: index + 1 },
        },
      );
    }
    keys.set(identity, new Uint8Array(Buffer.from(hex, 'hex')));
  }
  if (keys.size > 0) return keys;
  throw new CaissonError('invalid', 'configuration-invalid', `${file} holds no pre-shared key`, {
    remedy: 'Make one with: psktool -u IDENTITY -p FILE.',
  });
}

function readText(file: string): string {
  const text = readSmallFile(file, configurationBytesMax);
  if (text !== undefined) return text;
  throw new CaissonError('invalid', 'configuration-invalid', `${file} does not exist`, {
    remedy: 'Correct the path in the TLS options or the configuration.',
    details: { file },
  });
}

function logEvent(log: VolumeLog, { event, ...details }: NbdEvent): void {
  const isTrouble = event === 'request-failed' || event === 'connection-failed' || event === 'connection-refused';
  log(isTrouble ? 'warn' : 'debug', event, details);
}
