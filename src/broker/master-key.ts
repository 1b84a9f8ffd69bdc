/**
 * The source of the broker's master key: a file, a passphrase in a file, or a key source outside this process. Without a
 * choice it is a key file in the state folder, which protects backups of the database and not the machine.
 */
import fs from 'node:fs';
import { systemRandom } from '../crypto/random.ts';
import { createKeyFileSource } from '../keys/key-file.ts';
import type { KeySource } from '../keys/key-source.ts';
import { openKeySource } from '../keys/open-key-source.ts';
import { createPassphraseSource, passphraseFromBytes } from '../keys/passphrase.ts';
import { CaissonError, messageOf } from '../lib/errors.ts';
import { patientClock } from '../lib/clock.ts';
import type { Environment } from '../lib/folders.ts';
import { toHex } from '../lib/hex.ts';
import { passphraseBytesMax } from '../lib/limits.ts';
import { writePrivateFile } from './server/state-files.ts';

export interface MasterKey {
  readonly source: KeySource;
  readonly warning: string | undefined;
}

export async function openMasterKey(
  choice: string | undefined,
  stateFolder: string,
  environment: Environment,
): Promise<MasterKey> {
  if (choice === undefined) return defaultKeyFile(`${stateFolder}/master.key`);
  if (choice.startsWith('file:')) return { source: keyFile(choice.substring(5)), warning: undefined };
  if (choice.startsWith('passphrase:')) return { source: passphrase(choice.substring(11)), warning: undefined };
  const source = await openKeySource(choice, { clock: patientClock, random: systemRandom, environment });
  return { source, warning: undefined };
}

function defaultKeyFile(path: string): MasterKey {
  if (!fs.existsSync(path)) writePrivateFile(path, `${toHex(systemRandom.bytes(32))}\n`, 0o600);
  return {
    source: keyFile(path),
    warning: `the master key is the file ${path}: whoever reads it and the database has every key; name another source with masterKey`,
  };
}

function keyFile(path: string): KeySource {
  const content = readSecret(path);
  try {
    return createKeyFileSource({ content, random: systemRandom, name: path });
  } finally {
    content.fill(0);
  }
}

function passphrase(path: string): KeySource {
  const content = readSecret(path);
  const text = passphraseFromBytes(content);
  try {
    return createPassphraseSource({ passphrase: text, random: systemRandom });
  } finally {
    content.fill(0);
    text.fill(0);
  }
}

function readSecret(path: string): Uint8Array {
  try {
    const { size } = fs.statSync(path);
    if (size <= passphraseBytesMax) return new Uint8Array(fs.readFileSync(path));
    throw new Error(`it is larger than ${passphraseBytesMax} bytes`);
  } catch (cause) {
    throw new CaissonError(
      'denied',
      'key-source-unavailable',
      `the master key cannot be read from ${path}: ${messageOf(cause)}`,
      {
        remedy: 'Name a file that this user may read in masterKey.',
        details: { path },
        cause,
      },
    );
  }
}
