/**
 * TLS for one connection: certificates (with or without client certificates) and pre-shared keys.
 *
 * The accepted socket is handed to a tls.Server of its own through its 'connection' event, which is
 * the documented way to start TLS on a socket that already exists; so verification of client
 * certificates stays in Node's hands. Nothing is shared between connections, tickets included.
 */
import type { Socket } from 'node:net';
import { createServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { nbdHandshakeMilliseconds } from '../../lib/limits.ts';

export interface NbdTlsOptions {
  /** The server's certificate chain and key, PEM. */
  readonly certificate?: { readonly cert: string | Uint8Array; readonly key: string | Uint8Array };
  /** Who may sign client certificates, PEM; with it a client without a valid certificate is refused. */
  readonly clientCa?: string | Uint8Array;
  /** The key of an identity, or undefined for a stranger. */
  readonly preSharedKey?: (identity: string) => Uint8Array | undefined;
}

/** Pre-shared keys of TLS 1.3 are bound to SHA-256 in Node, so these suites stand first. */
const pskCiphers = 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:ECDHE-PSK-CHACHA20-POLY1305';
const certificateCiphers =
  'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:' +
  'ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:' +
  'ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305';

/** Fails early on material that TLS would refuse for every client. */
export function checkTlsOptions(options: NbdTlsOptions): void {
  if (options.certificate === undefined && options.preSharedKey === undefined) {
    throw new CaissonError('invalid', 'configuration-invalid', 'TLS needs a certificate or pre-shared keys', {
      remedy: 'Give a certificate and its key, or a file of pre-shared keys, or turn TLS off for this socket.',
    });
  }
  if (options.clientCa !== undefined && options.certificate === undefined) {
    throw new CaissonError('invalid', 'configuration-invalid', 'client certificates need a server certificate too', {
      remedy: 'Give the server a certificate and its key.',
    });
  }
  try {
    createServer(serverOptions(options));
  } catch (cause) {
    throw new CaissonError('invalid', 'configuration-invalid', `the TLS material cannot be used: ${messageOf(cause)}`, {
      remedy: 'Check that the certificate and the key are PEM and belong together.',
      cause,
    });
  }
}

/** Calls exactly one of the two, once. The caller bounds the time by destroying `socket`. */
export function startTls(
  socket: Socket,
  options: NbdTlsOptions,
  secured: (socket: TLSSocket) => void,
  failed: (reason: string) => void,
): void {
  const server = createServer(serverOptions(options));
  server.on('secureConnection', secured);
  server.on('tlsClientError', (error) => failed(messageOf(error)));
  server.emit('connection', socket);
}

function serverOptions(options: NbdTlsOptions): TlsOptions {
  const preSharedKey = options.preSharedKey;
  const ciphers = [
    ...(preSharedKey === undefined ? [] : [pskCiphers]),
    ...(options.certificate === undefined ? [] : [certificateCiphers]),
  ];
  return {
    minVersion: 'TLSv1.2',
    ciphers: [...new Set(ciphers.join(':').split(':'))].join(':'),
    honorCipherOrder: true,
    handshakeTimeout: nbdHandshakeMilliseconds,
    allowHalfOpen: true,
    ...(options.certificate === undefined
      ? {}
      : { cert: asPem(options.certificate.cert), key: asPem(options.certificate.key) }),
    ...(options.clientCa === undefined
      ? {}
      : { ca: asPem(options.clientCa), requestCert: true, rejectUnauthorized: true }),
    ...(preSharedKey === undefined
      ? {}
      : { pskCallback: (_socket: TLSSocket, identity: string) => preSharedKey(identity) ?? null }),
  };
}

function asPem(material: string | Uint8Array): string | Buffer {
  return typeof material === 'string' ? material : Buffer.from(material);
}
