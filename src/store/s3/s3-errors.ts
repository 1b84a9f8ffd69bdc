/**
 * What a refusal of an S3 server means: whether waiting helps, whether the request may have been
 * carried out all the same, and the one error that people see.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { CaissonError } from '../../lib/errors.ts';
import type { ErrorCode, ErrorKind } from '../../lib/errors.ts';
import type { Answer } from '../../aws/http-transport.ts';
import { elementText } from '../../aws/xml.ts';
import type { RequestOutcome } from '../store-counts.ts';

/** An answer that is no success, before it is decided what that means. */
export class S3Refusal extends Error {
  readonly status: number;
  /** The server's own code, such as `NoSuchKey`; empty where the answer has no body. */
  readonly code: string;
  readonly headers: IncomingHttpHeaders;
  /** Verb and path, for people. */
  readonly request: string;

  constructor(request: string, { status, headers, body }: Answer) {
    const text = new TextDecoder().decode(body);
    const code = elementText(text, 'Code') ?? '';
    const message = elementText(text, 'Message')?.substring(0, 300) ?? '';
    super(`${request} was answered with ${[status, code, message].filter(Boolean).join(' ')}`);
    this.name = 'S3Refusal';
    this.status = status;
    this.code = code;
    this.headers = headers;
    this.request = request;
  }
}

const passingCodes: ReadonlySet<string> = new Set([
  ...['RequestTimeout', 'SlowDown', 'InternalError', 'ServiceUnavailable', 'Throttling', 'ThrottlingException'],
  ...['TooManyRequests', 'RequestThrottled', 'OperationAborted', 'ConditionalRequestConflict'],
]);
const expiredCodes: ReadonlySet<string> = new Set(['ExpiredToken', 'ExpiredTokenException', 'TokenRefreshRequired']);

/** As it is counted; what follows from it is decided elsewhere. */
export function outcomeOf(status: number): RequestOutcome {
  if (status >= 200 && status < 300) return 'ok';
  if (status === 404) return 'missing';
  if (status === 409 || status === 412) return 'condition';
  if (status === 429 || status === 503) return 'throttled';
  return status >= 500 ? 'failed' : 'refused';
}

/** The same request may succeed later; if it changes something it may have done so already. */
export function isPassing(error: unknown): boolean {
  if (error instanceof CaissonError) return error.code === 'store-unreachable';
  if (!(error instanceof S3Refusal)) return false;
  const { status, code } = error;
  if (status === 501) return false;
  return status >= 500 || status === 429 || status === 408 || status === 409 || passingCodes.has(code);
}

export function isMissingKey(error: unknown): error is S3Refusal {
  return error instanceof S3Refusal && error.status === 404 && error.code !== 'NoSuchBucket';
}

export function isExpired(error: S3Refusal): boolean {
  return expiredCodes.has(error.code);
}

export function isSkewed(error: S3Refusal): boolean {
  return error.code === 'RequestTimeTooSkewed';
}

export function objectMissing(key: string, cause?: unknown): CaissonError {
  return new CaissonError('invalid', 'object-missing', `object ${key} does not exist`, { details: { key }, cause });
}

/** What leaves the store for a refusal that no caller gives a meaning of its own. */
export function refusalError(refusal: S3Refusal, bucket: string): CaissonError {
  const [kind, code, text, remedy] = meaningOf(refusal, bucket);
  return new CaissonError(kind, code, `${text} (${refusal.message})`, {
    remedy,
    details: { bucket, status: refusal.status, answer: refusal.code },
    cause: refusal,
  });
}

type Meaning = readonly [ErrorKind, ErrorCode, string, string];

function meaningOf(refusal: S3Refusal, bucket: string): Meaning {
  const { status, code, headers } = refusal;
  if (isExpired(refusal)) return expired;
  if (isSkewed(refusal)) return skewed;
  if (code === 'NoSuchBucket') {
    const remedy = 'Check the name, or make the bucket first: Caisson makes no buckets.';
    return ['invalid', 'store-missing', `there is no bucket ${bucket}`, remedy];
  }
  if (['InvalidAccessKeyId', 'SignatureDoesNotMatch', 'InvalidToken', 'InvalidSecurity'].includes(code)) return refused;
  const region = headers['x-amz-bucket-region'];
  if (status === 301 || status === 307 || /^(AuthorizationHeaderMalformed|PermanentRedirect|Illegal)/.test(code)) {
    const right = typeof region === 'string' ? ` Its region is ${region}.` : '';
    const remedy = `Set region, and the endpoint that belongs to it, in the store's URL.${right}`;
    return ['invalid', 'store-region-wrong', `the bucket ${bucket} is served elsewhere`, remedy];
  }
  if (status === 401 || status === 403) {
    const remedy = 'Allow GetObject, PutObject and DeleteObject below the prefix and ListBucket (docs/stores.md).';
    return ['denied', 'store-access-denied', `the server does not allow this in ${bucket}`, remedy];
  }
  if (status === 404) return ['invalid', 'store-missing', `nothing answers for the bucket ${bucket}`, lookAtServer];
  if (/Quota|NoSpace|EntityTooLarge|TooManyObjects/.test(code) || status === 507)
    return ['full', 'store-full', `the bucket ${bucket} takes no more`, 'Make room, or raise its quota.'];
  return ['io', 'store-io', `the server of ${bucket} refused a request`, lookAtServer];
}

const lookAtServer = 'Check the endpoint, and the log of the server.';
const expired: Meaning = [
  'denied',
  'store-credentials-expired',
  'the credentials have expired, and their source gives no newer ones',
  'Renew them at their source; what was acknowledged is in the local spool and is published then.',
];
const skewed: Meaning = [
  'denied',
  'store-clock-skewed',
  'the clocks of this machine and of the server are too far apart',
  'Set both clocks (NTP); signatures are valid for 15 minutes.',
];
const refused: Meaning = [
  'denied',
  'store-credentials-refused',
  'the server refuses the credentials',
  'Check the access key and the secret key, and that they belong to this server.',
];
