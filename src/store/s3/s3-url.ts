/**
 * The URL of a bucket: `s3://bucket/prefix?endpoint=https://host:port&region=eu-central-1`. Parsing
 * is strict: an option that is unknown, or a secret in the URL, is an error, never ignored.
 *
 * `location.url` is canonical: what the environment decided (endpoint, region) is written out, so
 * that the name a volume is remembered by leads to the same bucket from any other process.
 */
import { hash } from 'node:crypto';
import { CaissonError } from '../../lib/errors.ts';
import type { Environment } from '../../lib/folders.ts';

export interface S3Location {
  /** Canonical, without any secret. */
  readonly url: string;
  readonly bucket: string;
  /** Empty, or ends with "/". */
  readonly prefix: string;
  /** Scheme, host and port of the server; the bucket is not part of it. */
  readonly endpoint: URL;
  readonly region: string;
  /** The bucket is the first part of the path, not of the host name. */
  readonly pathStyle: boolean;
  readonly profile: string | undefined;
  /** The file of the only authorities that are trusted, PEM. */
  readonly authorityFile: string | undefined;
  readonly proxy: string | undefined;
}

const optionNames = ['endpoint', 'region', 'pathStyle', 'profile', 'ca', 'proxy'] as const;
type Options = Partial<Record<(typeof optionNames)[number], string>>;

const bucketPattern = /^(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const prefixPattern = /^(?!.*\/\/)(?!(?:.*\/)?\.{1,2}(?:\/|$))[0-9A-Za-z._/-]{0,300}$/;
const regionPattern = /^[a-z0-9-]{1,64}$/;

/** `rest` is what follows `s3:`. */
export function parseS3Url(rest: string, environment: Environment): S3Location {
  const match = /^\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(rest);
  if (match === null) throw invalid('it is not of the form s3://bucket/prefix');
  const [, bucket = '', path = '', query = ''] = match;
  if (bucket.includes('@')) throw invalid('it must not hold credentials', credentialsRemedy);
  if (!bucketPattern.test(bucket)) throw invalid(`${JSON.stringify(bucket)} is no name of a bucket`);
  if (!prefixPattern.test(path)) throw invalid('a prefix is made of letters, digits, ".", "_", "-" and "/"');
  const options = parseOptions(query);
  const region = options.region ?? environment['AWS_REGION'] ?? environment['AWS_DEFAULT_REGION'];
  const given = options.endpoint ?? environment['AWS_ENDPOINT_URL_S3'] ?? environment['AWS_ENDPOINT_URL'];
  if (region !== undefined && !regionPattern.test(region)) throw invalid(`${region} is no region`);
  if (region === undefined && given === undefined)
    throw invalid('the region is missing', 'Add ?region=eu-central-1, or set AWS_REGION.');
  const endpoint = given === undefined ? undefined : parseEndpoint(given);
  const pathStyle = booleanOption(options.pathStyle) ?? (endpoint !== undefined || bucket.includes('.'));
  const location = {
    bucket,
    prefix: path === '' || path.endsWith('/') ? path : `${path}/`,
    endpoint: endpoint ?? new URL(`https://s3.${region}.amazonaws.com`),
    region: region ?? 'us-east-1',
    pathStyle,
    profile: options.profile,
    authorityFile: options.ca,
    proxy: options.proxy,
  };
  if (location.authorityFile?.startsWith('/') === false) throw invalid('ca must be an absolute path');
  if (location.proxy !== undefined) parseEndpoint(location.proxy);
  return { ...location, url: canonical(location, { ...options, region: location.region }, endpoint) };
}

/** Where connections go: in the host style the bucket has a name of its own. */
export function serverOf({ endpoint, bucket, pathStyle }: S3Location): URL {
  return pathStyle ? endpoint : new URL(`${endpoint.protocol}//${bucket}.${endpoint.host}`);
}

/** The same for every URL of one place; names the local folder of its spool. */
export function placeName({ endpoint, bucket, prefix }: S3Location): string {
  return hash('sha256', `${endpoint.origin}\n${bucket}\n${prefix}`, 'hex').substring(0, 32);
}

function parseOptions(query: string): Options {
  const options: Options = {};
  for (const [name, value] of new URLSearchParams(query)) {
    const known = optionNames.find((other) => other === name);
    if (known === undefined) {
      const isSecret = /key|secret|token|password/i.test(name);
      throw invalid(
        `there is no option ${JSON.stringify(name)}`,
        isSecret ? credentialsRemedy : `Options are ${optionNames.join(', ')}.`,
      );
    }
    if (options[known] !== undefined) throw invalid(`the option ${known} is given twice`);
    if (value === '') throw invalid(`the option ${known} is empty`);
    options[known] = value;
  }
  return options;
}

function parseEndpoint(text: string): URL {
  const url = URL.parse(text);
  const isPlain =
    (url?.protocol === 'http:' || url?.protocol === 'https:') &&
    url.pathname === '/' &&
    url.search === '' &&
    url.hash === '' &&
    url.username === '' &&
    url.password === '';
  if (url === null || !isPlain) throw invalid('an endpoint or proxy is written as https://host:port');
  return url;
}

function booleanOption(text: string | undefined): boolean | undefined {
  if (text === undefined) return undefined;
  if (text !== 'true' && text !== 'false') throw invalid('pathStyle is true or false');
  return text === 'true';
}

function canonical(
  { bucket, prefix }: { readonly bucket: string; readonly prefix: string },
  options: Options,
  endpoint: URL | undefined,
): string {
  const written = new URLSearchParams();
  if (endpoint !== undefined) written.set('endpoint', endpoint.origin);
  for (const name of optionNames) {
    const value = options[name];
    if (name !== 'endpoint' && value !== undefined) written.set(name, value);
  }
  return `s3://${bucket}/${prefix.replace(/\/$/, '')}?${written.toString().replaceAll('%2F', '/').replaceAll('%3A', ':')}`;
}

const credentialsRemedy =
  'Put credentials into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile, never into a URL.';

function invalid(message: string, remedy = 'Write it as s3://bucket/prefix?endpoint=https://host:port.'): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', `the store's URL cannot be used: ${message}`, { remedy });
}
