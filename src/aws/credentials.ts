/**
 * Credentials by the AWS chain: environment, web identity, profile files, container, instance. The
 * first source that is configured decides; that it then fails is an error, never a reason to go on to
 * the next (which might be another identity).
 *
 * Invariants: at most one fetch is under way; credentials that end are renewed before they do, in the
 * background while they are still good; a source that fails leaves good ones in use.
 */
import type { Clock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import type { Environment } from '../lib/folders.ts';
import { s3CredentialsRefreshMilliseconds, s3CredentialsUrgentMilliseconds } from '../lib/limits.ts';
import type { Credentials, CredentialSource } from './credential-source.ts';
import { fromContainer, fromInstance, fromWebIdentity } from './credential-services.ts';
import { readProfile, textFile } from './credential-files.ts';

export interface ChainOptions {
  readonly environment: Environment;
  /** From the store's URL; then nothing but this profile counts. */
  readonly profile: string | undefined;
  readonly region: string;
  readonly clock: Clock;
}

export class CredentialChain implements CredentialSource {
  readonly #options: ChainOptions;
  #current: Credentials | undefined;
  #fetching: Promise<Credentials> | undefined;

  constructor(options: ChainOptions) {
    this.#options = options;
  }

  async get(): Promise<Credentials> {
    const current = this.#current;
    if (current === undefined) return this.#fetch();
    const left = (current.expiresAt ?? Number.POSITIVE_INFINITY) - this.#options.clock.wall();
    if (left > s3CredentialsRefreshMilliseconds) return current;
    const fetching = this.#fetch();
    if (left <= 0) return fetching;
    if (left <= s3CredentialsUrgentMilliseconds) return fetching.catch(() => current);
    fetching.catch(() => undefined); // tried again with the next request, and heard of when they have ended
    return current;
  }

  async renew(used: Credentials): Promise<Credentials> {
    const current = this.#current;
    return current !== undefined && current !== used ? current : this.#fetch();
  }

  #fetch(): Promise<Credentials> {
    this.#fetching ??= findCredentials(this.#options)
      .then((found) => (this.#current = found))
      .finally(() => (this.#fetching = undefined));
    return this.#fetching;
  }
}

async function findCredentials({ environment, profile, region, clock }: ChainOptions): Promise<Credentials> {
  const value = (name: string): string | undefined => environment[name] || undefined;
  const [accessKeyId, secretAccessKey] = [value('AWS_ACCESS_KEY_ID'), value('AWS_SECRET_ACCESS_KEY')];
  if (profile === undefined && accessKeyId !== undefined && secretAccessKey !== undefined) {
    const sessionToken = value('AWS_SESSION_TOKEN');
    return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
  }
  const tokenFile = value('AWS_WEB_IDENTITY_TOKEN_FILE');
  const roleArn = value('AWS_ROLE_ARN');
  const sessionName = value('AWS_ROLE_SESSION_NAME') ?? 'caisson';
  const stsEndpoint = value('AWS_ENDPOINT_URL_STS') ?? `https://sts.${region}.amazonaws.com`;
  if (profile === undefined && tokenFile !== undefined && roleArn !== undefined)
    return fromWebIdentity({ token: textFile(tokenFile), roleArn, sessionName, stsEndpoint });
  const found = readProfile(environment, profile);
  if (found?.kind === 'keys') return found.credentials;
  if (found?.kind === 'web-identity') {
    const token = textFile(found.tokenFile);
    return fromWebIdentity({ token, roleArn: found.roleArn, sessionName, stsEndpoint });
  }
  const container = value('AWS_CONTAINER_CREDENTIALS_FULL_URI') ?? value('AWS_CONTAINER_CREDENTIALS_RELATIVE_URI');
  if (container !== undefined) {
    const file = value('AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE');
    const token = file === undefined ? value('AWS_CONTAINER_AUTHORIZATION_TOKEN') : textFile(file);
    return fromContainer(container, token);
  }
  if (value('AWS_EC2_METADATA_DISABLED')?.toLowerCase() !== 'true') {
    const instance = await fromInstance(value('AWS_EC2_METADATA_SERVICE_ENDPOINT') ?? 'http://169.254.169.254', clock);
    if (instance !== undefined) return instance;
  }
  throw new CaissonError('denied', 'store-credentials-missing', 'there are no AWS credentials', {
    remedy:
      'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of ~/.aws/credentials with ?profile= (docs/stores.md).',
  });
}
