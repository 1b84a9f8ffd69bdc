/**
 * A key of the transit engine of Vault or OpenBao as a key source (spec/keys.md, section 5.7). wrapped = the
 * ciphertext as Vault writes it, `vault:v1:…`. The volume goes along as context and as additional data.
 */
import { keyBytes } from '../crypto/sealer.ts';
import type { CaissonError } from '../lib/errors.ts';
import type { HeldKeySource, KeyUse } from './key-source.ts';
import { invalidKeyUrl } from './key-url.ts';
import type { KeyUrl } from './key-url.ts';
import type { KeySourceContext } from './key-source-context.ts';
import { serviceAway, serviceRefuses, wrongWrap } from './service-errors.ts';
import { answeredObject, requireTls, serviceUrl } from './service-http.ts';
import type { ServiceAnswer } from './service-http.ts';
import { askVault, faultsOf, fieldsOf, isVaultPath, VaultLogin, vaultServer } from './vault-login.ts';
import type { VaultServer } from './vault-login.ts';
import { invalidParameters, useText, wrappedBytesMax, wrappedKeySource } from './wrapped-key.ts';

const ciphertextPattern = /^vault:v[1-9][0-9]{0,8}:[A-Za-z0-9+/]+={0,2}$/;

interface TransitKey {
  readonly server: VaultServer;
  readonly login: VaultLogin;
  readonly mount: string;
  readonly name: string;
}

export function createVaultSource(url: KeyUrl, { clock, random, environment }: KeySourceContext): HeldKeySource {
  const address = serviceUrl('vault', url.body);
  requireTls('vault', address);
  const path = address.pathname.substring(1);
  const slash = path.lastIndexOf('/');
  if (slash < 1 || !isVaultPath(path))
    throw invalidKeyUrl('vault', 'it names no key of a transit engine', 'Write vault:https://host:8200/transit/KEY.');
  const server = vaultServer(url, address.origin, clock);
  const login = new VaultLogin(url, server, environment);
  if (login.method === 'cert' && address.protocol !== 'https:')
    throw invalidKeyUrl('vault', 'a login by certificate needs https://');
  const key = { server, login, mount: path.substring(0, slash), name: path.substring(slash + 1) };
  return wrappedKeySource(
    {
      kind: 'vault',
      describe: `Vault ${address.host}, key ${path}`,
      async wrap(use) {
        const secret = Uint8Array.from(random.bytes(keyBytes));
        const fields = { plaintext: Buffer.from(secret).toString('base64'), ...bindings(use) };
        const { ciphertext } = fieldsOf((await transit(key, 'encrypt', fields))['data']);
        if (
          typeof ciphertext !== 'string' ||
          !ciphertextPattern.test(ciphertext) ||
          ciphertext.length > wrappedBytesMax
        )
          throw serviceAway('vault', 'its answer holds no ciphertext');
        return { wrapped: new TextEncoder().encode(ciphertext), secret };
      },
      async unwrap(wrapped, use) {
        const ciphertext = new TextDecoder().decode(wrapped);
        if (!ciphertextPattern.test(ciphertext)) throw invalidParameters('vault', 'hold no ciphertext of Vault');
        const { plaintext } = fieldsOf((await transit(key, 'decrypt', { ciphertext, ...bindings(use) }))['data']);
        if (typeof plaintext !== 'string') throw serviceAway('vault', 'its answer holds no plaintext');
        return new Uint8Array(Buffer.from(plaintext, 'base64'));
      },
      wipe: () => login.wipe(),
    },
    random,
  );
}

function bindings(use: KeyUse): { readonly context: string; readonly associated_data: string } {
  const text = Buffer.from(useText(use)).toString('base64');
  return { context: text, associated_data: text };
}

/** A token from a login may have been revoked meanwhile: then there is one more login. */
async function transit(
  { server, login, mount, name }: TransitKey,
  verb: 'encrypt' | 'decrypt',
  fields: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, unknown>>> {
  const ask = async (): Promise<ServiceAnswer> =>
    askVault(server, `${mount}/${verb}/${name}`, fields, await login.token());
  let answer = await ask();
  if (answer.status === 403 && login.forget()) answer = await ask();
  if (answer.status === 200) return answeredObject('vault', answer);
  throw refusalOf(answer, verb, `${mount}/${name}`);
}

function refusalOf(answer: ServiceAnswer, verb: 'encrypt' | 'decrypt', key: string): CaissonError {
  const faults = faultsOf(answer);
  if (answer.status === 403) {
    return serviceRefuses(
      'vault',
      `it does not allow ${verb} with ${key}: ${faults}`,
      `Check the token, its namespace, and that its policy has "update" on ${key.replace(/\/([^/]*)$/, `/${verb}/$1`)}.`,
    );
  }
  if (answer.status === 404 || /key not found|no handler for route|unsupported path/i.test(faults))
    return serviceRefuses(
      'vault',
      `it has no key ${key}: ${faults}`,
      'Check the mount and the key in the URL, and the namespace.',
    );
  if (/too old|disallowed by policy/i.test(faults))
    return wrongWrap(
      'vault',
      `the version of the key under which the slot was wrapped is no longer allowed: ${faults}`,
    );
  if (answer.status === 400 && verb === 'decrypt') return wrongWrap('vault', faults);
  if (answer.status === 400)
    return serviceRefuses('vault', `it refuses: ${faults}`, 'Check the type of the key: it must encrypt.');
  const isSealed = answer.status === 503 ? ' (sealed or starting)' : '';
  return serviceAway('vault', `it answered ${answer.status}${isSealed}: ${faults}`);
}
