/**
 * The NBD export: a server for block devices over unix sockets and TCP (spec/nbd.md).
 *
 * Owns the table of exports, the listening sockets and the connections. Several `listen` calls share
 * one server. Invariant: the server is closed when `close` has resolved: no socket, no timer, no call
 * into a device that a connection still waits for.
 */
import { chmodSync, rmSync, statSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type ListenOptions, type Server, type Socket } from 'node:net';
import { systemClock, type Clock } from '../../lib/clock.ts';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import {
  nbdConnectionCountMax,
  nbdExportCountMax,
  nbdSpinMicrosecondsMax,
  nbdStringBytesMax,
} from '../../lib/limits.ts';
import { Connection, type ConnectionContext, type NbdEvent } from './connection.ts';
import type { NbdExport, TlsMode } from './handshake.ts';
import { NbdMetrics } from './metrics.ts';
import { ReplyPool } from './reply-pool.ts';
import { Spinner } from './spin.ts';
import { checkTlsOptions, type NbdTlsOptions } from './tls.ts';

export type { NbdEvent } from './connection.ts';
export type { NbdExport, TlsMode } from './handshake.ts';
export type { NbdMetrics } from './metrics.ts';
export type { NbdTlsOptions } from './tls.ts';

export interface NbdServerOptions {
  readonly exports?: Readonly<Record<string, NbdExport>>;
  /** The export that a client gets who asks for the empty name. */
  readonly defaultExport?: string;
  /** For sockets whose `listen` does not say otherwise; 'off' when left out. */
  readonly tls?: TlsMode;
  readonly tlsMaterial?: NbdTlsOptions;
  readonly log?: (event: NbdEvent) => void;
  readonly clock?: Clock;
  /** Keeps the event loop awake so long after a small batch; 0 (never) when left out. */
  readonly spinMicroseconds?: number;
  readonly connectionCountMax?: number;
  /** False forces the portable way to read sockets. */
  readonly directReads?: boolean;
}

export interface NbdListenOptions {
  /** A unix socket, readable by its owner only unless `mode` says otherwise... */
  readonly path?: string;
  readonly mode?: number;
  /** ...or a TCP port (0: any free one) of an address. */
  readonly host?: string;
  readonly port?: number;
  readonly tls?: TlsMode;
}

export interface NbdServer {
  listen(options: NbdListenOptions): Promise<{ path: string } | { host: string; port: number }>;
  addExport(name: string, added: NbdExport): void;
  /** Takes the name away and closes its connections as `close` does. */
  removeExport(name: string, options?: { graceMilliseconds?: number }): Promise<void>;
  /** No new connections; requests in flight are answered, at most for the grace; then all is closed. */
  close(options?: { graceMilliseconds?: number }): Promise<void>;
  readonly metrics: NbdMetrics;
}

export function createNbdServer(options: NbdServerOptions = {}): NbdServer {
  return new NbdServerCore(options);
}

const graceMillisecondsDefault = 5_000;

class NbdServerCore implements NbdServer {
  readonly metrics = new NbdMetrics();
  readonly #options: NbdServerOptions;
  readonly #clock: Clock;
  readonly #context: ConnectionContext;
  readonly #exports = new Map<string, NbdExport>();
  readonly #listeners = new Set<Server>();
  readonly #connections = new Set<Connection>();
  readonly #connectionCountMax: number;
  #lastConnectionId = 0;
  #stopping = false;
  /** Called after each connection that closed. */
  readonly #closeWaiters = new Set<() => void>();

  constructor(options: NbdServerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#connectionCountMax = options.connectionCountMax ?? nbdConnectionCountMax;
    const spinMicroseconds = options.spinMicroseconds ?? 0;
    if (!(spinMicroseconds >= 0 && spinMicroseconds <= nbdSpinMicrosecondsMax)) {
      throw invalid(
        'argument-invalid',
        `spinMicroseconds ${spinMicroseconds} is not between 0 and ${nbdSpinMicrosecondsMax}`,
      );
    }
    if (options.tlsMaterial !== undefined) checkTlsOptions(options.tlsMaterial);
    this.#requireTlsMaterial(options.tls);
    for (const [name, added] of Object.entries(options.exports ?? {})) this.addExport(name, added);
    this.#context = this.#createContext(spinMicroseconds);
  }

  addExport(name: string, added: NbdExport): void {
    const bytes = Buffer.byteLength(name);
    if (
      name.includes('\0') ||
      bytes > nbdStringBytesMax ||
      Buffer.byteLength(added.description ?? '') > nbdStringBytesMax
    ) {
      throw invalid(
        'name-invalid',
        `an export's name and description have at most ${nbdStringBytesMax} bytes and no NUL`,
      );
    }
    if (this.#exports.has(name))
      throw invalid('name-exists', `an export named ${JSON.stringify(name)} is served already`);
    if (this.#exports.size >= nbdExportCountMax) {
      throw new CaissonError('full', 'limit-exceeded', `one NBD server has at most ${nbdExportCountMax} exports`);
    }
    this.#exports.set(name, added);
  }

  async removeExport(name: string, options: { graceMilliseconds?: number } = {}): Promise<void> {
    if (!this.#exports.delete(name)) throw invalid('name-missing', `no export named ${JSON.stringify(name)} is served`);
    await this.#end((connection) => connection.exportName === name, options.graceMilliseconds);
  }

  async listen(options: NbdListenOptions): Promise<{ path: string } | { host: string; port: number }> {
    if (this.#stopping) throw new CaissonError('closed', 'volume-closed', 'the NBD server is closed');
    const tls = options.tls ?? this.#options.tls ?? 'off';
    this.#requireTlsMaterial(tls);
    if ((options.path === undefined) === (options.port === undefined) || options.path?.includes('\0')) {
      throw invalid('argument-invalid', 'listen takes the path of a unix socket or a TCP port');
    }
    if (options.path !== undefined) await removeStaleSocket(options.path);
    const server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, (socket) =>
      this.#accept(socket, tls),
    );
    const where =
      options.path !== undefined ? { path: options.path } : { host: options.host ?? '127.0.0.1', port: options.port! };
    await listening(server, where, options.mode ?? 0o600);
    this.#listeners.add(server);
    if (options.path !== undefined) return { path: options.path };
    const address = server.address() as AddressInfo;
    return { host: address.address, port: address.port };
  }

  async close(options: { graceMilliseconds?: number } = {}): Promise<void> {
    this.#stopping = true;
    const closed = [...this.#listeners].map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    this.#listeners.clear();
    await this.#end(() => true, options.graceMilliseconds);
    await Promise.all(closed);
  }

  #accept(socket: Socket, tls: TlsMode): void {
    if (this.#stopping || this.#connections.size >= this.#connectionCountMax) {
      this.metrics.connectionsRefused += 1;
      const reason = this.#stopping
        ? 'the server is closing'
        : `there are ${this.#connectionCountMax} connections already`;
      socket.on('error', () => {});
      socket.destroy();
      this.#log({ event: 'connection-refused', reason });
      return;
    }
    this.#lastConnectionId += 1;
    const id = this.#lastConnectionId;
    this.metrics.connectionsTotal += 1;
    this.metrics.connectionsOpen += 1;
    this.#log({ event: 'connection-opened', connection: id, from: socket.remoteAddress ?? 'unix' });
    this.#connections.add(
      new Connection(id, socket, tls, this.#context, (connection) => {
        this.#connections.delete(connection);
        this.metrics.connectionsOpen -= 1;
        for (const waiter of this.#closeWaiters) waiter();
      }),
    );
  }

  /** Drains the chosen connections, then destroys those that outlive the grace. */
  async #end(chosen: (connection: Connection) => boolean, graceMilliseconds = graceMillisecondsDefault): Promise<void> {
    const ending = new Set([...this.#connections].filter(chosen));
    for (const connection of ending) connection.drain();
    const done = (): boolean => [...ending].every((connection) => !this.#connections.has(connection));
    const cancel = this.#clock.after(graceMilliseconds, () => {
      for (const connection of ending) connection.destroy();
    });
    if (!done()) {
      await new Promise<void>((resolve) => {
        const waiter = (): void => {
          if (!done()) return;
          this.#closeWaiters.delete(waiter);
          resolve();
        };
        this.#closeWaiters.add(waiter);
      });
    }
    cancel();
  }

  #createContext(spinMicroseconds: number): ConnectionContext {
    return {
      clock: this.#clock,
      metrics: this.metrics,
      pool: new ReplyPool(),
      spinner: new Spinner(this.#clock, spinMicroseconds),
      tls: this.#options.tlsMaterial,
      directReads: this.#options.directReads ?? true,
      log: (event) => this.#log(event),
      find: (name) => this.#find(name),
      list: () => this.#exports,
      stopping: () => this.#stopping,
      connectionCount: (device) => [...this.#connections].filter((connection) => connection.device === device).length,
    };
  }

  #find(asked: string): { name: string; chosen: NbdExport } | undefined {
    const name = asked === '' && !this.#exports.has('') ? (this.#options.defaultExport ?? '') : asked;
    const chosen = this.#exports.get(name);
    return chosen === undefined ? undefined : { name, chosen };
  }

  #log(event: NbdEvent): void {
    this.#options.log?.(event);
  }

  #requireTlsMaterial(tls: TlsMode | undefined): void {
    if (tls === undefined || tls === 'off' || this.#options.tlsMaterial !== undefined) return;
    throw new CaissonError(
      'invalid',
      'configuration-invalid',
      'TLS is asked for, but there is no certificate and no pre-shared key',
      {
        remedy: 'Configure a certificate or pre-shared keys, or turn TLS off for this socket on purpose.',
      },
    );
  }
}

async function listening(server: Server, where: ListenOptions, mode: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(listenError(where, cause)));
    server.listen(where);
    // The socket exists now and nobody has been accepted yet.
    if (where.path !== undefined && server.listening) chmodSync(where.path, mode);
    server.once('listening', resolve);
  });
  server.on('error', () => {});
}

function listenError(where: ListenOptions, cause: NodeJS.ErrnoException): CaissonError {
  const place = where.path ?? `${where.host}:${where.port}`;
  if (cause.code === 'EADDRINUSE') {
    return new CaissonError('invalid', 'socket-in-use', `${place} is in use`, {
      remedy: 'Stop the server that listens there, or choose another place.',
      cause,
    });
  }
  const denied = cause.code === 'EACCES' || cause.code === 'EPERM';
  return new CaissonError(
    denied ? 'denied' : 'io',
    denied ? 'permission-missing' : 'socket-in-use',
    `cannot listen on ${place}: ${messageOf(cause)}`,
    {
      remedy: 'Check that the folder or address exists and that this user may use it.',
      cause,
    },
  );
}

/** A socket that a killed server left behind is removed; one that answers, or another file, is not. */
async function removeStaleSocket(path: string): Promise<void> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  const inUse = (why: string): CaissonError =>
    new CaissonError('invalid', 'socket-in-use', `${path} ${why}`, {
      remedy: 'Remove it yourself, or choose another path.',
    });
  if (!found.isSocket()) throw inUse('exists and is not a socket');
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  });
  if (alive) throw inUse('belongs to a server that is running');
  rmSync(path, { force: true });
}

function invalid(
  code: 'argument-invalid' | 'name-invalid' | 'name-exists' | 'name-missing',
  message: string,
): CaissonError {
  return new CaissonError('invalid', code, message);
}
