/**
 * How a workload becomes known to Vault or OpenBao: a token in a file, AppRole, a Kubernetes service account, or a
 * client certificate. A token from a login is kept until a fifth of its life is left, then there is another login.
 */
import type { Clock } from '../lib/clock.ts';
import type { Environment } from '../lib/folders.ts';
import { invalidKeyUrl, requiredOption } from './key-url.ts';
import type { KeyUrl } from './key-url.ts';
import { readSecretFile, readSecretText } from './secret-file.ts';
import { serviceAway, serviceRefuses } from './service-errors.ts';
import { answeredObject, askService } from './service-http.ts';
import type { ServiceAnswer, ServiceTls } from './service-http.ts';

export interface VaultServer {
  readonly origin: string;
  readonly namespace: string | undefined;
  readonly clock: Clock;
  tls(): ServiceTls;
}

type Fields = Readonly<Record<string, unknown>>;
type LoginMethod = 'token' | 'approle' | 'kubernetes' | 'cert';

const loginMethods: readonly LoginMethod[] = ['token', 'approle', 'kubernetes', 'cert'];
const serviceAccountFile = '/var/run/secrets/kubernetes.io/serviceaccount/token';
/** What each way takes beside what all of them take; an option that would be ignored is refused. */
const optionsOf: Readonly<Record<LoginMethod, readonly string[]>> = {
  token: ['token-file'],
  approle: ['auth-mount', 'role-id-file', 'secret-id-file'],
  kubernetes: ['auth-mount', 'role', 'jwt-file'],
  cert: ['auth-mount', 'role', 'cert-file', 'key-file'],
};
const commonOptions = ['auth', 'namespace', 'ca-file'];

/** The files of the URL, read when they are needed. */
export function vaultServer(url: KeyUrl, origin: string, clock: Clock): VaultServer {
  const { options } = url;
  const read = (name: string, what: string): Uint8Array | undefined => {
    const file = options.get(name);
    return file === undefined ? undefined : readSecretFile(file, what);
  };
  return {
    origin,
    clock,
    namespace: options.get('namespace'),
    tls() {
      const authorities = read('ca-file', 'the authority');
      const certificate = read('cert-file', 'the certificate');
      const privateKey = read('key-file', 'the key of the certificate');
      return {
        ...(authorities === undefined ? {} : { authorities }),
        ...(certificate === undefined ? {} : { certificate }),
        ...(privateKey === undefined ? {} : { privateKey }),
      };
    },
  };
}

/** One question with a token, or without one to log in. */
export async function askVault(
  server: VaultServer,
  path: string,
  fields: Fields | undefined,
  token: string | undefined,
): Promise<ServiceAnswer> {
  const { origin, namespace, clock } = server;
  const headers = {
    'x-vault-request': 'true',
    ...(namespace === undefined ? {} : { 'x-vault-namespace': namespace }),
    ...(token === undefined ? {} : { 'x-vault-token': token }),
    ...(fields === undefined ? {} : { 'content-type': 'application/json' }),
  };
  const url = new URL(`${origin}/v1/${path}`);
  const question =
    fields === undefined ? { method: 'GET' as const } : { method: 'POST' as const, body: JSON.stringify(fields) };
  return askService('vault', { ...question, url, headers }, clock, server.tls());
}

export class VaultLogin {
  readonly #url: KeyUrl;
  readonly #server: VaultServer;
  readonly #environment: Environment;
  readonly #method: LoginMethod;
  #token: string | undefined;
  /** By the monotonic clock. */
  #renewAt = Number.POSITIVE_INFINITY;

  constructor(url: KeyUrl, server: VaultServer, environment: Environment) {
    this.#url = url;
    this.#server = server;
    this.#environment = environment;
    const method = loginMethods.find((known) => known === (url.options.get('auth') ?? 'token'));
    if (method === undefined)
      throw invalidKeyUrl(
        'vault',
        `there is no way ${url.options.get('auth')} to log in`,
        `Use ${loginMethods.join(', ')}.`,
      );
    this.#method = method;
    this.#checkOptions();
  }

  get method(): LoginMethod {
    return this.#method;
  }

  async token(): Promise<string> {
    if (this.#token !== undefined && this.#server.clock.monotonic() < this.#renewAt) return this.#token;
    if (this.#method === 'token') return this.#givenToken();
    return this.#login();
  }

  /** After Vault refused the token: another one where a login can give one. */
  forget(): boolean {
    const hadLogin = this.#method !== 'token' && this.#token !== undefined;
    this.wipe();
    return hadLogin;
  }

  wipe(): void {
    this.#token = undefined;
  }

  #checkOptions(): void {
    const { options } = this.#url;
    const known = [...commonOptions, ...optionsOf[this.#method]];
    const stray = [...options.keys()].find((name) => !known.includes(name));
    if (stray !== undefined)
      throw invalidKeyUrl(
        'vault',
        `${stray} does not go with auth=${this.#method}`,
        `It takes ${optionsOf[this.#method].join(', ')}.`,
      );
    const required = {
      token: [],
      approle: ['role-id-file', 'secret-id-file'],
      kubernetes: ['role'],
      cert: ['cert-file', 'key-file'],
    };
    for (const name of required[this.#method]) requiredOption(this.#url, name);
    const mount = options.get('auth-mount');
    if (mount !== undefined && !isVaultPath(mount)) throw invalidKeyUrl('vault', 'auth-mount is no path of Vault');
    const namespace = options.get('namespace');
    if (namespace !== undefined && !isVaultPath(namespace))
      throw invalidKeyUrl('vault', 'namespace is no path of Vault');
  }

  /** Read each time, since agents replace it; one that is renewable and past half its life is renewed. */
  async #givenToken(): Promise<string> {
    const file = this.#url.options.get('token-file');
    const token = file === undefined ? this.#environment['VAULT_TOKEN'] : readSecretText(file, 'the token');
    if (token === undefined || token === '')
      throw serviceRefuses('vault', 'no token was given', 'Add token-file=/path to the URL, or set VAULT_TOKEN.');
    const checked = usableToken(token);
    await this.#renewGiven(checked);
    return checked;
  }

  /** A token that may not look at itself, or that cannot be renewed, is used as it is. */
  async #renewGiven(token: string): Promise<void> {
    const answer = await askVault(this.#server, 'auth/token/lookup-self', undefined, token);
    if (answer.status !== 200) return;
    const data = fieldsOf(answeredObject('vault', answer)['data']);
    const [ttl, creationTtl] = [data['ttl'], data['creation_ttl']];
    if (data['renewable'] !== true || typeof ttl !== 'number' || typeof creationTtl !== 'number') return;
    if (ttl * 2 < creationTtl) await askVault(this.#server, 'auth/token/renew-self', {}, token);
  }

  async #login(): Promise<string> {
    const mount = this.#url.options.get('auth-mount') ?? this.#method;
    const answer = await askVault(this.#server, `auth/${mount}/login`, this.#credentials(), undefined);
    if (answer.status >= 400 && answer.status < 500 && answer.status !== 429)
      throw serviceRefuses(
        'vault',
        `the login by ${this.#method} was refused: ${faultsOf(answer)}`,
        loginRemedy[this.#method],
      );
    if (answer.status !== 200)
      throw serviceAway('vault', `it answered ${answer.status} to the login: ${faultsOf(answer)}`);
    const auth = fieldsOf(answeredObject('vault', answer)['auth']);
    const { client_token: token, lease_duration: seconds } = auth;
    if (typeof token !== 'string' || typeof seconds !== 'number')
      throw serviceAway('vault', 'its answer to the login holds no token');
    // A lease of zero does not end.
    this.#renewAt = seconds > 0 ? this.#server.clock.monotonic() + seconds * 800 : Number.POSITIVE_INFINITY;
    return (this.#token = usableToken(token));
  }

  #credentials(): Fields {
    const { options } = this.#url;
    const role = options.get('role');
    if (this.#method === 'approle') {
      return {
        role_id: readSecretText(requiredOption(this.#url, 'role-id-file'), 'the role id'),
        secret_id: readSecretText(requiredOption(this.#url, 'secret-id-file'), 'the secret id'),
      };
    }
    if (this.#method === 'kubernetes')
      return { role, jwt: readSecretText(options.get('jwt-file') ?? serviceAccountFile, 'the service account token') };
    return role === undefined ? {} : { name: role };
  }
}

const loginRemedy: Readonly<Record<LoginMethod, string>> = {
  token: 'Check the token.',
  approle: 'Check role-id-file and secret-id-file, and whether the secret id has been used up.',
  kubernetes: 'Check the role, and whether Vault can review tokens of this cluster.',
  cert: 'Check the certificate, and whether Vault trusts its authority.',
};

/** What Vault says of an error, shortened; it names no secret. */
export function faultsOf({ status, body }: ServiceAnswer): string {
  try {
    const { errors } = JSON.parse(new TextDecoder().decode(body)) as { readonly errors?: unknown };
    const texts = Array.isArray(errors) ? errors.filter((text) => typeof text === 'string') : [];
    if (texts.length > 0)
      return texts
        .join('; ')
        .replaceAll(/\p{Cc}+/gu, ' ')
        .substring(0, 300);
  } catch {
    // No JSON: the status has to do.
  }
  return `status ${status}`;
}

/** Segments of letters, digits, `.`, `_`, `-`, none of them `.` or `..`. */
export function isVaultPath(text: string): boolean {
  return text.split('/').every((segment) => /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(segment)) && text.length <= 256;
}

export function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

/** It goes into a header. */
function usableToken(token: string): string {
  if (/^[\x21-\x7e]{1,8192}$/.test(token)) return token;
  throw serviceRefuses('vault', 'the token is no token', 'It is one line of printable characters.');
}
