/**
 * One exchange over HTTP or HTTPS: a request, its body in pieces, an answer. Connections are kept and
 * bounded. Time runs out only while no byte moves, so that a slow transfer is never thrown away.
 *
 * Invariant: a successful answer was received whole. Whatever else happened after the first byte
 * left (`store-unreachable`) may or may not have had its effect on the server.
 */
import http from 'node:http';
import https from 'node:https';
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { CaissonError, messageOf } from '../lib/errors.ts';
import { s3DirectBytesMin, s3IdleMillisecondsMax, s3SocketsMax } from '../lib/limits.ts';
import type { AnswerHead } from './answer-head.ts';
import { DirectAnswers } from './direct-answers.ts';
import type { Landing } from './direct-answers.ts';

export interface TransportOptions {
  readonly endpoint: URL;
  /** PEM; replaces the system's authorities. */
  readonly authorities?: Uint8Array;
  /** By the names of the usual variables: HTTPS_PROXY, HTTP_PROXY, NO_PROXY. */
  readonly proxies?: Readonly<Record<string, string>>;
  readonly idleMilliseconds?: number;
  /** False: everything by node:http. */
  readonly isDirect?: boolean;
}

/** The body of a request; `pieces` may be asked for again when the request is. A piece is not touched after it was given. */
export interface Payload {
  readonly length: number;
  pieces(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export interface Exchange {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly payload?: Payload;
  /** Told of the bytes of the payload as they leave. */
  readonly meter?: { sent(bytes: number): void };
  /** What is kept of the answer's body; a longer one is an error, and is not read further. */
  readonly answerBytesMax: number;
  /** Takes the body of an answer with status 200 or 206 as it comes, instead. */
  readonly sink?: BodySink;
}

export interface BodySink {
  /** Throws where the answer is not the one that was asked for. */
  check(answer: Omit<Answer, 'body'>): void;
  readonly landing: Landing;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
}

export class HttpTransport {
  readonly #endpoint: URL;
  readonly #agent: http.Agent;
  readonly #idleMilliseconds: number;
  readonly #request: typeof http.request;
  /** Undefined where a proxy lies between, or may. */
  readonly #direct: DirectAnswers | undefined;

  constructor({
    endpoint,
    authorities,
    proxies,
    idleMilliseconds = s3IdleMillisecondsMax,
    isDirect = true,
  }: TransportOptions) {
    if (isDirect && proxies === undefined)
      this.#direct = new DirectAnswers({ endpoint, authorities, idleMilliseconds });
    this.#endpoint = endpoint;
    this.#idleMilliseconds = idleMilliseconds;
    const isTls = endpoint.protocol === 'https:';
    const options = {
      keepAlive: true,
      maxSockets: s3SocketsMax,
      timeout: idleMilliseconds,
      ...(proxies === undefined ? {} : { proxyEnv: { ...proxies } }),
    };
    this.#request = isTls ? https.request : http.request;
    this.#agent = isTls
      ? new https.Agent({ ...options, ...(authorities === undefined ? {} : { ca: Buffer.from(authorities) }) })
      : new http.Agent(options);
  }

  async exchange(exchange: Exchange): Promise<Answer> {
    const { method, path, headers, payload, sink } = exchange;
    if (this.#direct !== undefined && sink !== undefined && sink.landing.room().length >= s3DirectBytesMin) {
      const head = await this.#directly(this.#direct, exchange, sink);
      if (head !== undefined) return { ...head, body: new Uint8Array(0) };
    }
    const request = this.#request({
      method,
      path,
      headers: { ...headers, 'content-length': String(payload?.length ?? 0) },
      host: this.#endpoint.hostname.replaceAll(/^\[|\]$/g, ''),
      port: this.#endpoint.port === '' ? undefined : this.#endpoint.port,
      agent: this.#agent,
      timeout: this.#idleMilliseconds,
    });
    try {
      return await this.#run(request, exchange);
    } catch (error) {
      request.destroy();
      throw error instanceof CaissonError ? error : this.#unreachable(error);
    }
  }

  async #directly(direct: DirectAnswers, { path, headers }: Exchange, sink: BodySink): Promise<AnswerHead | undefined> {
    try {
      return await direct.get({ path, headers, landing: sink.landing, check: (head) => sink.check(head) });
    } catch (error) {
      throw error instanceof CaissonError ? error : this.#unreachable(error);
    }
  }

  close(): void {
    this.#direct?.close();
    this.#agent.destroy();
  }

  #run(request: ClientRequest, exchange: Exchange): Promise<Answer> {
    return new Promise((resolve, reject) => {
      let isAnswered = false;
      request.on('timeout', () => request.destroy(new Error(`no byte moved for ${this.#idleMilliseconds} ms`)));
      request.on('error', reject);
      request.on('close', () => {
        if (!isAnswered) reject(new Error('the connection was closed before the answer'));
      });
      request.on('response', (response) => {
        isAnswered = true;
        receive(response, exchange).then(resolve, reject);
      });
      // A server may answer (refuse) before it has read everything: then the rest is not sent.
      send(request, exchange, () => isAnswered).catch(reject);
    });
  }

  #unreachable(error: unknown): CaissonError {
    const errno = error instanceof Error && 'code' in error ? String(error.code) : 'none';
    const { origin } = this.#endpoint;
    return new CaissonError('transient', 'store-unreachable', `no answer from ${origin}: ${messageOf(error)}`, {
      remedy: 'Check the endpoint, the network and the proxy; a volume resumes by itself when the store answers again.',
      details: { endpoint: origin, errno },
      cause: error,
    });
  }
}

async function send(request: ClientRequest, { payload, meter }: Exchange, isDone: () => boolean): Promise<void> {
  if (payload !== undefined) {
    for await (const piece of payload.pieces()) {
      if (isDone() || request.destroyed) break;
      await new Promise<void>((resolve) => {
        // A failure shows as 'error' of the request, which ends the exchange.
        request.write(piece, (error) => {
          if (error === undefined || error === null) meter?.sent(piece.length);
          resolve();
        });
      });
    }
  }
  if (!request.destroyed) request.end();
}

/** By events: an async iteration costs as much processor time as the rest of a small answer. */
function receive(response: IncomingMessage, { sink, answerBytesMax, method }: Exchange): Promise<Answer> {
  const status = response.statusCode ?? 0;
  const { headers } = response;
  const isWanted = status === 200 || status === 206;
  return new Promise((resolve, reject) => {
    const landing = isWanted ? sink?.landing : undefined;
    if (isWanted) sink?.check({ status, headers });
    const chunks: Uint8Array[] = [];
    let length = 0;
    const announced = method === 'HEAD' ? 0 : Number(headers['content-length'] ?? 0);
    if (landing === undefined && isWanted && announced > answerBytesMax) throw tooLong(announced, answerBytesMax);
    const accept = (chunk: Uint8Array): void => {
      length += chunk.length;
      if (landing !== undefined) return land(chunk, landing);
      if (length <= answerBytesMax) return void chunks.push(chunk);
      if (isWanted) throw tooLong(length, answerBytesMax);
      // Enough of a refusal: the rest is not waited for.
      resolve({ status, headers, body: joined(chunks) });
      response.destroy();
    };
    response.on('data', (chunk: Uint8Array) => {
      try {
        accept(chunk);
      } catch (error) {
        response.removeAllListeners('data');
        reject(error instanceof Error ? error : new Error(messageOf(error)));
      }
    });
    response.on('error', reject);
    response.on('end', () => resolve({ status, headers, body: joined(chunks) }));
  });
}

function land(chunk: Uint8Array, landing: Landing): void {
  const room = landing.room();
  room.set(chunk.subarray(0, room.length));
  landing.landed(chunk.length);
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const body = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let position = 0;
  for (const chunk of chunks) {
    body.set(chunk, position);
    position += chunk.length;
  }
  return body;
}

function tooLong(size: number, bytesMax: number): CaissonError {
  return new CaissonError('invalid', 'object-too-large', `an answer of ${size} bytes, at most ${bytesMax} are read`, {
    details: { size, bytesMax },
  });
}
