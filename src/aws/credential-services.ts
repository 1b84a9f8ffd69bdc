/**
 * Services that hand out credentials that end: STS for a web identity (Kubernetes service accounts),
 * the endpoint of a container, and the metadata service of an instance (version 2 only, the one
 * that cannot be reached through a careless proxy).
 */
import type { Clock } from '../lib/clock.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { s3CredentialsBytesMax, s3CredentialsMillisecondsMax } from '../lib/limits.ts';
import type { Credentials } from './credential-source.ts';
import { HttpTransport } from './http-transport.ts';
import { encodeUri } from './sigv4.ts';
import { elementText } from './xml.ts';

export interface WebIdentity {
  readonly token: string;
  readonly roleArn: string;
  readonly sessionName: string;
  readonly stsEndpoint: string;
}

export async function fromWebIdentity({ token, roleArn, sessionName, stsEndpoint }: WebIdentity): Promise<Credentials> {
  const fields = {
    ...{ Action: 'AssumeRoleWithWebIdentity', Version: '2011-06-15' },
    ...{ RoleArn: roleArn, RoleSessionName: sessionName, WebIdentityToken: token },
  };
  const form = Object.entries(fields).map(([name, value]) => `${name}=${encodeUri(value)}`);
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const xml = await ask('the token service', stsEndpoint, { method: 'POST', headers, form: form.join('&') });
  return checked('the token service', {
    accessKeyId: elementText(xml, 'AccessKeyId'),
    secretAccessKey: elementText(xml, 'SecretAccessKey'),
    sessionToken: elementText(xml, 'SessionToken'),
    expiration: elementText(xml, 'Expiration'),
  });
}

/** `address`: a path on the fixed address of the container agent, or a whole URL that lies on this machine or is HTTPS. */
export async function fromContainer(address: string, token: string | undefined): Promise<Credentials> {
  const url = URL.parse(address, 'http://169.254.170.2');
  const isLocal =
    url?.protocol === 'https:' ||
    ['169.254.170.2', '169.254.170.23', '[fd00:ec2::23]', 'localhost', '127.0.0.1', '[::1]'].includes(
      url?.hostname ?? '',
    );
  if (url === null || !isLocal)
    throw unusable('the container endpoint', `${address} is neither on this machine nor HTTPS`);
  const headers = token === undefined ? {} : { authorization: token };
  return fromJson('the container endpoint', await ask('the container endpoint', url.href, { headers }));
}

/** Undefined where no metadata service answers at all. */
export async function fromInstance(endpoint: string, clock: Clock): Promise<Credentials | undefined> {
  const service = 'the instance metadata service';
  const roles = `${endpoint.replace(/\/$/, '')}/latest/meta-data/iam/security-credentials/`;
  let token: string;
  try {
    const headers = { 'x-aws-ec2-metadata-token-ttl-seconds': '21600' };
    token = await ask(service, new URL('/latest/api/token', endpoint).href, { method: 'PUT', headers, clock });
  } catch (error) {
    if (isCaissonError(error, 'store-credentials-missing')) return undefined;
    throw error;
  }
  const headers = { 'x-aws-ec2-metadata-token': token };
  const role = (await ask(service, roles, { headers })).split('\n')[0]?.trim() ?? '';
  if (role === '') throw unusable(service, 'this instance has no role');
  return fromJson(service, await ask(service, roles + encodeUri(role), { headers }));
}

interface Question {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly form?: string;
  /** Given where the service may not exist: then its silence is cut short. */
  readonly clock?: Clock;
}

async function ask(service: string, address: string, question: Question): Promise<string> {
  const { method = 'GET', headers = {}, form, clock } = question;
  const url = URL.parse(address);
  if (url === null) throw unusable(service, `${address} is no URL`);
  const transport = new HttpTransport({ endpoint: url, idleMilliseconds: s3CredentialsMillisecondsMax });
  const cancel = clock?.after(s3CredentialsMillisecondsMax / 5, () => transport.close());
  try {
    const body = form === undefined ? undefined : new TextEncoder().encode(form);
    const { status, body: answered } = await transport.exchange({
      method,
      path: url.pathname + url.search,
      headers: { ...headers, host: url.host },
      answerBytesMax: s3CredentialsBytesMax,
      ...(body === undefined ? {} : { payload: { length: body.length, pieces: () => [body] } }),
    });
    const text = new TextDecoder().decode(answered);
    if (status === 200) return text;
    const said = elementText(text, 'Message') ?? '';
    throw unusable(service, `it answered ${status} ${said.substring(0, 300)}`);
  } catch (error) {
    throw isCaissonError(error, 'store-unreachable') ? unusable(service, error.message) : error;
  } finally {
    cancel?.();
    transport.close();
  }
}

function fromJson(service: string, text: string): Credentials {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw unusable(service, 'its answer is not JSON');
  }
  return checked(service, {
    accessKeyId: fields['AccessKeyId'],
    secretAccessKey: fields['SecretAccessKey'],
    sessionToken: fields['Token'],
    expiration: fields['Expiration'],
  });
}

function checked(service: string, found: Readonly<Record<string, unknown>>): Credentials {
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = found;
  const expiresAt = typeof expiration === 'string' ? Date.parse(expiration) : Number.NaN;
  if (
    typeof accessKeyId !== 'string' ||
    typeof secretAccessKey !== 'string' ||
    typeof sessionToken !== 'string' ||
    !Number.isFinite(expiresAt)
  )
    throw unusable(service, 'its answer holds no credentials');
  return { accessKeyId, secretAccessKey, sessionToken, expiresAt };
}

function unusable(service: string, why: string): CaissonError {
  return new CaissonError('denied', 'store-credentials-missing', `${service} gave no credentials: ${why}`, {
    remedy: 'Check the role of this workload, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.',
  });
}
