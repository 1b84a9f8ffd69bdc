/**
 * Bodies of large answers, received by the system straight into the memory that wants them: node:http copies each
 * byte once more and leaves a buffer of 64 KiB to the collector for each piece, which costs more than everything else that is
 * done with the bytes.
 *
 * It knows one kind of answer only: 200 or 206 in HTTP/1.1 with a Content-Length. Whatever else comes, or fails before the
 * answer began, is `undefined`: the caller asks again by node:http, which knows the rest. So requests must be repeatable.
 *
 * Invariants: bytes that were not announced never reach a caller, nor do bytes of one answer the next caller; a
 * connection is used again only after an answer that ended where it said; when `get` has ended, well or not, nothing
 * writes to the caller's memory any more.
 */
import net from 'node:net';
import tls from 'node:tls';
import { s3AnswerHeadBytesMax, s3DirectSocketsMax } from '../lib/limits.ts';
import { parseAnswerHead } from './answer-head.ts';
import type { AnswerHead } from './answer-head.ts';

/** Where the body of an answer goes. */
export interface Landing {
  /** The place for the next bytes; as long as what is still wanted. */
  room(): Uint8Array;
  /** So many bytes are in the room. */
  landed(count: number): void;
}

export interface DirectRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Throws where the answer is not the one that was asked for. */
  readonly check: (head: AnswerHead) => void;
  readonly landing: Landing;
}

export interface DirectOptions {
  readonly endpoint: URL;
  readonly authorities: Uint8Array | undefined;
  readonly idleMilliseconds: number;
}

export class DirectAnswers {
  readonly #options: DirectOptions;
  readonly #idle: Connection[] = [];
  readonly #all = new Set<Connection>();
  #isClosed = false;

  constructor(options: DirectOptions) {
    this.#options = options;
  }

  /** The head of an answer whose body has landed whole; undefined where node:http must ask. */
  async get(request: DirectRequest): Promise<AnswerHead | undefined> {
    const text = requestText(request);
    if (text === undefined) return undefined;
    let connection = this.#idle.pop();
    if (connection === undefined) {
      if (this.#all.size >= s3DirectSocketsMax) return undefined;
      connection = new Connection(this.#options, (gone) => this.#forget(gone));
      this.#all.add(connection);
    }
    const head = await connection.run(text, request);
    if (this.#isClosed) throw closed();
    if (!connection.isUsable) return head;
    connection.rest();
    this.#idle.push(connection);
    return head;
  }

  close(): void {
    this.#isClosed = true;
    for (const connection of this.#all) connection.destroy();
  }

  #forget(connection: Connection): void {
    this.#all.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }
}

interface Exchange {
  readonly request: DirectRequest;
  readonly resolve: (head: AnswerHead | undefined) => void;
  readonly reject: (error: Error) => void;
  head: AnswerHead | undefined;
  /** Of the body. */
  bytesLeft: number;
}

class Connection {
  readonly #socket: net.Socket;
  readonly #headBuffer = new Uint8Array(s3AnswerHeadBytesMax);
  #headBytes = 0;
  #exchange: Exchange | undefined;
  #isOver = false;
  #isReused = false;
  #failure: Error | undefined;
  readonly #connected: Promise<void>;

  constructor({ endpoint, authorities, idleMilliseconds }: DirectOptions, gone: (connection: Connection) => void) {
    const host = endpoint.hostname.replaceAll(/^\[|\]$/g, '');
    const isTls = endpoint.protocol === 'https:';
    const options = {
      host,
      port: Number(endpoint.port === '' ? (isTls ? 443 : 80) : endpoint.port),
      noDelay: true,
      // Asked for before each read of the system, whose bytes then lie where they belong.
      onread: { buffer: () => this.#target() as Buffer, callback: (count: number) => this.#arrived(count) },
    };
    const socket = isTls
      ? tls.connect({
          ...options,
          ...(net.isIP(host) === 0 ? { servername: host } : {}),
          ALPNProtocols: ['http/1.1'],
          ...(authorities === undefined ? {} : { ca: Buffer.from(authorities) }),
        } as tls.ConnectionOptions)
      : net.connect(options);
    this.#socket = socket;
    this.#connected = new Promise((resolve) => {
      socket.once(isTls ? 'secureConnect' : 'connect', () => resolve());
      socket.once('close', () => resolve());
    });
    socket.setTimeout(idleMilliseconds, () => this.#fail(new Error(`no byte moved for ${idleMilliseconds} ms`)));
    socket.on('error', (error) => this.#fail(error));
    socket.on('end', () => this.#fail(new Error('the connection was closed before the answer')));
    socket.on('close', () => {
      this.#fail(new Error('the connection was closed before the answer'));
      gone(this);
    });
    socket.resume();
  }

  get isUsable(): boolean {
    return !this.#isOver;
  }

  run(text: string, request: DirectRequest): Promise<AnswerHead | undefined> {
    this.#socket.ref();
    this.#headBytes = 0;
    return new Promise((resolve, reject) => {
      this.#exchange = { request, resolve, reject, head: undefined, bytesLeft: 0 };
      // Not before the server has shown its certificate.
      void this.#connected.then(() => this.#socket.write(text, 'latin1'));
      if (this.#isOver) this.#settle();
    });
  }

  /** An idle connection keeps no process alive. */
  rest(): void {
    this.#isReused = true;
    this.#socket.unref();
  }

  destroy(): void {
    this.#fail(closed());
  }

  /** Where the next bytes go. Whatever comes while nothing is asked ends the connection. */
  #target(): Uint8Array {
    const exchange = this.#exchange;
    if (exchange?.head === undefined || exchange.bytesLeft === 0) return this.#headBuffer.subarray(this.#headBytes);
    return exchange.request.landing.room().subarray(0, exchange.bytesLeft);
  }

  #arrived(count: number): boolean {
    const exchange = this.#exchange;
    if (exchange === undefined) this.#fail(new Error('an answer that nobody asked for'));
    else if (exchange.head === undefined) this.#takeHead(exchange, count);
    else this.#takeBody(exchange, count);
    return !this.#isOver;
  }

  #takeHead(exchange: Exchange, count: number): void {
    this.#headBytes += count;
    const received = this.#headBuffer.subarray(0, this.#headBytes);
    const head = parseAnswerHead(received);
    if (head === 'incomplete') {
      if (received.length === s3AnswerHeadBytesMax) this.#giveUp();
      return;
    }
    const { request } = exchange;
    const rest = head === undefined ? undefined : received.subarray(head.bytes);
    if (head === undefined || rest === undefined || rest.length > head.contentLength) return this.#giveUp();
    try {
      request.check(head);
      const room = request.landing.room();
      if (head.contentLength > room.length) return this.#giveUp();
      room.set(rest);
    } catch (error) {
      exchange.reject(error instanceof Error ? error : new Error(String(error)));
      return this.#giveUp();
    }
    exchange.head = head;
    exchange.bytesLeft = head.contentLength;
    this.#headBytes = 0;
    this.#takeBody(exchange, rest.length);
  }

  #takeBody(exchange: Exchange, count: number): void {
    exchange.bytesLeft -= count;
    if (count > 0) exchange.request.landing.landed(count);
    if (exchange.bytesLeft > 0) return;
    this.#exchange = undefined;
    if (exchange.head?.isLast === true) this.#giveUp();
    exchange.resolve(exchange.head);
  }

  /** Not an answer for us. */
  #giveUp(): void {
    this.#failure = undefined;
    this.#end();
  }

  #fail(error: Error): void {
    if (this.#isOver) return;
    this.#failure = error;
    this.#end();
  }

  /** The socket is closed first: whoever hears of the end may use its memory at once. */
  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#socket.destroy();
    this.#settle();
  }

  #settle(): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    // A connection that had rested may have been closed by the server just then: the request may as well be made again.
    const isStale = this.#isReused && exchange?.head === undefined;
    if (this.#failure === undefined || isStale) exchange?.resolve(undefined);
    else exchange?.reject(this.#failure);
  }
}

function closed(): Error {
  return new Error('the store was closed');
}

/** Undefined where a header is none: node:http says so. */
function requestText({ path, headers }: DirectRequest): string | undefined {
  const lines = [`GET ${path} HTTP/1.1`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`)];
  return lines.every((line) => /^[\x20-\x7e]+$/.test(line)) ? `${lines.join('\r\n')}\r\n\r\n` : undefined;
}
