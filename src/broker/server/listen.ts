/**
 * The socket of a broker: HTTPS with bounds on everything that a client can make it hold.
 *
 * Invariant: `close` takes no new connection, lets requests in flight finish within
 * `brokerDrainMilliseconds`, and then closes what is left.
 */
import https from 'node:https';
import type { RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import {
  brokerConnectionsMax,
  brokerDrainMilliseconds,
  brokerHeadersMilliseconds,
  brokerIdleMilliseconds,
  brokerRequestMilliseconds,
} from '../../lib/broker-limits.ts';
import type { createBrokerApp } from './app.ts';

export interface TlsMaterial {
  /** PEM, with the chain behind it. */
  readonly certificate: string;
  readonly key: string;
}

export interface Listener {
  readonly port: number;
  renew(tls: TlsMaterial): void;
  close(): Promise<void>;
}

const headerBytesMax = 16 * 1024;

export async function listenHttps(
  app: ReturnType<typeof createBrokerApp>,
  { host, port, tls }: { readonly host: string; readonly port: number; readonly tls: TlsMaterial },
): Promise<Listener> {
  const options = { minVersion: 'TLSv1.3', maxHeaderSize: headerBytesMax, ...secureContext(tls) } as const;
  const answer = getRequestListener(app.fetch, { hostname: host });
  const handle: RequestListener = (request, response) => void answer(request, response);
  const server = https.createServer(options, handle);
  server.maxConnections = brokerConnectionsMax;
  server.headersTimeout = brokerHeadersMilliseconds;
  server.requestTimeout = brokerRequestMilliseconds;
  server.keepAliveTimeout = brokerIdleMilliseconds;
  server.on('tlsClientError', () => undefined); // a client that speaks no TLS is its own trouble
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(cannotListen(host, port, error)));
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    renew: (next) => server.setSecureContext(secureContext(next)),
    close: () =>
      new Promise((resolve) => {
        const timer = setTimeout(() => server.closeAllConnections(), brokerDrainMilliseconds);
        server.close(() => {
          clearTimeout(timer);
          resolve();
        });
        server.closeIdleConnections();
      }),
  };
}

function secureContext({ certificate, key }: TlsMaterial): { cert: string; key: string } {
  return { cert: certificate, key };
}

function cannotListen(host: string, port: number, cause: Error): CaissonError {
  return new CaissonError('io', 'socket-in-use', `cannot listen on ${host}:${port}: ${messageOf(cause)}`, {
    remedy: 'Give another address with --listen, or stop what uses this one.',
    details: { host, port },
    cause,
  });
}
