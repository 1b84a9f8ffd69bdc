/**
 * AWS Signature Version 4 in the header form, for S3, STS and KMS. Pure: the time, the credentials and the
 * digest of the payload come in.
 *
 * Everything that changes what a request does is signed: method, path, query, host, conditions and
 * all `x-amz-` headers. `Range` is not, since a wrong range shows in the answer's length.
 */
import { createHmac, hash } from 'node:crypto';

export interface SigningCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface SigningRequest {
  readonly method: string;
  /** Encoded as it is sent. */
  readonly path: string;
  /** Not encoded; order does not matter. */
  readonly query: readonly (readonly [string, string])[];
  /** Lower-case names; `host` among them. */
  readonly headers: Readonly<Record<string, string>>;
  /** Hexadecimal SHA-256 of the payload, or `unsignedPayload`. */
  readonly payloadHash: string;
  readonly region: string;
  readonly service: 's3' | 'sts' | 'kms';
  /** Milliseconds since 1970. */
  readonly time: number;
}

export const unsignedPayload = 'UNSIGNED-PAYLOAD';
export const emptyPayloadHash = hash('sha256', '', 'hex');

const algorithm = 'AWS4-HMAC-SHA256';
const isSigned = (name: string): boolean =>
  name === 'host' || name === 'content-type' || name.startsWith('if-') || name.startsWith('x-amz-');

/** The headers of the request with those that the signature adds. */
export function signRequest(request: SigningRequest, credentials: SigningCredentials): Record<string, string> {
  const dateTime = amzDate(request.time);
  const headers: Record<string, string> = {
    ...request.headers,
    'x-amz-content-sha256': request.payloadHash,
    'x-amz-date': dateTime,
  };
  if (credentials.sessionToken !== undefined) headers['x-amz-security-token'] = credentials.sessionToken;
  const names = Object.keys(headers).filter(isSigned).sort();
  const signedHeaders = names.join(';');
  const canonicalRequest = [
    request.method,
    request.path,
    encodeQuery(request.query),
    ...names.map((name) => `${name}:${headers[name]!.trim().replaceAll(/ +/g, ' ')}`),
    '',
    signedHeaders,
    request.payloadHash,
  ].join('\n');
  const date = dateTime.substring(0, 8);
  const scope = `${date}/${request.region}/${request.service}/aws4_request`;
  const toSign = `${algorithm}\n${dateTime}\n${scope}\n${hash('sha256', canonicalRequest, 'hex')}`;
  const key = signingKey(credentials.secretAccessKey, date, request.region, request.service);
  const signature = createHmac('sha256', key).update(toSign).digest('hex');
  headers['authorization'] =
    `${algorithm} Credential=${credentials.accessKeyId}/${scope}, SignedHeaders=${signedHeaders}, Signature=${signature}`;
  return headers;
}

/** Sorted and encoded, as it is signed and sent. */
export function encodeQuery(query: readonly (readonly [string, string])[]): string {
  return query
    .map(([name, value]) => `${encodeUri(name)}=${encodeUri(value)}`)
    .sort()
    .join('&');
}

/** RFC 3986: everything but letters, digits and `-._~`. */
export function encodeUri(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** `20260102T030405Z`. */
export function amzDate(time: number): string {
  return new Date(time).toISOString().replaceAll(/[-:]|\.\d{3}/g, '');
}

/** The last key derived: it is good for a day, and deriving it is four digests. */
let lastKey: { readonly name: string; readonly secret: string; readonly key: Buffer } | undefined;

function signingKey(secret: string, date: string, region: string, service: string): Buffer {
  const name = `${date}/${region}/${service}`;
  if (lastKey?.name === name && lastKey.secret === secret) return lastKey.key;
  let key: Buffer | string = `AWS4${secret}`;
  for (const part of [date, region, service, 'aws4_request']) key = createHmac('sha256', key).update(part).digest();
  lastKey = { name, secret, key: key as Buffer };
  return lastKey.key;
}
