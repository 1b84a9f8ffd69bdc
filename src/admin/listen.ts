/**
 * The admin socket: mode 0600 in a folder of mode 0700, so that only the user who runs the daemon
 * (and root) can ask it anything. The socket is the whole authorization.
 *
 * What answers is loaded with the first request: a daemon that nobody asks is served sooner and
 * stays smaller. Requests, connections and their time are bounded from the start.
 */
import { chmodSync } from 'node:fs';
import http from 'node:http';
import { adminConnectionsMax, adminRequestMillisecondsMax } from '../lib/limits.ts';
import type { AdminServerOptions } from './server.ts';

export interface AdminServer {
  /** Takes no new request, lets those in flight finish, then resolves. */
  close(): Promise<void>;
}

export async function listenAdmin(socketPath: string, options: AdminServerOptions): Promise<AdminServer> {
  return listenHttp(socketPath, {
    load: async () => (await import('./server.ts')).createAdminListener(options),
    onError: (error) => options.onError?.('admin', error),
    connectionsMax: adminConnectionsMax,
    requestMillisecondsMax: adminRequestMillisecondsMax,
    mode: 0o600,
    waitsForClients: true,
  });
}

export interface HttpListenOptions {
  /** Called with the first request. */
  readonly load: () => Promise<http.RequestListener>;
  readonly onError: (error: unknown) => void;
  readonly connectionsMax: number;
  readonly requestMillisecondsMax: number;
  readonly connectionCheckMilliseconds?: number;
  readonly mode: number;
  /** Whether a client that is slow holds the end up. */
  readonly waitsForClients: boolean;
}

export async function listenHttp(socketPath: string, options: HttpListenOptions): Promise<AdminServer> {
  let listener: Promise<http.RequestListener> | undefined;
  const { connectionCheckMilliseconds } = options;
  const checks =
    connectionCheckMilliseconds === undefined ? {} : { connectionsCheckingInterval: connectionCheckMilliseconds };
  const server = http.createServer(checks, (request, response) => {
    listener ??= options.load();
    listener.then(
      (answer) => answer(request, response),
      (error: unknown) => {
        options.onError(error);
        response.writeHead(500).end();
      },
    );
  });
  server.maxConnections = options.connectionsMax;
  server.requestTimeout = options.requestMillisecondsMax;
  server.headersTimeout = options.requestMillisecondsMax;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, resolve);
  });
  chmodSync(socketPath, options.mode);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        if (options.waitsForClients) server.closeIdleConnections();
        else server.closeAllConnections();
      }),
  };
}
