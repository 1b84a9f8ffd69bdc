/**
 * URLs of key sources: `scheme:body?option=value&…` (spec/keys.md, section 5.4). Parsing is strict: an option
 * that is unknown or given twice, a relative path, or anything that looks like a secret is an error, never ignored.
 *
 * A URL holds no secret, so that it may stand in arguments, logs and volumes.json: secrets lie in files that it
 * names, or in the environment of the process that opens the source. What the body means is the source's affair.
 */
import { CaissonError } from '../lib/errors.ts';
import { keyUrlCharactersMax, serviceKeyKinds, serviceKindOf } from '../lib/key-kinds.ts';
import type { ServiceKeyKind } from '../lib/key-kinds.ts';

export interface KeyUrl {
  readonly kind: ServiceKeyKind;
  /** As it was given. */
  readonly text: string;
  /** Between the scheme and the options, as it was given. */
  readonly body: string;
  readonly options: ReadonlyMap<string, string>;
}

/** What each kind understands behind the question mark. Names that end in `-file` or `-path` are absolute paths. */
const optionNames: Readonly<Record<ServiceKeyKind, readonly string[]>> = {
  tpm: ['pcrs', 'bank', 'pin-file', 'parent'],
  pkcs11: ['module-path', 'pin-source', 'mechanism'],
  kmip: ['cert-file', 'key-file', 'ca-file', 'server-name'],
  tang: ['thumbprint', 'ca-file'],
  vault: [
    ...['auth', 'auth-mount', 'namespace', 'ca-file', 'token-file', 'role', 'role-id-file', 'secret-id-file'],
    ...['jwt-file', 'cert-file', 'key-file'],
  ],
  'aws-kms': ['region', 'endpoint', 'profile', 'ca-file'],
  broker: ['ca-file', 'identity', 'policy', 'suite', 'evidence', 'tpm'],
  kbs: ['ca-file', 'evidence', 'tpm'],
  keystore: ['name', 'unlock', 'passphrase-file'],
};

const secretName = /^(pin|pin-value|password|passphrase|token|secret|secret-id|api-key|access-key|private-key)$/i;

/** `argument-invalid` for anything that is not exactly such a URL. */
export function parseKeyUrl(text: string): KeyUrl {
  if (text.length > keyUrlCharactersMax) throw invalidKey(`it is longer than ${keyUrlCharactersMax} characters`);
  if (!/^[\x21-\x7e]*$/.test(text)) throw invalidKey('it holds a space or a character that must be percent-encoded');
  const kind = serviceKindOf(text);
  if (kind === undefined) {
    throw invalidKey(
      'it begins with no known kind',
      `Kinds are passphrase, file, ${serviceKeyKinds.join(', ')}: for example file:/etc/caisson/data.key.`,
    );
  }
  if (text.includes('#')) throw invalidKeyUrl(kind, 'it has a fragment (#…)');
  const [body = '', query, ...rest] = text.substring(kind.length + 1).split('?');
  if (rest.length > 0) throw invalidKeyUrl(kind, 'it has two question marks');
  if (/\/\/[^/]*@/.test(body)) throw invalidKeyUrl(kind, 'it must not hold a user name or a password', secretRemedy);
  return { kind, text, body, options: parseOptions(kind, query) };
}

/** The option that a source cannot do without. */
export function requiredOption(url: KeyUrl, name: string): string {
  const value = url.options.get(name);
  if (value !== undefined) return value;
  throw invalidKeyUrl(url.kind, `the option ${name} is missing`, `Add ${name}=… behind the question mark.`);
}

/** For a source that finds fault with the body of its URL or with an option. */
export function invalidKeyUrl(kind: ServiceKeyKind, what: string, remedy?: string): CaissonError {
  return invalidKey(`${kind}: ${what}`, remedy);
}

/** Percent-decoding that refuses what is not UTF-8, and does not repeat it: it may be a secret in the wrong place. */
export function percentDecoded(kind: ServiceKeyKind, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalidKeyUrl(kind, 'a part of it is not percent-encoded UTF-8');
  }
}

function parseOptions(kind: ServiceKeyKind, query: string | undefined): ReadonlyMap<string, string> {
  const options = new Map<string, string>();
  for (const pair of query === undefined ? [] : query.split('&')) {
    const equals = pair.indexOf('=');
    const name = equals < 0 ? pair : pair.substring(0, equals);
    if (secretName.test(name)) throw invalidKeyUrl(kind, `a URL holds no secret such as ${name}`, secretRemedy);
    if (!optionNames[kind].includes(name)) {
      throw invalidKeyUrl(
        kind,
        `there is no option ${JSON.stringify(name)}`,
        `Options of ${kind} are ${optionNames[kind].join(', ')}.`,
      );
    }
    const value = percentDecoded(kind, equals < 0 ? '' : pair.substring(equals + 1));
    if (value === '') throw invalidKeyUrl(kind, `the option ${name} is empty`);
    if (options.has(name)) throw invalidKeyUrl(kind, `the option ${name} is given twice`);
    if (/\p{Cc}/u.test(value)) throw invalidKeyUrl(kind, `the option ${name} holds a control character`);
    if (/-(file|path)$/.test(name) && !value.startsWith('/')) {
      throw invalidKeyUrl(
        kind,
        `the path of ${name} is relative`,
        `Give ${name} an absolute path: another process reads it.`,
      );
    }
    options.set(name, value);
  }
  return options;
}

const secretRemedy = 'Put the secret into a file that only its owner may read, and name the file.';

function invalidKey(what: string, remedy = 'See docs/key-sources.md for the form of each.'): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', `the key source cannot be used: ${what}`, { remedy });
}
