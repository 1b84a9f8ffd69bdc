/**
 * From where a volume's hint points to a credential, and from a credential to a key source. What a
 * passphrase file holds is bounded here and interpreted by `keys/passphrase.ts` alone.
 */
import fs from 'node:fs';
import type { Credential, KeyHint } from '../admin/schema.ts';
import { systemRandom } from '../crypto/random.ts';
import type { KeySource } from '../keys/key-source.ts';
import { assert } from '../lib/assert.ts';
import { patientClock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import type { Environment } from '../lib/folders.ts';
import { serviceKindOf } from '../lib/key-kinds.ts';
import { passphraseBytesMax } from '../lib/limits.ts';
import { fileError } from '../store/file-errors.ts';
import type { Parts } from './parts.ts';
import type { VolumeEntry } from './volume-names.ts';

/** Undefined: only a person can give this one. */
export async function credentialOfHint(hint: KeyHint): Promise<Credential | undefined> {
  if (hint.kind === 'none') return { kind: 'none' };
  if (hint.url !== undefined) return { kind: 'url', url: hint.url };
  if (hint.path === undefined) return undefined;
  if (hint.kind === 'key-file') return { kind: 'key-file', path: hint.path };
  if (hint.kind !== 'passphrase') return undefined;
  return { kind: 'passphrase', secret: readSecretFile(hint.path, 'passphrase file', '--passphrase-file') };
}

/** What volumes.json may remember of a key when the request does not say it. */
export function hintOf(credential: Credential): KeyHint {
  if (credential.kind !== 'url') return { kind: credential.kind };
  const kind = serviceKindOf(credential.url);
  assert(kind !== undefined, 'the source of this key was opened');
  return { kind, url: credential.url };
}

export async function keySourceOf(credential: Credential, environment: Environment): Promise<KeySource> {
  if (credential.kind === 'url') {
    const { openKeySource } = await import('../keys/open-key-source.ts');
    return openKeySource(credential.url, { clock: patientClock, random: systemRandom, environment });
  }
  if (credential.kind === 'none') return (await import('../keys/none.ts')).noneSource;
  if (credential.kind === 'key-file') {
    const { createKeyFileSource } = await import('../keys/key-file.ts');
    const content = readSecretFile(credential.path, 'key file', '--key-file');
    try {
      return createKeyFileSource({ content, random: systemRandom, name: credential.path });
    } finally {
      content.fill(0);
    }
  }
  const { createPassphraseSource, passphraseFromBytes } = await import('../keys/passphrase.ts');
  const passphrase = passphraseFromBytes(credential.secret);
  try {
    return createPassphraseSource({ passphrase, random: systemRandom });
  } finally {
    passphrase.fill(0);
  }
}

/** A new key file: 32 random bytes as text, readable by its owner alone, never over an existing file. */
export async function generateKeyFile(path: string): Promise<void> {
  const key = Buffer.from(systemRandom.bytes(32));
  try {
    const descriptor = fs.openSync(path, 'wx', 0o600);
    try {
      fs.writeFileSync(descriptor, `${key.toString('hex')}\n`);
      fs.fsyncSync(descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
  } catch (error) {
    throw fileError(error, 'create', path);
  } finally {
    key.fill(0);
  }
}

/** A new keystore that each of the credentials opens. */
export async function generateKeystore(
  path: string,
  credentials: readonly Credential[],
  environment: Environment,
): Promise<void> {
  const { createKeystore } = await import('../keys/keystore.ts');
  const sources = await Promise.all(credentials.map((credential) => keySourceOf(credential, environment)));
  await createKeystore(path, sources, systemRandom);
}

/** At most one byte more than any secret may have, so that a longer one is refused and not cut. */
function readSecretFile(path: string, what: string, option: string): Uint8Array {
  const bytes = new Uint8Array(passphraseBytesMax + 1);
  let length = 0;
  try {
    const descriptor = fs.openSync(path, 'r');
    try {
      let count;
      while (
        length < bytes.length &&
        (count = fs.readSync(descriptor, bytes, length, bytes.length - length, null)) > 0
      ) {
        length += count;
      }
    } finally {
      fs.closeSync(descriptor);
    }
  } catch (error) {
    const cause = fileError(error, 'read', path);
    throw new CaissonError('denied', 'key-source-unavailable', `the ${what} cannot be read: ${cause.message}`, {
      remedy: `Give another one with ${option}.`,
      details: { path },
      cause,
    });
  }
  return bytes.subarray(0, length);
}

/** The credential that the volume's hint leads to; where it leads nowhere, a person must give one. */
export async function credentialOfEntry(parts: Parts, name: string, entry: VolumeEntry): Promise<Credential> {
  const credential = await parts.credentialOf(entry.key);
  if (credential !== undefined) return credential;
  throw new CaissonError('denied', 'key-source-unavailable', `no key was given for ${name}`, {
    remedy: 'Give --passphrase-file, --passphrase-fd, --key-file or --key, or run the command on a terminal.',
    details: { name },
  });
}
