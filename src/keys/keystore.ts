/**
 * A keystore as a key source (spec/keys.md, section 5.11): a file that holds one random key, sealed by any other source,
 * and gives a key of its own to each name. wrapped = the key epoch (4) of the keystore.
 *
 * The file is opened for each question and its keys are wiped after it: it may be renewed while a process runs.
 */
import { closeSync, fsyncSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { deriveKey, keyLabel } from '../crypto/derive.ts';
import { volumeIdFromPublicKey } from '../crypto/signature.ts';
import { ByteReader, ByteWriter } from '../lib/byte-codec.ts';
import { CaissonError, isCaissonError, messageOf } from '../lib/errors.ts';
import type { Random } from '../lib/random.ts';
import { createKeyFileSource } from './key-file.ts';
import type { KeySourceContext } from './key-source-context.ts';
import type { HeldKeySource, KeySource, KeyUse } from './key-source.ts';
import { invalidKeyUrl } from './key-url.ts';
import type { KeyUrl } from './key-url.ts';
import { createKeyring, openKeyring } from './keyring.ts';
import { decodeKeystore, encodeKeystore, keystoreBytesMax } from './keystore-format.ts';
import { createPassphraseSource, passphraseFromBytes } from './passphrase.ts';
import { readSecretFile } from './secret-file.ts';
import { serviceRefuses, wrongWrap } from './service-errors.ts';
import { invalidParameters, wrappedKeySource } from './wrapped-key.ts';

type OpenSource = (text: string, context: KeySourceContext) => Promise<HeldKeySource>;

/** `openSource` opens what seals the keystore, which is no keystore itself. */
export function createKeystoreSource(url: KeyUrl, context: KeySourceContext, openSource: OpenSource): HeldKeySource {
  const path = url.body;
  if (!path.startsWith('/'))
    throw invalidKeyUrl('keystore', 'it names no file', 'Write keystore:/etc/caisson/keys?name=data&unlock=….');
  const name = url.options.get('name') ?? 'default';
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(name))
    throw invalidKeyUrl('keystore', 'a name has 1 to 64 letters, digits, ".", "_" and "-"');
  const unlock = unlockingOf(url, context, openSource);
  return wrappedKeySource(
    {
      kind: 'keystore',
      describe: `keystore ${path}, key ${name}`,
      async wrap(use) {
        const { epoch, secret } = await secretOf(path, unlock, context.random, name, use);
        return { wrapped: new ByteWriter().u32(epoch).finish(), secret };
      },
      async unwrap(wrapped, use) {
        if (wrapped.length !== 4) throw invalidParameters('keystore', 'have the wrong length');
        const wanted = new ByteReader(wrapped, 'the parameters').u32();
        return (await secretOf(path, unlock, context.random, name, use, wanted)).secret;
      },
    },
    context.random,
  );
}

/** A new file, readable by its owner alone and never over an existing one. Each source opens it. */
export async function createKeystore(path: string, sources: readonly KeySource[], random: Random): Promise<void> {
  const [first, ...others] = sources;
  if (first === undefined || sources.some(({ kind }) => kind === 'none' || kind === 'keystore')) {
    throw new CaissonError(
      'invalid',
      'argument-invalid',
      'a keystore is sealed by a passphrase, a key file or a service',
      {
        remedy: 'Name what seals it with --key, --key-file or --passphrase-file.',
      },
    );
  }
  const keyring = await createKeyring({ source: first, random, volumeIdOf: volumeIdFromPublicKey });
  try {
    for (const source of others) await keyring.addSlot(source);
    writeNewFile(path, encodeKeystore({ id: keyring.volumeId, keyring: keyring.encode() }));
  } finally {
    keyring.wipe();
  }
}

function unlockingOf(url: KeyUrl, context: KeySourceContext, openSource: OpenSource): () => Promise<HeldKeySource> {
  const passphraseFile = url.options.get('passphrase-file');
  const unlock = url.options.get('unlock');
  if ((passphraseFile === undefined) === (unlock === undefined))
    throw invalidKeyUrl(
      'keystore',
      'it must say what opens it',
      'Add unlock=URL (percent-encoded) or passphrase-file=/path.',
    );
  if (unlock?.startsWith('keystore:') === true) throw invalidKeyUrl('keystore', 'a keystore cannot open another');
  const { random } = context;
  return async () => {
    if (passphraseFile !== undefined) {
      const content = readSecretFile(passphraseFile, 'the passphrase');
      const passphrase = passphraseFromBytes(content);
      content.fill(0);
      const source = createPassphraseSource({ passphrase, random });
      passphrase.fill(0);
      return source;
    }
    const text = unlock ?? '';
    if (!text.startsWith('file:/')) return openSource(text, context);
    const content = readSecretFile(text.substring('file:'.length), 'the key file');
    const source = createKeyFileSource({ content, random });
    content.fill(0);
    return source;
  };
}

/** The key of this name and use under the wanted key epoch, else under the current one. */
async function secretOf(
  path: string,
  unlock: () => Promise<HeldKeySource>,
  random: Random,
  name: string,
  use: KeyUse,
  wanted?: number,
): Promise<{ readonly epoch: number; readonly secret: Uint8Array }> {
  const source = await unlock();
  try {
    const { id, keyring: encoded } = decodeKeystore(readKeystore(path));
    const keyring = await openKeyring(encoded, id, source, random);
    try {
      const epoch = wanted ?? keyring.currentKeyEpoch;
      const context = new Uint8Array([...use.volumeId, ...new TextEncoder().encode(name)]);
      return { epoch, secret: deriveKey(keyring.dataKey(epoch), id, keyLabel.keystoreName, context) };
    } finally {
      keyring.wipe();
    }
  } catch (error) {
    throw translated(path, error);
  } finally {
    source.wipe();
  }
}

/** Whatever is wrong with the keystore itself ends the opening of the volume: no other slot of this kind would fare better. */
function translated(path: string, error: unknown): unknown {
  if (isCaissonError(error, 'key-epoch-missing')) return wrongWrap('keystore', error.message);
  const ownCodes = [
    'key-wrong',
    'key-slot-missing',
    'keyring-tampered',
    'format-invalid',
    'format-version',
    'key-parameters-weak',
  ] as const;
  if (!ownCodes.some((code) => isCaissonError(error, code))) return error;
  const remedy = 'Check what the URL says opens the keystore, and whether the file is the one that was made.';
  return serviceRefuses('keystore', `${path} does not open: ${messageOf(error)}`, remedy, error);
}

function readKeystore(path: string): Uint8Array {
  const content = readSecretFile(path, 'the keystore');
  if (content.length <= keystoreBytesMax) return content;
  throw serviceRefuses('keystore', `${path} is too long for a keystore`, 'Check the path in the URL.');
}

function writeNewFile(path: string, content: Uint8Array): void {
  let isMade = false;
  try {
    const descriptor = openSync(path, 'wx', 0o600);
    isMade = true;
    try {
      writeFileSync(descriptor, content);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if (isMade) rmSync(path, { force: true });
    throw new CaissonError('io', 'store-io', `the keystore ${path} cannot be written: ${messageOf(error)}`, {
      remedy: 'Name a file that does not exist yet, in a folder that you may write to.',
      details: { path },
      cause: error,
    });
  }
}
