/**
 * A PKCS#11 token as a key source (spec/keys.md, section 5.5): an AES key that never leaves the token wraps the
 * secret with AES-GCM; the volume is its additional data. wrapped = nonce (12) || ciphertext (32) || tag (16).
 *
 * A wrong PIN is tried once and never again by this process, since tokens lock themselves after a few; a token that
 * says that one try is left is not tried at all.
 */
import { hash } from 'node:crypto';
import { keyBytes, nonceBytes, tagBytes } from '../crypto/sealer.ts';
import { CaissonError, messageOf } from '../lib/errors.ts';
import { pkcs11SlotsMax } from '../lib/limits.ts';
import { openPkcs11Module, Pkcs11Failure, Pkcs11Result, TokenFlag } from '../sys/pkcs11.ts';
import type { TokenInfo, TokenModule, TokenSession } from '../sys/pkcs11.ts';
import type { HeldKeySource, KeyUse } from './key-source.ts';
import type { KeyUrl } from './key-url.ts';
import type { KeySourceContext } from './key-source-context.ts';
import { parsePkcs11Uri } from './pkcs11-uri.ts';
import type { Pkcs11Uri } from './pkcs11-uri.ts';
import { readSecretText } from './secret-file.ts';
import { serviceAway, serviceRefuses, wrongWrap } from './service-errors.ts';
import { invalidParameters, useText, wrappedKeySource } from './wrapped-key.ts';

const wrappedBytes = nonceBytes + keyBytes + tagBytes;

/** What a decryption returns, token by token, when it was given a ciphertext of another key: 2.40 names no single value. */
const wrongCiphertext: ReadonlySet<number> = new Set([
  Pkcs11Result.encryptedDataInvalid,
  Pkcs11Result.encryptedDataLength,
  ...[0x05, 0x06, 0x07, 0x20, 0x21, 0xc0],
]);

/** Digests of (module, token, PIN) that a token has refused. */
const refusedPins = new Set<string>();

/** `openModule` is another one in tests. */
export function createPkcs11Source(
  url: KeyUrl,
  { random }: KeySourceContext,
  openModule: (path: string) => TokenModule = openPkcs11Module,
): HeldKeySource {
  const uri = parsePkcs11Uri(url);
  const { label, serial } = uri.token;
  const withKey = <Value>(work: (session: TokenSession, key: bigint) => Value): Value =>
    withTokenKey(uri, openModule, work);
  const name = label ?? serial ?? 'token';
  return wrappedKeySource(
    {
      kind: 'pkcs11',
      describe: `PKCS#11 ${name}, key ${uri.object ?? 'by id'}`,
      async wrap(use) {
        const secret = Uint8Array.from(random.bytes(keyBytes));
        const nonce = Uint8Array.from(random.bytes(nonceBytes));
        const sealed = withKey((session, key) =>
          session.encryptGcm(key, { nonce, additional: additionalOf(use), input: secret }),
        );
        const wrapped = new Uint8Array(nonceBytes + sealed.length);
        wrapped.set(nonce);
        wrapped.set(sealed, nonceBytes);
        if (wrapped.length !== wrappedBytes) throw serviceAway('pkcs11', 'it does not encrypt as AES-GCM does');
        return { wrapped, secret };
      },
      async unwrap(wrapped, use) {
        if (wrapped.length !== wrappedBytes) throw invalidParameters('pkcs11', 'have the wrong length');
        const call = {
          nonce: wrapped.subarray(0, nonceBytes),
          additional: additionalOf(use),
          input: wrapped.subarray(nonceBytes),
        };
        return withKey((session, key) => session.decryptGcm(key, call));
      },
    },
    random,
  );
}

function additionalOf(use: KeyUse): Uint8Array {
  return new TextEncoder().encode(useText(use));
}

/** The whole conversation with the token, without a pause in which others could use its session. */
function withTokenKey<Value>(
  uri: Pkcs11Uri,
  openModule: (path: string) => TokenModule,
  work: (session: TokenSession, key: bigint) => Value,
): Value {
  try {
    const pkcs11 = openModule(uri.modulePath);
    const token = oneToken(uri, pkcs11.tokens(pkcs11SlotsMax));
    const secret = pinFor(uri, token);
    try {
      return pkcs11.withSession(token.slot, secret?.bytes, (session) => work(session, oneKey(uri, session)));
    } catch (error) {
      if (secret !== undefined && isPinRefusal(error)) refusedPins.add(secret.digest);
      throw error;
    } finally {
      secret?.bytes.fill(0);
    }
  } catch (error) {
    throw error instanceof CaissonError ? error : translated(error);
  }
}

function oneToken({ token, slot }: Pkcs11Uri, tokens: readonly TokenInfo[]): TokenInfo {
  const found = tokens.filter(
    (candidate) =>
      (slot === undefined || candidate.slot === BigInt(slot)) &&
      Object.entries(token).every(([field, wanted]) => candidate[field as keyof typeof token] === wanted),
  );
  const [first] = found;
  if (first !== undefined && found.length === 1) return first;
  const seen = tokens.map(({ label }) => label).filter((label) => label !== '');
  if (first !== undefined) {
    throw serviceRefuses('pkcs11', `${found.length} tokens fit the URL`, 'Add serial=… of the one that is meant.');
  }
  throw serviceAway('pkcs11', 'no token that is present fits the URL', {
    remedy: `Check token=… and whether the token is plugged in; present are: ${seen.toSpliced(8).join(', ') || 'none'}.`,
  });
}

function oneKey({ object, id }: Pkcs11Uri, session: TokenSession): bigint {
  const label = object === undefined ? undefined : new TextEncoder().encode(object);
  const keys = session.findAesKeys({ label, id });
  const [first] = keys;
  if (first !== undefined && keys.length === 1) return first;
  const name = object ?? 'of that id';
  if (first !== undefined)
    throw serviceRefuses('pkcs11', `the token holds several AES keys ${name}`, 'Add id=… of the one that is meant.');
  throw serviceRefuses(
    'pkcs11',
    `the token holds no AES key ${name}`,
    'Check object=… and id=…; list the keys with: pkcs11-tool --module PATH --login -O.',
  );
}

function pinFor(
  { pinFile, modulePath }: Pkcs11Uri,
  { flags, label, serial }: TokenInfo,
): { readonly bytes: Uint8Array; readonly digest: string } | undefined {
  if ((flags & TokenFlag.userPinLocked) !== 0)
    throw pinTrouble('the PIN is locked', 'Unlock it with the token’s SO PIN.');
  if (pinFile === undefined) {
    if ((flags & TokenFlag.loginRequired) === 0) return undefined;
    throw pinTrouble('it needs a PIN', 'Put the PIN into a file and add pin-source=file:/path to the URL.');
  }
  if ((flags & TokenFlag.userPinFinalTry) !== 0)
    throw pinTrouble('one more wrong PIN would lock it', 'Log in by hand once with the right PIN.');
  const text = readSecretText(pinFile, 'the PIN');
  const digest = hash('sha256', `${modulePath}\0${label}\0${serial}\0${text}`, 'hex');
  if (refusedPins.has(digest)) throw wrongPin('it was refused before');
  return { bytes: new TextEncoder().encode(text), digest };
}

function isPinRefusal(error: unknown): boolean {
  return error instanceof Pkcs11Failure && error.result === Pkcs11Result.pinIncorrect;
}

function translated(error: unknown): CaissonError {
  if (!(error instanceof Pkcs11Failure)) {
    return serviceRefuses(
      'pkcs11',
      messageOf(error),
      'Check module-path: it is the shared library of the token’s vendor.',
      error,
    );
  }
  const { result, message } = error;
  if (result === Pkcs11Result.pinIncorrect) return wrongPin(message);
  if (result === Pkcs11Result.pinLocked) return pinTrouble('the PIN is locked', 'Unlock it with the token’s SO PIN.');
  if (result === Pkcs11Result.pinExpired) return pinTrouble('the PIN has expired', 'Set a new PIN.');
  if (result === Pkcs11Result.mechanismInvalid)
    return serviceRefuses('pkcs11', 'the token has no AES-GCM', 'Use a token or a key file that has it.', error);
  if (result === Pkcs11Result.keyFunctionNotPermitted)
    return serviceRefuses('pkcs11', 'the key may not be used so', 'The key needs CKA_ENCRYPT and CKA_DECRYPT.', error);
  if (message.startsWith('C_Decrypt ') && wrongCiphertext.has(result)) return wrongWrap('pkcs11', message);
  return serviceAway('pkcs11', message, { cause: error });
}

function wrongPin(why: string): CaissonError {
  return pinTrouble(
    `the PIN is wrong (${why})`,
    'Correct the file that pin-source names: a wrong PIN is tried once only.',
  );
}

function pinTrouble(what: string, remedy: string): CaissonError {
  return serviceRefuses('pkcs11', what, remedy);
}
