/**
 * Where a command's key comes from: a file, a descriptor, a key file, a service that a URL names, or the
 * terminal. A secret is never an argument (any user of the machine can read those), never the environment (children inherit it).
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Operations } from '../admin/operations.ts';
import type { Credential, KeyHint } from '../admin/schema.ts';
import { CaissonError, messageOf } from '../lib/errors.ts';
import { keyUrlCharactersMax, serviceKeyKinds, serviceKindOf } from '../lib/key-kinds.ts';
import { passphraseBytesMax } from '../lib/limits.ts';
import type { CommandOptions } from './command.ts';
import { askNewSecret, askSecret, isInteractive } from './terminal.ts';

export interface GivenKey {
  readonly credential: Credential;
  /** What volumes.json may remember: a path that will still lead to the key tomorrow. */
  readonly hint: KeyHint;
}

/** `--key passphrase`: a person is asked, even where the volume's hint leads to a key. */
type NamedKey = GivenKey | 'asked';

/** Whether the options name a key; reads nothing. */
export function namesKey(options: CommandOptions): boolean {
  return ['key', 'passphraseFile', 'passphraseFd', 'keyFile'].some((key) => textOption(options, key) !== undefined);
}

/** The key that the options name, or undefined when they name none. */
export async function keyFromOptions(options: CommandOptions, isNew = false): Promise<GivenKey | undefined> {
  const named = namedKey(options, isNew);
  if (named !== 'asked') return named;
  requireTerminal(isNew);
  return passphraseKey(isNew ? await askNewSecret('New passphrase') : await askSecret('Passphrase: '));
}

function namedKey(options: CommandOptions, isNew: boolean): NamedKey | undefined {
  const prefix = isNew ? 'new-' : '';
  const given = {
    source: textOption(options, isNew ? 'newKey' : 'key'),
    passphraseFile: textOption(options, isNew ? 'newPassphraseFile' : 'passphraseFile'),
    passphraseFd: textOption(options, isNew ? 'newPassphraseFd' : 'passphraseFd'),
    keyFile: textOption(options, isNew ? 'newKeyFile' : 'keyFile'),
  };
  const count = Object.values(given).filter((value) => value !== undefined).length;
  if (count === 0) return undefined;
  if (count > 1) {
    const flags = ['key', 'passphrase-file', 'passphrase-fd', 'key-file'].map((flag) => `--${prefix}${flag}`);
    throw new CaissonError('invalid', 'argument-invalid', 'more than one key was given', {
      remedy: `Give one of ${flags.join(', ')}.`,
    });
  }
  if (given.source !== undefined) return keyOfSource(given.source, `--${prefix}key`);
  if (given.keyFile !== undefined) return keyFileKey(given.keyFile);
  if (given.passphraseFile !== undefined) {
    const path = resolve(given.passphraseFile);
    const secret = readSecretFile(path, `--${prefix}passphrase-file`);
    return {
      credential: { kind: 'passphrase', secret },
      hint: { kind: 'passphrase', ...(isLasting(path) ? { path } : {}) },
    };
  }
  return passphraseKey(
    readSecret(descriptorOf(given.passphraseFd ?? ''), `descriptor ${given.passphraseFd}`, `--${prefix}passphrase-fd`),
  );
}

/** What follows the scheme is checked by whoever opens the source. */
function keyOfSource(text: string, option: string): NamedKey {
  if (text === 'passphrase') return 'asked';
  if (text.startsWith('file:') && text.length > 'file:'.length) return keyFileKey(text.slice('file:'.length));
  const kind = serviceKindOf(text);
  if (kind !== undefined && text.length <= keyUrlCharactersMax)
    return { credential: { kind: 'url', url: text }, hint: { kind, url: text } };
  throw new CaissonError('invalid', 'argument-invalid', `${option} names no source of keys that is known`, {
    remedy: `Give passphrase, file:PATH, or a URL of the kind ${serviceKeyKinds.join(', ')} (docs/key-sources.md).`,
  });
}

function keyFileKey(file: string): GivenKey {
  const path = resolve(file);
  return { credential: { kind: 'key-file', path }, hint: { kind: 'key-file', path } };
}

function passphraseKey(secret: Uint8Array): GivenKey {
  return { credential: { kind: 'passphrase', secret }, hint: { kind: 'passphrase' } };
}

function requireTerminal(isNew: boolean): void {
  if (isInteractive()) return;
  const prefix = isNew ? 'new-' : '';
  throw new CaissonError('denied', 'key-source-unavailable', 'no key was given, and there is no terminal to ask on', {
    remedy: `Give --${prefix}passphrase-file, --${prefix}passphrase-fd, --${prefix}key-file or --${prefix}key.`,
  });
}

/** For a new volume or slot: what the options name, else a passphrase typed twice. */
export async function newKey(options: CommandOptions, question: string, isNew = false): Promise<GivenKey> {
  const named = namedKey(options, isNew);
  if (named !== undefined && named !== 'asked') return named;
  requireTerminal(isNew);
  return passphraseKey(await askNewSecret(question));
}

/**
 * For an existing volume: what the options name, else nothing where the volume's own hint leads to a
 * key, else a passphrase from the terminal. Undefined lets the operation find or refuse by itself. A volume that
 * is open needs none, unless it is `opensAgain`: as a snapshot beside itself, or as a clone.
 */
export async function unlockingKey(
  operations: Operations,
  name: string,
  options: CommandOptions,
  opensAgain = false,
): Promise<Credential | undefined> {
  const given = await keyFromOptions(options);
  if (given !== undefined) return given.credential;
  const { volumes } = await operations.listVolumes({});
  const volume = volumes.find((candidate) => candidate.name === name);
  if (volume === undefined || (volume.open && !opensAgain)) return undefined;
  if (volume.key.kind !== 'passphrase' || volume.key.path !== undefined) return undefined;
  if (!isInteractive()) return undefined;
  return { kind: 'passphrase', secret: await askSecret(`Passphrase of ${name}: `) };
}

/** For work that needs a key only now and then: nobody is asked for one before it turns out. */
export async function withKeyWhenNeeded<Value>(
  name: string,
  credential: Credential | undefined,
  work: (credential: Credential | undefined) => Promise<Value>,
): Promise<Value> {
  try {
    return await work(credential);
  } catch (error) {
    const isMissing = error instanceof CaissonError && error.code === 'key-source-unavailable';
    if (!isMissing || credential !== undefined || !isInteractive()) throw error;
    return work({ kind: 'passphrase', secret: await askSecret(`Passphrase of ${name}: `) });
  }
}

/** Of the LUKS volume that is imported; undefined without `--luks`. */
export async function luksPassphrase(options: CommandOptions): Promise<Uint8Array | undefined> {
  const file = textOption(options, 'luksPassphraseFile');
  const descriptor = textOption(options, 'luksPassphraseFd');
  if (options['luks'] !== true) {
    if (file === undefined && descriptor === undefined) return undefined;
    throw new CaissonError('invalid', 'argument-invalid', 'a LUKS passphrase goes with --luks', {
      remedy: 'Give --luks as well.',
    });
  }
  if (file !== undefined) return readSecretFile(resolve(file), '--luks-passphrase-file');
  if (descriptor !== undefined)
    return readSecret(descriptorOf(descriptor), `descriptor ${descriptor}`, '--luks-passphrase-fd');
  if (isInteractive()) return askSecret('Passphrase of the LUKS volume: ');
  throw new CaissonError('denied', 'key-source-unavailable', 'no passphrase of the LUKS volume was given', {
    remedy: 'Give --luks-passphrase-file or --luks-passphrase-fd.',
  });
}

export function textOption(options: CommandOptions, key: string): string | undefined {
  const value = options[key];
  return typeof value === 'string' ? value : undefined;
}

/** `<(command)` and /dev/stdin are gone when the command ends. */
function isLasting(path: string): boolean {
  return !/^\/(dev|proc)\//.test(path);
}

function descriptorOf(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new CaissonError('invalid', 'argument-invalid', `${JSON.stringify(text)} is not the number of a descriptor`, {
    remedy: 'Give the number of an open descriptor, such as --passphrase-fd 3 3<file.',
  });
}

function readSecretFile(path: string, option: string): Uint8Array {
  let descriptor;
  try {
    descriptor = openSync(path, 'r');
  } catch (error) {
    throw unreadable(path, option, error);
  }
  try {
    return readSecret(descriptor, path, option);
  } finally {
    closeSync(descriptor);
  }
}

/** One byte more than is allowed, so that a longer secret is refused and not cut. */
function readSecret(descriptor: number, place: string, option: string): Uint8Array {
  const bytes = new Uint8Array(passphraseBytesMax + 1);
  let length = 0;
  try {
    while (length < bytes.length) {
      const count = readSync(descriptor, bytes, length, bytes.length - length, null);
      if (count === 0) break;
      length += count;
    }
  } catch (error) {
    throw unreadable(place, option, error);
  }
  return bytes.subarray(0, length);
}

function unreadable(place: string, option: string, error: unknown): CaissonError {
  return new CaissonError(
    'denied',
    'key-source-unavailable',
    `the passphrase cannot be read from ${place}: ${messageOf(error)}`,
    {
      remedy: `Give ${option} something that can be read.`,
      cause: error,
    },
  );
}
