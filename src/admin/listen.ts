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
  let listener: Promise<http.RequestListener> | undefined;
  const server = http.createServer((request, response) => {
    listener ??= import('./server.ts').then(
      ({ createAdminListener }) => createAdminListener(options) as http.RequestListener,
    );
    listener.then(
      (answer) => answer(request, response),
      (error: unknown) => {
        options.onError?.('admin', error);
        response.writeHead(500).end();
      },
    );
  });
  server.maxConnections = adminConnectionsMax;
  server.requestTimeout = adminRequestMillisecondsMax;
  server.headersTimeout = adminRequestMillisecondsMax;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, resolve);
  });
  chmodSync(socketPath, 0o600);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      }),
  };
}
