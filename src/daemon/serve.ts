/**
 * The life of a daemon: claim the runtime folder, open and export volumes, answer the admin socket,
 * reload on SIGHUP, stop on SIGTERM or SIGINT.
 *
 * Order of a stop: no new admin request, mounts undone, no new client, requests in flight finished
 * within a bound, each volume flushed, published and closed, exit code 0. A second signal ends the
 * process at once; what was acknowledged is durable even then.
 */
import fs from 'node:fs';
import type { ServeReady, ServeRequest, TcpRequest } from '../admin/operations.ts';
import { CaissonError } from '../lib/errors.ts';
import type { Folders } from '../lib/folders.ts';
import { listenAdmin } from '../admin/listen.ts';
import type { AdminServer } from '../admin/listen.ts';
import { loadConfiguration } from './configuration.ts';
import type { Configuration } from './configuration.ts';
import { DaemonControl } from './daemon-control.ts';
import type { Log } from './log.ts';
import { createOperations } from './operations.ts';
import type { ListenAddress, Parts } from './parts.ts';
import { makePrivateFolder } from './small-files.ts';
import { claimSocketPath } from './socket-path.ts';
import { exportOf, VolumeHost } from './volume-host.ts';
import type { VolumeNames } from './volume-names.ts';

export interface ServeContext {
  readonly parts: Parts;
  readonly names: VolumeNames;
  readonly folders: Folders;
  readonly version: string;
  readonly log: Log;
  /** undefined when another process holds it. */
  readonly lockRuntime: () => Promise<{ release(): Promise<void> } | undefined>;
}

export async function serve(context: ServeContext, request: ServeRequest): Promise<void> {
  const { folders, log } = context;
  const stopping = Promise.withResolvers<void>();
  const signals = watchSignals(context, stopping.resolve);
  makePrivateFolder(folders.runtime);
  const lock = await context.lockRuntime();
  if (lock === undefined) {
    throw new CaissonError(
      'fenced',
      'socket-in-use',
      `a daemon is running already with the folder ${folders.runtime}`,
      {
        remedy: 'Add the volume to it with "caisson attach NAME", or set CAISSON_RUNTIME to another folder.',
        details: { path: folders.runtime },
      },
    );
  }
  const host = new VolumeHost(context.parts, log.write);
  const control = createControl(context, host, request.background, stopping.resolve);
  let admin: AdminServer | undefined;
  let capabilities: AdminServer | undefined;
  try {
    await startVolumes(context, control, request);
    capabilities = await startCapabilities(context, control, request.capabilitySocket);
    admin = await startAdmin(context, control);
    signals.onReload((configuration) => reload(context, control, configuration));
    announce(request, {
      pid: process.pid,
      adminSocket: folders.adminSocket,
      tcp: host.tcp?.address,
      volumes: host.list().map(exportOf),
    });
    await stopping.promise;
    log.write('info', 'stopping', {});
  } finally {
    await stop([admin, capabilities], control, folders);
    signals.stop();
    await lock.release();
  }
  log.write('info', 'stopped', {});
}

function createControl(
  context: ServeContext,
  host: VolumeHost,
  background: boolean,
  requestStop: () => void,
): DaemonControl {
  const { parts, names, folders, version, log } = context;
  // After the answer has left: the client that asked for the stop is in flight itself.
  return new DaemonControl({
    parts,
    names,
    host,
    folders,
    version,
    background,
    log: log.write,
    requestStop: () => setImmediate(requestStop),
  });
}

async function startVolumes(
  { parts, log }: ServeContext,
  control: DaemonControl,
  request: ServeRequest,
): Promise<void> {
  const { configuration } = parts;
  const tcp = request.tcp ?? configuration.tcp;
  if (tcp !== undefined) {
    control.host.offerOn(await parts.listenNbd(tcpAddress(tcp), log.write));
  }
  const isListed = request.volumes.length === 0;
  if (isListed && configuration.volumes.length === 0 && !request.background) {
    throw new CaissonError('invalid', 'argument-invalid', 'no volume to serve', {
      remedy: 'Name one: "caisson serve NAME"; or list some under "volumes" in the configuration.',
    });
  }
  if (isListed && request.background) return;
  const volumes = isListed
    ? configuration.volumes.map((volume) => ({ ...volume, credential: undefined }))
    : request.volumes;
  // One after the other: unlocking with a passphrase takes a lot of memory on purpose.
  for (const volume of volumes) {
    const attached = await control.attach(volume, isListed ? 'configuration' : 'command');
    log.write('info', 'serving', { name: attached.name, socket: attached.socket, size: attached.size });
  }
}

async function startAdmin({ parts, names, folders, log }: ServeContext, control: DaemonControl): Promise<AdminServer> {
  const operations = createOperations({ parts, names, folders, log: log.write, daemon: control });
  let collect: Promise<() => Promise<string>> | undefined;
  const metrics = async (): Promise<string> => {
    collect ??= import('./metrics.ts').then(({ createMetrics }) => createMetrics(control.host, parts.storeCounts));
    return (await collect)();
  };
  const onError = (operation: string, error: unknown): void => log.write('warn', `${operation} failed`, { error });
  await claimSocketPath(folders.adminSocket);
  return listenAdmin(folders.adminSocket, { operations, metrics, onError });
}

async function startCapabilities(
  { parts, names, folders, log }: ServeContext,
  control: DaemonControl,
  socket: string | undefined,
): Promise<AdminServer | undefined> {
  if (socket === undefined) return undefined;
  const { listenForParts } = await import('./capability-listener.ts');
  const operations = createOperations({ parts, names, folders, log: log.write, daemon: control });
  const options = { parts, names, folders, control, operations, log: log.write, socket };
  const { server, exports } = await listenForParts(options);
  control.capabilities = exports;
  log.write('info', 'parts are opened by capability', { socket });
  return server;
}

/** TLS is required on TCP: leaving it out must be asked for by name. */
export function tcpAddress(tcp: TcpRequest | NonNullable<Configuration['tcp']>): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(tcp.listen);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) {
    throw new CaissonError('invalid', 'argument-invalid', `${JSON.stringify(tcp.listen)} is not host:port`, {
      remedy: 'Write 127.0.0.1:10809, [::1]:10809 or name:10809.',
    });
  }
  const host = match[1] ?? match[2] ?? '';
  const hasCertificate = tcp.tlsCertificate !== undefined && tcp.tlsKey !== undefined;
  if (!hasCertificate && tcp.pskFile === undefined) {
    if (tcp.insecureNoTls && tcp.tlsCertificate === undefined && tcp.tlsKey === undefined) {
      return { kind: 'tcp', host, port, tls: undefined };
    }
    throw new CaissonError(
      'invalid',
      'tls-required',
      'TCP without TLS would send the plaintext of the volume over the network',
      {
        remedy: 'Give --tls-cert and --tls-key, or --psk-file; --insecure-no-tls if nobody else can reach the port.',
      },
    );
  }
  if (tcp.insecureNoTls) {
    throw new CaissonError('invalid', 'argument-invalid', '--insecure-no-tls contradicts the TLS options', {
      remedy: 'Give one or the other.',
    });
  }
  const tls = {
    ...(tcp.tlsCertificate === undefined ? {} : { certificate: tcp.tlsCertificate }),
    ...(tcp.tlsKey === undefined ? {} : { key: tcp.tlsKey }),
    ...(tcp.tlsAuthority === undefined ? {} : { authority: tcp.tlsAuthority }),
    ...(tcp.pskFile === undefined ? {} : { pskFile: tcp.pskFile }),
  };
  return { kind: 'tcp', host, port, tls };
}

function announce(request: ServeRequest, ready: ServeReady): void {
  request.onReady(ready);
  if (request.readyDescriptor === undefined) return;
  try {
    fs.writeSync(request.readyDescriptor, 'ready\n');
    fs.closeSync(request.readyDescriptor);
  } catch (error) {
    throw new CaissonError('invalid', 'argument-invalid', `descriptor ${request.readyDescriptor} cannot be written`, {
      remedy: 'Give --ready-fd an open descriptor.',
      cause: error,
    });
  }
}

async function stop(
  servers: readonly (AdminServer | undefined)[],
  control: DaemonControl,
  folders: Folders,
): Promise<void> {
  try {
    for (const server of servers) await server?.close();
    await control.unmountAll();
  } finally {
    await control.host.closeAll();
    fs.rmSync(folders.adminSocket, { force: true });
  }
}

interface Signals {
  onReload(act: (configuration: Configuration) => Promise<void>): void;
  stop(): void;
}

function watchSignals({ folders, log }: ServeContext, requestStop: () => void): Signals {
  let stops = 0;
  let reloadAct: ((configuration: Configuration) => Promise<void>) | undefined;
  let reloading = Promise.resolve();
  const onStop = (): void => {
    stops += 1;
    if (stops === 1) return requestStop();
    log.write('warn', 'second signal: stopping at once', {});
    process.exit(1);
  };
  const onHangUp = (): void => {
    reloading = reloading
      .then(async () => reloadAct?.(await loadConfiguration(folders.configurationFile)))
      .catch((error: unknown) =>
        log.write('error', 'the configuration was not reloaded; the old one stays', { error }),
      );
  };
  process.on('SIGTERM', onStop).on('SIGINT', onStop).on('SIGHUP', onHangUp);
  return {
    onReload: (act) => {
      reloadAct = act;
    },
    stop: () => {
      process.off('SIGTERM', onStop).off('SIGINT', onStop).off('SIGHUP', onHangUp);
    },
  };
}

/** The log level, TLS files and the list of volumes; what a person asked for by name stays as it is. */
async function reload({ log }: ServeContext, control: DaemonControl, configuration: Configuration): Promise<void> {
  log.setLevel(configuration.logLevel);
  await attempt(log, 'tls', async () => control.host.reloadTls());
  const listed = new Set(configuration.volumes.map(({ name }) => name));
  for (const { name, by } of control.host.list()) {
    if (by === 'configuration' && !listed.has(name)) await attempt(log, name, () => control.detach(name));
  }
  for (const volume of configuration.volumes) {
    if (control.host.get(volume.name) === undefined) {
      await attempt(log, volume.name, () => control.attach({ ...volume, credential: undefined }, 'configuration'));
    }
  }
  log.write('info', 'configuration reloaded', { volumes: control.host.list().map(({ name }) => name) });
}

/** One volume that cannot be opened must not keep the others from it. */
async function attempt(log: Log, name: string, change: () => Promise<unknown>): Promise<void> {
  try {
    await change();
  } catch (error) {
    log.write('error', 'a part of the configuration did not take effect', { name, error });
  }
}
