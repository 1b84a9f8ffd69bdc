/**
 * The seven verbs of S3 that a store needs, signed, with retries of what may be repeated.
 *
 * Invariants: a request that changes something under a condition is sent once per call of `put`;
 * only the store, which can look what happened, sends it again. Everything else is repeated within
 * the bound of Patience. Credentials are renewed once, and the server's clock is taken once, per
 * request that is refused for them.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Clock } from '../../lib/clock.ts';
import { CaissonError } from '../../lib/errors.ts';
import * as limits from '../../lib/limits.ts';
import type { Random } from '../../lib/random.ts';
import type { Landing } from '../../aws/direct-answers.ts';
import type { Credentials, CredentialSource } from '../../aws/credential-source.ts';
import type { Answer, Exchange, HttpTransport, Payload } from '../../aws/http-transport.ts';
import { noObserver } from '../store-counts.ts';
import type { RequestOutcome, StoreObserver, StoreOperation } from '../store-counts.ts';
import { Closing, closed, Patience } from './patience.ts';
import { isExpired, isPassing, isSkewed, outcomeOf, refusalError, S3Refusal } from './s3-errors.ts';
import { serverOf } from './s3-url.ts';
import type { S3Location } from './s3-url.ts';
import { emptyPayloadHash, encodeQuery, encodeUri, signRequest, unsignedPayload } from '../../aws/sigv4.ts';
import { elements, elementText } from '../../aws/xml.ts';

export interface S3ClientParts {
  readonly location: S3Location;
  readonly transport: HttpTransport;
  readonly credentials: CredentialSource;
  readonly clock: Clock;
  readonly random: Random;
  readonly observer?: StoreObserver;
}

export interface FoundObject {
  readonly size: number;
  /** The ETag without its quotes. */
  readonly version: string;
}

export interface ListedObject {
  readonly key: string;
  readonly size: number;
}

/** `absent`: only where there is no such object; else only where it still has this version. */
export type Condition = 'absent' | { readonly version: string };

/** Bytes to send, and their digest, which is asked for only where the connection does not protect them. */
export interface Upload extends Payload {
  sha256(): Promise<string>;
}

interface Request {
  readonly method: string;
  /** Without the store's prefix; undefined for the bucket itself. */
  readonly key: string | undefined;
  readonly query?: readonly (readonly [string, string])[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly upload?: Upload;
  readonly answerBytesMax?: number;
  readonly sink?: Exchange['sink'];
}

export class S3Client {
  /** Old servers compare ETags as text, without quotes. */
  quotesVersions = true;
  readonly observer: StoreObserver;
  readonly #parts: S3ClientParts;
  readonly #host: string;
  readonly #base: string;
  readonly #isTls: boolean;
  readonly #closing = new Closing();
  /** The server's time minus ours. */
  #skewMilliseconds = 0;
  #hasAnswered = false;

  constructor(parts: S3ClientParts) {
    this.#parts = parts;
    this.observer = parts.observer ?? noObserver;
    const { endpoint, bucket, pathStyle, prefix } = parts.location;
    this.#host = serverOf(parts.location).host;
    this.#base = `${pathStyle ? `/${bucket}` : ''}/${prefix}`;
    this.#isTls = endpoint.protocol === 'https:';
  }

  get isClosed(): boolean {
    return this.#closing.isClosed;
  }

  close(): void {
    this.#closing.close();
    this.#parts.transport.close();
  }

  patience(): Patience {
    const { clock, random } = this.#parts;
    const millisecondsMax = (): number =>
      this.#hasAnswered ? limits.s3PatienceMillisecondsMax : limits.s3FirstPatienceMillisecondsMax;
    return new Patience({ clock, random, millisecondsMax, closing: this.#closing, observer: this.observer });
  }

  async head(key: string): Promise<FoundObject> {
    const request = { method: 'HEAD', key };
    try {
      return foundOf(await this.#repeated(request));
    } catch (error) {
      if (!(error instanceof S3Refusal) || error.code !== '' || ![400, 401, 403, 404].includes(error.status))
        throw error;
    }
    // The answer to HEAD has no body, so a refusal does not say why (403), or what is missing (404); that of GET does.
    await this.#repeated({ method: 'GET', key, headers: { range: 'bytes=0-0' } }).catch((error: unknown) => {
      if (!(error instanceof S3Refusal) || error.status !== 416) throw error;
    });
    return foundOf(await this.#repeated(request));
  }

  async get(key: string, answerBytesMax: number): Promise<FoundObject & { readonly bytes: Uint8Array }> {
    const answer = await this.#repeated({ method: 'GET', key, answerBytesMax });
    return { ...foundOf(answer), size: answer.body.length, bytes: answer.body };
  }

  /** One attempt: the caller knows how far it came. Only an answer that gives the range from `from` on lands. */
  async getRange(key: string, from: number, to: number, landing: Landing): Promise<void> {
    await this.once({
      method: 'GET',
      key,
      headers: { range: `bytes=${from}-${to - 1}` },
      sink: {
        check: ({ status, headers }) => {
          const isWhole = status === 200 && from === 0;
          const range = /^bytes (\d+)-/.exec(headers['content-range'] ?? '')?.[1];
          if (!isWhole && Number(range) !== from) throw noS3(`${key}: another range than the one asked for`);
        },
        landing,
      },
    });
  }

  /** One attempt. Returns the new version. */
  async put(key: string, upload: Upload, condition: Condition): Promise<string> {
    const headers =
      condition === 'absent' ? { 'if-none-match': '*' } : { 'if-match': this.#written(condition.version) };
    const { headers: answered } = await this.once({ method: 'PUT', key, headers, upload });
    return versionOf(answered);
  }

  async remove(key: string): Promise<void> {
    await this.#repeated({ method: 'DELETE', key });
  }

  /** Everything below `prefix`, a page at a time; a failure repeats one page. */
  async *list(prefix: string, pageKeysMax = 1000): AsyncIterable<ListedObject> {
    const whole = this.#parts.location.prefix + prefix;
    let token: string | undefined;
    let emptyPages = 0;
    do {
      const page = await this.#listPage(whole, pageKeysMax, token);
      for (const { key, size } of page.objects) yield { key: key.substring(this.#parts.location.prefix.length), size };
      emptyPages = page.objects.length === 0 ? emptyPages + 1 : 0;
      if (page.next === token && token !== undefined) throw noS3('the same page of a list again and again');
      if (emptyPages > limits.s3ListEmptyPagesMax) throw noS3('a list without an end');
      token = page.next;
    } while (token !== undefined);
  }

  async #listPage(
    prefix: string,
    pageKeysMax: number,
    token: string | undefined,
  ): Promise<{ readonly objects: ListedObject[]; readonly next: string | undefined }> {
    const query: [string, string][] = [
      ['list-type', '2'],
      ['encoding-type', 'url'],
      ['max-keys', String(pageKeysMax)],
      ['prefix', prefix],
    ];
    if (token !== undefined) query.push(['continuation-token', token]);
    const { body } = await this.#repeated({
      method: 'GET',
      key: undefined,
      query,
      answerBytesMax: limits.s3ListBytesMax,
    });
    const xml = new TextDecoder().decode(body);
    if (!xml.includes('<ListBucketResult')) throw noS3('no list of objects');
    const isEncoded = elementText(xml, 'EncodingType') === 'url';
    const objects: ListedObject[] = [];
    for (const contents of elements(xml, 'Contents')) {
      const text = elementText(contents, 'Key');
      const size = Number(elementText(contents, 'Size'));
      const key = text === undefined ? undefined : isEncoded ? decodeKey(text) : text;
      if (key === undefined || !key.startsWith(prefix) || !Number.isSafeInteger(size) || size < 0)
        throw noS3('a list with an entry that was not asked for');
      objects.push({ key, size });
    }
    const next = elementText(xml, 'IsTruncated') === 'true' ? elementText(xml, 'NextContinuationToken') : undefined;
    return { objects, next };
  }

  /** For what changes nothing, or may be done twice. */
  async #repeated(request: Request): Promise<Answer> {
    const patience = this.patience();
    for (;;) {
      try {
        return await this.once(request);
      } catch (error) {
        if (!isPassing(error)) throw error;
        await patience.afterFailure(error);
      }
    }
  }

  /** One request; refused for its credentials or its time it is made once more with better ones. */
  async once(request: Request): Promise<Answer> {
    let used = await this.#parts.credentials.get();
    for (let isLast = false; ; isLast = true) {
      if (this.isClosed) throw closed();
      if (isLast) this.observer.retried();
      const answer = await this.#exchange(request, used);
      if (answer.status >= 200 && answer.status < 300) return answer;
      const refusal = new S3Refusal(`${request.method} ${request.key ?? this.#parts.location.bucket}`, answer);
      if (!isLast && isExpired(refusal)) used = await this.#parts.credentials.renew(used);
      else if (!isLast && isSkewed(refusal)) this.#takeTime(answer.headers);
      else throw refusal;
    }
  }

  async #exchange(request: Request, credentials: Credentials): Promise<Answer> {
    const { method, key, query = [], headers = {}, upload, answerBytesMax, sink } = request;
    const { location, clock } = this.#parts;
    const path = key === undefined ? (location.pathStyle ? `/${location.bucket}` : '/') : this.#base + key;
    const encoded = path.split('/').map(encodeUri).join('/');
    const payloadHash = upload === undefined ? emptyPayloadHash : await this.#hashOf(upload);
    const signed = signRequest(
      {
        ...{ method, path: encoded, query, payloadHash, region: location.region, service: 's3' },
        headers: { ...headers, host: this.#host },
        time: clock.wall() + this.#skewMilliseconds,
      },
      credentials,
    );
    const answer = await this.#observed(request, {
      ...{ method, headers: signed, answerBytesMax: Math.max(answerBytesMax ?? 0, limits.s3ErrorBytesMax) },
      path: query.length === 0 ? encoded : `${encoded}?${encodeQuery(query)}`,
      ...(upload === undefined ? {} : { payload: upload, meter: this.observer }),
      ...(sink === undefined ? {} : { sink }),
    });
    this.#hasAnswered = true;
    if (answerBytesMax !== undefined && answer.status === 200 && answer.body.length > answerBytesMax)
      throw tooLarge(key ?? '', answer.body.length, answerBytesMax);
    return answer;
  }

  /** Every request of the store passes here. What a sink takes is counted by whoever gave it. */
  async #observed(request: Request, exchange: Exchange): Promise<Answer> {
    const { transport, clock } = this.#parts;
    const startedAt = clock.monotonic();
    let outcome: RequestOutcome = 'unanswered';
    try {
      const answer = await transport.exchange(exchange);
      outcome = outcomeOf(answer.status);
      this.observer.received(answer.body.length);
      return answer;
    } finally {
      this.observer.requested(operationOf(request), outcome, clock.monotonic() - startedAt);
    }
  }

  async #hashOf(upload: Upload): Promise<string> {
    return this.#isTls ? unsignedPayload : await upload.sha256();
  }

  #takeTime(headers: IncomingHttpHeaders): void {
    const theirs = Date.parse(headers.date ?? '');
    if (Number.isFinite(theirs)) this.#skewMilliseconds = theirs - this.#parts.clock.wall();
  }

  #written(version: string): string {
    return this.quotesVersions ? `"${version}"` : version;
  }

  /** The error that leaves the store. */
  errorOf(error: unknown): unknown {
    return error instanceof S3Refusal ? refusalError(error, this.#parts.location.bucket) : error;
  }
}

function operationOf({ method, key, sink }: Request): StoreOperation {
  if (method === 'PUT') return 'put';
  if (method === 'HEAD') return 'head';
  if (method === 'DELETE') return 'delete';
  if (key === undefined) return 'list';
  return sink === undefined ? 'get' : 'read';
}

function foundOf({ headers }: Answer): FoundObject {
  const size = Number(headers['content-length'] ?? -1);
  return { size, version: versionOf(headers) };
}

function versionOf(headers: IncomingHttpHeaders): string {
  const version = headers.etag?.replace(/^"(.*)"$/, '$1') ?? '';
  if (version === '') throw noS3('an object without an ETag');
  return version;
}

function decodeKey(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}

function tooLarge(key: string, size: number, bytesMax: number): CaissonError {
  return new CaissonError('invalid', 'object-too-large', `object ${key} has ${size} bytes, at most ${bytesMax}`, {
    details: { key, size, bytesMax },
  });
}

export function noS3(what: string): CaissonError {
  return new CaissonError('io', 'protocol-violation', `the server does not answer as S3 does: ${what}`, {
    remedy: 'Check that the endpoint leads to an S3 server, and that nothing in between changes its answers.',
  });
}
