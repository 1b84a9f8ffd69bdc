/**
 * One question to a key service over HTTP or HTTPS. Bounded in time and size; redirections are not followed, since
 * a service that moves is a matter for whoever wrote the URL. Whatever goes wrong is `key-source-unavailable`.
 */
import http from 'node:http';
import https from 'node:https';
import type { Clock } from '../lib/clock.ts';
import { CaissonError, messageOf } from '../lib/errors.ts';
import type { ServiceKeyKind } from '../lib/key-kinds.ts';
import { keyServiceAnswerBytesMax, keyServiceMillisecondsMax } from '../lib/limits.ts';
import { invalidKeyUrl } from './key-url.ts';
import { serviceAway } from './service-errors.ts';

export interface ServiceTls {
  /** PEM; in place of the system's authorities. */
  readonly authorities?: Uint8Array;
  readonly certificate?: Uint8Array;
  readonly privateKey?: Uint8Array;
}

export interface ServiceQuestion {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface ServiceAnswer {
  readonly status: number;
  readonly body: Uint8Array;
}

/** `http:` or `https:` with a host and nothing that could hide something. */
export function serviceUrl(kind: ServiceKeyKind, body: string): URL {
  const url = URL.parse(body);
  if (url === null || !/^https?:\/\//.test(body) || url.hostname === '')
    throw invalidKeyUrl(kind, 'an address is written as https://host:port', `For example ${kind}:https://host:port/….`);
  if (url.username !== '' || url.password !== '')
    throw invalidKeyUrl(kind, 'it must not hold a user name or a password');
  return url;
}

/** A service that is told a token, or answers with a key, is asked by TLS, except on this machine. */
export function requireTls(kind: ServiceKeyKind, url: URL): void {
  if (url.protocol === 'https:' || ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)) return;
  throw invalidKeyUrl(
    kind,
    `${url.origin} would be asked without TLS`,
    'Use https://; http:// is for localhost alone.',
  );
}

export function askService(
  kind: ServiceKeyKind,
  question: ServiceQuestion,
  clock: Clock,
  tls: ServiceTls = {},
): Promise<ServiceAnswer> {
  const { method, url, headers = {}, body } = question;
  const payload = body === undefined ? undefined : Buffer.from(body);
  const options = {
    method,
    agent: false as const,
    headers: { ...headers, ...(payload === undefined ? {} : { 'content-length': payload.length }) },
  };
  const secure = {
    ...(tls.authorities === undefined ? {} : { ca: Buffer.from(tls.authorities) }),
    ...(tls.certificate === undefined ? {} : { cert: Buffer.from(tls.certificate) }),
    ...(tls.privateKey === undefined ? {} : { key: Buffer.from(tls.privateKey) }),
  };
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => {
      cancel();
      const known = error instanceof CaissonError ? error : undefined;
      reject(known ?? serviceAway(kind, `${url.origin}: ${messageOf(error)}`, { cause: error }));
    };
    let request: http.ClientRequest;
    const cancel = clock.after(keyServiceMillisecondsMax, () =>
      request.destroy(serviceAway(kind, `${url.origin} did not answer within ${keyServiceMillisecondsMax / 1000} s`)),
    );
    try {
      request = url.protocol === 'https:' ? https.request(url, { ...options, ...secure }) : http.request(url, options);
    } catch (error) {
      // A certificate or key file that is none.
      return fail(error);
    }
    request.on('error', fail);
    request.on('response', (response) => {
      collect(kind, url, response).then((collected) => {
        cancel();
        resolve({ status: response.statusCode ?? 0, body: collected });
      }, fail);
    });
    request.end(payload);
  });
}

/** The answer as an object; `key-source-unavailable` for anything that is none. */
export function answeredObject(kind: ServiceKeyKind, { body }: ServiceAnswer): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Not JSON at all: told like any other answer that is no object.
  }
  throw serviceAway(kind, 'its answer is not a JSON object', { remedy: 'Check that the URL leads to that service.' });
}

async function collect(kind: ServiceKeyKind, url: URL, response: http.IncomingMessage): Promise<Uint8Array> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > keyServiceAnswerBytesMax) {
      response.destroy();
      throw serviceAway(kind, `${url.origin} answered with more than ${keyServiceAnswerBytesMax} bytes`);
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces, length);
}
