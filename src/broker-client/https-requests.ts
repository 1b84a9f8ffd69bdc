/**
 * Requests to one broker over HTTPS: bounded in time and size, with errors in words.
 *
 * Trust comes from an authority that is pinned, from the system's authorities, or, where the broker's id is
 * known, from the broker's own signatures and MACs, and then the certificate does not matter.
 */
import https from 'node:https';
import type { IncomingMessage, RequestOptions } from 'node:http';
import { createHash } from 'node:crypto';
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls';
import { CaissonError, messageOf } from '../lib/errors.ts';
import { brokerAnswerBytesMax, brokerAnswerMillisecondsMax, brokerSocketsMax } from '../lib/broker-limits.ts';

export interface BrokerTrust {
  /** PEM; the chain of the broker must end in one of these certificates. */
  readonly authority?: string | undefined;
  /** SHA-256 of a certificate in the broker's chain, hex. */
  readonly fingerprint?: string | undefined;
  /** Nothing is believed that the broker of this id has not signed; the certificate may be any. */
  readonly isIdKnown?: boolean;
}

export interface BrokerResponse {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Uint8Array;
}

export class HttpsRequests {
  readonly url: string;
  readonly #base: URL;
  readonly #trust: BrokerTrust;
  readonly #agent: https.Agent;

  constructor(url: string, trust: BrokerTrust) {
    this.#base = parseUrl(url);
    this.url = this.#base.origin;
    this.#trust = trust;
    this.#agent = new https.Agent({
      ...{ keepAlive: true, maxSockets: brokerSocketsMax, minVersion: 'TLSv1.3' },
      rejectUnauthorized: trust.fingerprint === undefined && trust.isIdKnown !== true,
      ...(trust.authority === undefined ? {} : { ca: trust.authority }),
    });
  }

  async ask(
    method: 'GET' | 'POST',
    path: string,
    body: Uint8Array,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<BrokerResponse> {
    const response = await this.open(method, path, body, headers);
    const pieces: Uint8Array[] = [];
    let length = 0;
    try {
      for await (const piece of response as AsyncIterable<Uint8Array>) {
        length += piece.length;
        if (length > brokerAnswerBytesMax) throw tooLarge(this.url);
        pieces.push(piece);
      }
    } catch (error) {
      throw error instanceof CaissonError ? error : this.#unreachable(error);
    }
    return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(pieces, length) };
  }

  /** The answer as it comes, for what is too long for the memory; the caller reads all of it or destroys it. */
  open(
    method: 'GET' | 'POST',
    path: string,
    body: Uint8Array,
    headers: Readonly<Record<string, string>>,
  ): Promise<IncomingMessage> {
    const options: RequestOptions = {
      ...{ method, path, agent: this.#agent, host: this.#base.hostname.replace(/^\[|\]$/g, '') },
      port: this.#base.port === '' ? 443 : Number(this.#base.port),
      timeout: brokerAnswerMillisecondsMax,
      headers: { 'content-type': 'application/json', 'content-length': String(body.length), ...headers },
    };
    return new Promise((resolve, reject) => {
      const request = https.request(options);
      const fail = (error: unknown): void => reject(error instanceof CaissonError ? error : this.#unreachable(error));
      request.once('socket', (socket) => {
        if (!(socket as TLSSocket).authorized && socket.connecting)
          socket.once('secureConnect', () => this.#checkPeer(socket as TLSSocket, request));
        else this.#checkPeer(socket as TLSSocket, request);
      });
      request.once('timeout', () => request.destroy(new Error(`no answer within ${brokerAnswerMillisecondsMax} ms`)));
      request.once('error', fail);
      request.once('response', resolve);
      request.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Where a fingerprint is pinned, it must be of a certificate that the broker shows. */
  #checkPeer(socket: TLSSocket, request: { destroy(error: Error): void }): void {
    const { fingerprint } = this.#trust;
    if (fingerprint === undefined) return;
    for (let certificate = socket.getPeerCertificate(true); certificate?.raw !== undefined;) {
      if (createHash('sha256').update(certificate.raw).digest('hex') === fingerprint) return;
      const issuer: DetailedPeerCertificate | undefined = certificate.issuerCertificate;
      if (issuer === undefined || issuer === certificate) break;
      certificate = issuer;
    }
    request.destroy(untrusted(this.url, `it shows no certificate with the fingerprint ${fingerprint}`));
  }

  #unreachable(cause: unknown): CaissonError {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (certificateCodes.test(code)) return untrusted(this.url, messageOf(cause), cause);
    return new CaissonError(
      'transient',
      'broker-unreachable',
      `the broker at ${this.url} does not answer: ${messageOf(cause)}`,
      {
        remedy: 'See whether it runs and can be reached: "caisson broker status".',
        details: { url: this.url },
        cause,
      },
    );
  }
}

const certificateCodes = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ALTNAME|ERR_SSL/;

export function untrusted(url: string, reason: string, cause?: unknown): CaissonError {
  return new CaissonError(
    'integrity',
    'broker-untrusted',
    `what answers at ${url} is not the broker that was meant: ${reason}`,
    {
      remedy: 'Give the authority file that the broker made (authority.crt), or its identity.',
      details: { url },
      ...(cause === undefined ? {} : { cause }),
    },
  );
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isPlain =
    url?.pathname === '/' && url.search === '' && url.hash === '' && url.username === '' && url.password === '';
  if (url !== undefined && url.protocol === 'https:' && isPlain) return url;
  throw new CaissonError(
    'invalid',
    'argument-invalid',
    `${JSON.stringify(text.substring(0, 200))} is not the URL of a broker`,
    {
      remedy: 'Give https://HOST:PORT.',
    },
  );
}

function tooLarge(url: string): CaissonError {
  return new CaissonError(
    'integrity',
    'broker-untrusted',
    `the broker at ${url} answers with more than ${brokerAnswerBytesMax} bytes`,
  );
}
