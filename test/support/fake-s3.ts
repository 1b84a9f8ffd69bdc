/**
 * A small, strict S3 server in this process: it checks every signature by an implementation of its own,
 * honours conditions in one step, and misbehaves as told. It speaks what the store uses and nothing else.
 */
import { createHash, createHmac } from 'node:crypto';
import http from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';

export interface FakeRequest {
  readonly method: string;
  /** Below the bucket; empty for the bucket itself. */
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/** How the next matching request goes wrong. */
export type Fault =
  | { readonly kind: 'answer'; readonly status: number; readonly code: string; readonly applies?: boolean }
  /** The connection ends without an answer, before or after the request was carried out. */
  | { readonly kind: 'hang-up'; readonly applies: boolean }
  /** The answer's body ends after so many bytes and the connection with it. */
  | { readonly kind: 'cut'; readonly bytes: number }
  /** The answer's body is shorter than the object, and says so. */
  | { readonly kind: 'short'; readonly bytes: number }
  /** Nothing is sent any more, the connection stays. */
  | { readonly kind: 'stall' }
  /** Runs before the request is looked at. */
  | { readonly kind: 'before'; readonly run: () => void };

export interface FakeObject {
  bytes: Uint8Array;
  etag: string;
}

interface Identity {
  readonly secret: string;
  readonly sessionToken?: string;
  expired?: boolean;
}

export class FakeS3 {
  readonly buckets = new Map<string, Map<string, FakeObject>>([['bucket', new Map()]]);
  readonly identities = new Map<string, Identity>([['AK', { secret: 'SK' }]]);
  /** Every request that arrived, in order. */
  readonly requests: FakeRequest[] = [];
  honoursConditions: 'yes' | 'none' | 'create-only' | 'not-implemented' = 'yes';
  /** As old servers do: If-Match must be the ETag without quotes. */
  comparesUnquoted = false;
  listPageKeysMax = 1000;
  /** Added to this server's idea of the time … */
  skewMilliseconds = 0;
  /** … and to what it says of it. */
  toldSkewMilliseconds = 0;
  readonly #faults: {
    readonly matches: (request: FakeRequest) => boolean;
    remaining: number;
    readonly fault: Fault;
  }[] = [];
  readonly #server: http.Server;
  port = 0;

  private constructor(tls: https.ServerOptions | undefined) {
    const handle = (request: IncomingMessage, response: ServerResponse): void => {
      this.#handle(request, response).catch(() => response.destroy());
    };
    this.#server = tls === undefined ? http.createServer(handle) : https.createServer(tls, handle);
  }

  static async start(tls?: https.ServerOptions): Promise<FakeS3> {
    const server = new FakeS3(tls);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    server.port = (server.#server.address() as AddressInfo).port;
    return server;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Of `bucket`. */
  get objects(): Map<string, FakeObject> {
    return this.buckets.get('bucket')!;
  }

  /** The next `count` requests that match fail so. */
  inject(matches: string | ((request: FakeRequest) => boolean), fault: Fault, count = 1): void {
    const test = typeof matches === 'string' ? (request: FakeRequest) => request.method === matches : matches;
    this.#faults.push({ matches: test, remaining: count, fault });
  }

  clearFaults(): void {
    this.#faults.length = 0;
  }

  countOf(method: string, keyPart = ''): number {
    return this.requests.filter((request) => request.method === method && request.key.includes(keyPart)).length;
  }

  async #handle(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of message as AsyncIterable<Buffer>) chunks.push(chunk);
    const url = new URL(message.url ?? '/', 'http://fake');
    const [, bucket = '', ...rest] = decodeURIComponent(url.pathname).split('/');
    const request: FakeRequest = {
      method: message.method ?? '',
      key: rest.join('/'),
      query: url.searchParams,
      headers: message.headers,
      body: new Uint8Array(Buffer.concat(chunks)),
    };
    this.requests.push(request);
    response.setHeader('date', new Date(Date.now() + this.toldSkewMilliseconds).toUTCString());
    const planned = this.#faults.find(({ matches, remaining }) => remaining > 0 && matches(request));
    if (planned !== undefined) planned.remaining--;
    const fault = planned?.fault;
    if (fault?.kind === 'before') fault.run();
    if (fault?.kind === 'stall') return;
    if (fault?.kind === 'hang-up' && !fault.applies) return void message.socket.destroy();
    if (fault?.kind === 'answer' && fault.applies !== true) return refuse(response, fault.status, fault.code);
    const refusal = this.#refusalOf(message, url, request);
    if (refusal !== undefined) return refuse(response, 403, refusal);
    const objects = this.buckets.get(bucket);
    if (objects === undefined) return refuse(response, 404, 'NoSuchBucket');
    if (fault?.kind === 'hang-up') {
      this.#serve(objects, request, undefined, undefined);
      return void message.socket.destroy();
    }
    if (fault?.kind === 'answer') {
      this.#serve(objects, request, undefined, undefined);
      return refuse(response, fault.status, fault.code);
    }
    this.#serve(objects, request, response, fault);
  }

  #serve(
    objects: Map<string, FakeObject>,
    request: FakeRequest,
    response: ServerResponse | undefined,
    fault: Fault | undefined,
  ): void {
    const { method, key, headers, body } = request;
    if (method === 'PUT') return this.#put(objects, key, headers, body, response);
    if (method === 'DELETE') {
      objects.delete(key);
      return void response?.writeHead(204).end();
    }
    if (response === undefined) return;
    if (key === '') return this.#list(objects, request.query, response);
    const object = objects.get(key);
    if (object === undefined) return refuse(response, 404, 'NoSuchKey', method);
    const { bytes, etag } = object;
    const range = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '');
    if (range !== null && Number(range[1]) >= bytes.length) return refuse(response, 416, 'InvalidRange', method);
    const from = range === null ? 0 : Number(range[1]);
    const to = range === null ? bytes.length : Math.min(Number(range[2]) + 1, bytes.length);
    const given = bytes.subarray(from, fault?.kind === 'short' ? from + fault.bytes : to);
    const fields: Record<string, string> = { etag: `"${etag}"`, 'content-length': String(given.length) };
    if (range !== null) fields['content-range'] = `bytes ${from}-${to - 1}/${bytes.length}`;
    response.writeHead(range === null ? 200 : 206, fields);
    if (method === 'HEAD') return void response.end();
    if (fault?.kind !== 'cut') return void response.end(given);
    response.write(given.subarray(0, fault.bytes), () => response.destroy());
  }

  #put(
    objects: Map<string, FakeObject>,
    key: string,
    headers: http.IncomingHttpHeaders,
    body: Uint8Array,
    response: ServerResponse | undefined,
  ): void {
    const found = objects.get(key);
    const [none, match] = [headers['if-none-match'], headers['if-match']];
    const honours = this.honoursConditions;
    const isAsked = none !== undefined || match !== undefined;
    if (honours === 'not-implemented' && isAsked) return refuse(response, 501, 'NotImplemented');
    if (none !== undefined && honours !== 'none' && found !== undefined)
      return refuse(response, 412, 'PreconditionFailed');
    if (match !== undefined && honours === 'yes') {
      if (found === undefined) return refuse(response, 404, 'NoSuchKey');
      const isSame = match === (this.comparesUnquoted ? found.etag : `"${found.etag}"`);
      if (!isSame) return refuse(response, 412, 'PreconditionFailed');
    }
    const etag = createHash('md5').update(body).digest('hex');
    objects.set(key, { bytes: body, etag });
    response?.writeHead(200, { etag: `"${etag}"` }).end();
  }

  #list(objects: Map<string, FakeObject>, query: URLSearchParams, response: ServerResponse): void {
    const prefix = query.get('prefix') ?? '';
    const after = query.get('continuation-token') ?? '';
    const keys = [...objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
    const page = keys.slice(0, Math.min(this.listPageKeysMax, Number(query.get('max-keys') ?? 1000)));
    const next = page.length < keys.length ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : '';
    const contents = page.map(
      (key) =>
        `<Contents><Key>${encodeURIComponent(key)}</Key><Size>${objects.get(key)!.bytes.length}</Size></Contents>`,
    );
    response.writeHead(200, { 'content-type': 'application/xml' });
    response.end(
      `<?xml version="1.0"?><ListBucketResult><EncodingType>url</EncodingType><IsTruncated>${next !== ''}</IsTruncated>${next}${contents.join('')}</ListBucketResult>`,
    );
  }

  /** The specification step by step; nothing is shared with the client. */
  #refusalOf(message: IncomingMessage, url: URL, { body }: FakeRequest): string | undefined {
    const { headers } = message;
    const match =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
        headers.authorization ?? '',
      );
    if (match === null) return 'AccessDenied';
    const [, accessKey = '', date = '', region = '', signedList = '', signature = ''] = match;
    const identity = this.identities.get(accessKey);
    if (identity === undefined) return 'InvalidAccessKeyId';
    if (identity.expired === true) return 'ExpiredToken';
    if (headers['x-amz-security-token'] !== identity.sessionToken) return 'InvalidToken';
    const stamp = String(headers['x-amz-date']);
    const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/
      .exec(stamp)!
      .map(Number);
    const time = Date.UTC(year!, month! - 1, day, hour, minute, second);
    if (Math.abs(time - Date.now() - this.skewMilliseconds) > 15 * 60_000) return 'RequestTimeTooSkewed';
    const signed = signedList.split(';');
    for (const name of Object.keys(headers))
      if ((name === 'host' || name.startsWith('x-amz-')) && !signed.includes(name)) return 'AccessDenied';
    const payloadHash = String(headers['x-amz-content-sha256']);
    if (payloadHash !== 'UNSIGNED-PAYLOAD' && payloadHash !== createHash('sha256').update(body).digest('hex'))
      return 'XAmzContentSHA256Mismatch';
    const query = [...url.searchParams].map(([name, value]) => `${uri(name)}=${uri(value)}`).sort();
    const canonical = [
      message.method,
      url.pathname,
      query.join('&'),
      ...signed.map((name) => `${name}:${String(headers[name]).trim()}`),
      '',
      signedList,
      payloadHash,
    ].join('\n');
    const digest = createHash('sha256').update(canonical).digest('hex');
    const toSign = `AWS4-HMAC-SHA256\n${stamp}\n${date}/${region}/s3/aws4_request\n${digest}`;
    let key: Buffer = Buffer.from(`AWS4${identity.secret}`);
    for (const part of [date, region, 's3', 'aws4_request']) key = createHmac('sha256', key).update(part).digest();
    return createHmac('sha256', key).update(toSign).digest('hex') === signature ? undefined : 'SignatureDoesNotMatch';
  }
}

function uri(text: string): string {
  return [...new TextEncoder().encode(text)]
    .map((byte) => {
      const character = String.fromCharCode(byte);
      return /[A-Za-z0-9._~-]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');
}

function refuse(response: ServerResponse | undefined, status: number, code: string, method = 'GET'): void {
  if (response === undefined) return;
  const body = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>as told</Message></Error>`;
  response.writeHead(status, { 'content-type': 'application/xml', 'content-length': String(body.length) });
  response.end(method === 'HEAD' || response.req.method === 'HEAD' ? undefined : body);
}
