/**
 * How vendors are asked for collateral (spec/collateral.md, "Questions to vendors"): one bounded GET, tried again where that may help.
 *
 *   httpGet(url, { clock, headers, ca })   the answer of status 200: its headers and bytes
 *   httpExchange(url, …)                   the answer to one question, once
 *
 * No proxy and no redirect is followed. What is not there is `collateral-missing`; what cannot be had now is the same code of kind
 * `transient`. No answer is trusted here: verifiers check what they are given.
 */
import { request as requestHttp, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { Clock } from '../../lib/clock.ts';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import {
  collateralAnswerMilliseconds,
  collateralAttemptsMax,
  collateralBytesMax,
  collateralQuestionsMax,
  collateralRetryAfterMillisecondsMax,
  collateralRetryMilliseconds,
} from '../../lib/limits.ts';

export interface HttpOptions {
  readonly clock: Clock;
  readonly headers?: Readonly<Record<string, string>>;
  /** PEM: the authority of a service with a certificate of its own, instead of the public ones. */
  readonly ca?: string;
}

export interface HttpAnswer {
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Uint8Array;
}

const laterStatuses: readonly number[] = [429, 500, 502, 503, 504];
const missingStatuses: readonly number[] = [404, 410];

let questions = 0;

export async function httpGet(url: URL, options: HttpOptions): Promise<HttpAnswer> {
  if (questions >= collateralQuestionsMax) throw unanswered(url, 'too many questions are under way');
  questions += 1;
  try {
    return await tryOften(url, options);
  } finally {
    questions -= 1;
  }
}

async function tryOften(url: URL, options: HttpOptions): Promise<HttpAnswer> {
  for (let attempt = 1; ; attempt++) {
    const outcome = await tryOnce(url, options);
    if ('answer' in outcome) return outcome.answer;
    const pause = Math.max(outcome.retryAfter ?? 0, collateralRetryMilliseconds * 2 ** (attempt - 1));
    if (attempt === collateralAttemptsMax || pause > collateralRetryAfterMillisecondsMax)
      throw unanswered(url, outcome.reason);
    await new Promise<void>((resolve) => options.clock.after(pause, resolve));
  }
}

type Outcome = { readonly answer: HttpAnswer } | { readonly reason: string; readonly retryAfter?: number };

async function tryOnce(url: URL, options: HttpOptions): Promise<Outcome> {
  let answer: { status: number } & HttpAnswer;
  try {
    answer = await httpExchange(url, options);
  } catch (error) {
    if (error instanceof CaissonError) throw error;
    return { reason: messageOf(error) };
  }
  const { status, headers } = answer;
  if (status === 200) return { answer };
  if (missingStatuses.includes(status)) throw missing(url, status);
  if (!laterStatuses.includes(status)) throw unanswered(url, `it answered ${status}`);
  const seconds = /^\d{1,6}$/.test(headers['retry-after'] ?? '') ? Number(headers['retry-after']) : undefined;
  return { reason: `it answered ${status}`, ...(seconds === undefined ? {} : { retryAfter: seconds * 1000 }) };
}

/** One question, whatever the status of its answer: for services that want a patience of their own. */
export function httpExchange(
  url: URL,
  { clock, headers = {}, ca }: HttpOptions,
): Promise<{ status: number } & HttpAnswer> {
  return new Promise((resolve, reject) => {
    const make = url.protocol === 'https:' ? requestHttps : requestHttp;
    const request = make(url, {
      agent: false,
      headers: { accept: '*/*', ...headers },
      ...(ca === undefined ? {} : { ca }),
    });
    const cancel = clock.after(collateralAnswerMilliseconds, () => {
      request.destroy(new Error(`no answer within ${collateralAnswerMilliseconds} ms`));
    });
    const settle = (finish: () => void): void => {
      cancel();
      finish();
    };
    request.once('error', (error) => settle(() => reject(error)));
    request.once('response', (response: IncomingMessage) => {
      collect(response).then(
        (bytes) => settle(() => resolve({ status: response.statusCode ?? 0, headers: response.headers, bytes })),
        (error: unknown) =>
          settle(() => {
            request.destroy();
            reject(error instanceof Error ? error : new Error(String(error)));
          }),
      );
    });
    request.end();
  });
}

async function collect(response: IncomingMessage): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > collateralBytesMax)
      throw new CaissonError('invalid', 'collateral-untrusted', 'an answer with collateral is too large', {
        details: { check: 'collateral-size', bytesMax: collateralBytesMax },
      });
    chunks.push(chunk);
  }
  return Uint8Array.from(Buffer.concat(chunks));
}

function missing(url: URL, status: number): CaissonError {
  return new CaissonError('invalid', 'collateral-missing', `${url.host} does not have this collateral`, {
    details: { host: url.host, path: url.pathname, status },
  });
}

function unanswered(url: URL, reason: string): CaissonError {
  return new CaissonError('transient', 'collateral-missing', `no collateral from ${url.host}: ${reason}`, {
    remedy: 'Check the way from the broker to this service, or give the broker a bundle of collateral.',
    details: { host: url.host, path: url.pathname },
  });
}
