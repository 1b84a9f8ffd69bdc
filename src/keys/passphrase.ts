/**
 * A passphrase as a key source: Argon2id by node:crypto (spec/keys.md, section 5.1).
 *
 * The parameters are read from a keyring that nobody has authenticated yet. They are checked against
 * floors and ceilings before any work: a keyring can neither make the passphrase cheap to guess nor
 * hold up whoever opens it.
 */
import { argon2 } from 'node:crypto';
import { CaissonError } from '../lib/errors.ts';
import * as limits from '../lib/limits.ts';
import type { Random } from '../lib/random.ts';
import { plainBytes } from '../crypto/digest.ts';
import { keyBytes } from '../crypto/sealer.ts';
import type { HeldKeySource } from './key-source.ts';

/** What one try of the passphrase costs. */
export interface PassphraseCost {
  readonly memoryKibibytes: number;
  readonly passes: number;
  readonly parallelism: number;
}

export interface PassphraseParameters extends PassphraseCost {
  readonly salt: Uint8Array;
}

/** About half a second on a small machine of 2026. */
export const passphraseCostDefault: PassphraseCost = { memoryKibibytes: 128 * 1024, passes: 4, parallelism: 4 };

const functionArgon2id = 1;
const headBytes = 11;
const saltBytes = 32;

export interface PassphraseOptions {
  /** From `passphraseFromBytes`; copied, the caller may wipe it. */
  readonly passphrase: Uint8Array;
  readonly random: Random;
  readonly cost?: PassphraseCost;
}

export function createPassphraseSource(options: PassphraseOptions): HeldKeySource {
  const passphrase = Uint8Array.from(options.passphrase);
  const cost = options.cost ?? passphraseCostDefault;
  checkPassphrase(passphrase);
  checkCost(cost);
  let live = true;
  return {
    kind: 'passphrase',
    describe: 'passphrase',
    async enroll() {
      refuseWiped(live);
      const parameters = { ...cost, salt: options.random.bytes(saltBytes) };
      return { parameters: encodePassphraseParameters(parameters), key: await runArgon2(passphrase, parameters) };
    },
    async derive(encoded) {
      refuseWiped(live);
      return runArgon2(passphrase, parsePassphraseParameters(encoded));
    },
    wipe() {
      live = false;
      passphrase.fill(0);
    },
  };
}

/**
 * The passphrase in what a person typed or a file holds, as a copy: UTF-8 in normalization form C, so
 * that every keyboard gives the same bytes, without the one line end an editor puts behind it.
 */
export function passphraseFromBytes(bytes: Uint8Array): Uint8Array {
  const lineEndBytesMax = 2;
  if (bytes.length > limits.passphraseBytesMax + lineEndBytesMax) throw invalidPassphrase('is too long');
  const passphrase = new TextEncoder().encode(
    decodeText(bytes)
      .replace(/\r?\n$/, '')
      .normalize('NFC'),
  );
  checkPassphrase(passphrase);
  return passphrase;
}

/** Reads and checks the parameters of a slot; throws before any work is done with them. */
export function parsePassphraseParameters(encoded: Uint8Array): PassphraseParameters {
  if (encoded.length < headBytes) throw invalidParameters('are too short');
  const view = new DataView(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  if (view.getUint8(0) !== functionArgon2id) throw invalidParameters('name an unknown function');
  const saltLength = view.getUint8(10);
  if (encoded.length !== headBytes + saltLength) throw invalidParameters('have the wrong length');
  const parameters: PassphraseParameters = {
    memoryKibibytes: view.getUint32(1, true),
    passes: view.getUint32(5, true),
    parallelism: view.getUint8(9),
    salt: Uint8Array.from(encoded.subarray(headBytes)),
  };
  if (saltLength > limits.passphraseSaltBytesMax) throw invalidParameters('have too long a salt');
  if (saltLength < limits.passphraseSaltBytesMin)
    throw weakParameters('salt bytes', saltLength, limits.passphraseSaltBytesMin);
  checkCost(parameters);
  return parameters;
}

export function encodePassphraseParameters(parameters: PassphraseParameters): Uint8Array {
  const encoded = new Uint8Array(headBytes + parameters.salt.length);
  const view = new DataView(encoded.buffer);
  view.setUint8(0, functionArgon2id);
  view.setUint32(1, parameters.memoryKibibytes, true);
  view.setUint32(5, parameters.passes, true);
  view.setUint8(9, parameters.parallelism);
  view.setUint8(10, parameters.salt.length);
  encoded.set(parameters.salt, headBytes);
  return encoded;
}

function checkCost(cost: PassphraseCost): void {
  const { memoryKibibytes, passes, parallelism } = cost;
  if (![memoryKibibytes, passes, parallelism].every(Number.isSafeInteger))
    throw invalidParameters('are not whole numbers');
  if (memoryKibibytes > limits.passphraseMemoryKibibytesMax) throw invalidParameters('ask for too much memory');
  if (passes > limits.passphrasePassesMax) throw invalidParameters('ask for too many passes');
  if (memoryKibibytes * passes > limits.passphraseWorkKibibytesMax) throw invalidParameters('ask for too much work');
  if (parallelism > limits.passphraseParallelismMax) throw invalidParameters('ask for too many lanes');
  refuseBelow('memory in KiB', memoryKibibytes, limits.passphraseMemoryKibibytesMin);
  refuseBelow('passes', passes, limits.passphrasePassesMin);
  refuseBelow('parallelism', parallelism, limits.passphraseParallelismMin);
}

function refuseBelow(what: string, value: number, floor: number): void {
  if (value < floor) throw weakParameters(what, value, floor);
}

function runArgon2(passphrase: Uint8Array, parameters: PassphraseParameters): Promise<Uint8Array> {
  const inputs = {
    message: passphrase,
    nonce: parameters.salt,
    memory: parameters.memoryKibibytes,
    passes: parameters.passes,
    parallelism: parameters.parallelism,
    tagLength: keyBytes,
  };
  return new Promise((resolve, reject) => {
    argon2('argon2id', inputs, (error, key) => {
      if (error === null) resolve(plainBytes(key));
      else reject(failedDerivation(parameters, error));
    });
  });
}

function failedDerivation(parameters: PassphraseParameters, cause: unknown): CaissonError {
  return new CaissonError('transient', 'key-source-unavailable', 'the passphrase could not be turned into a key', {
    remedy: `Make ${Math.ceil(parameters.memoryKibibytes / 1024)} MiB of memory available and try again.`,
    cause,
  });
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw invalidPassphrase('is not UTF-8');
  }
}

function checkPassphrase(passphrase: Uint8Array): void {
  if (passphrase.length === 0) throw invalidPassphrase('is empty');
  if (passphrase.length > limits.passphraseBytesMax) throw invalidPassphrase('is too long');
}

function invalidPassphrase(what: string): CaissonError {
  return new CaissonError('invalid', 'argument-invalid', `the passphrase ${what}`, {
    remedy: `Give a passphrase of 1 to ${limits.passphraseBytesMax} bytes in UTF-8; for more secret than that use a key file.`,
  });
}

function invalidParameters(what: string): CaissonError {
  return new CaissonError('integrity', 'format-invalid', `the parameters of a passphrase slot ${what}`);
}

function weakParameters(what: string, value: number, floor: number): CaissonError {
  return new CaissonError(
    'integrity',
    'key-parameters-weak',
    `a passphrase slot has ${what} ${value}, below the floor of ${floor}`,
    {
      remedy:
        'Do not enter the passphrase elsewhere: the keyring may have been changed. Restore the keyring from a trusted copy.',
      details: { value, floor },
    },
  );
}

function refuseWiped(live: boolean): void {
  if (!live) throw new CaissonError('closed', 'key-source-unavailable', 'the passphrase was wiped from memory');
}
