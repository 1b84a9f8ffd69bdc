/**
 * A key file as a key source (spec/keys.md, section 5.2): exactly 32 bytes, or 64 hexadecimal digits
 * with at most one line end. Nothing is hashed into shape, so that a wrong file is noticed. Reading
 * the file is the caller's work.
 */
import { CaissonError } from '../lib/errors.ts';
import type { Random } from '../lib/random.ts';
import { deriveKey, keyLabel } from '../crypto/derive.ts';
import { keyBytes } from '../crypto/sealer.ts';
import type { HeldKeySource } from './key-source.ts';

const parametersVersion = 1;
const saltBytes = 32;
const parametersBytes = 1 + saltBytes;
const hexDigits = 2 * keyBytes;

export interface KeyFileOptions {
  /** The bytes of the file; copied, the caller may wipe them. */
  readonly content: Uint8Array;
  readonly random: Random;
  /** Where the file was found, for people. */
  readonly name?: string;
}

export function createKeyFileSource(options: KeyFileOptions): HeldKeySource {
  const fileKey = parseKeyFile(options.content);
  let live = true;
  return {
    kind: 'key-file',
    describe: options.name === undefined ? 'key file' : `key file ${options.name}`,
    async enroll() {
      refuseWiped(live);
      const parameters = new Uint8Array(parametersBytes);
      parameters[0] = parametersVersion;
      parameters.set(options.random.bytes(saltBytes), 1);
      return { parameters, key: deriveKey(fileKey, parameters.subarray(1), keyLabel.keyFile) };
    },
    async derive(parameters) {
      refuseWiped(live);
      if (parameters.length !== parametersBytes) throw invalidParameters('have the wrong length');
      if (parameters[0] !== parametersVersion) throw invalidParameters('are of an unknown version');
      return deriveKey(fileKey, parameters.subarray(1), keyLabel.keyFile);
    },
    wipe() {
      live = false;
      fileKey.fill(0);
    },
  };
}

/** The key in a key file, as a copy. */
export function parseKeyFile(content: Uint8Array): Uint8Array {
  const key = content.length === keyBytes ? Uint8Array.from(content) : parseHex(content);
  if (key === undefined) {
    throw new CaissonError('invalid', 'argument-invalid', 'this is not a key file', {
      remedy:
        'A key file holds exactly 32 bytes, or 64 hexadecimal digits and a line end. Make one with: openssl rand -hex 32',
      details: { bytes: content.length },
    });
  }
  if (key.every((byte) => byte === key[0])) {
    throw new CaissonError('invalid', 'key-parameters-weak', 'all bytes of the key file are equal', {
      remedy: 'Make a random key with: openssl rand -hex 32',
    });
  }
  return key;
}

function parseHex(content: Uint8Array): Uint8Array | undefined {
  if (!endsAt(content, hexDigits)) return undefined;
  const key = new Uint8Array(keyBytes);
  for (let index = 0; index < hexDigits; index++) {
    const digit = hexValue(content[index] ?? 0);
    if (digit === undefined) return undefined;
    key[index >> 1] = ((key[index >> 1] ?? 0) << 4) | digit;
  }
  return key;
}

/** Whether nothing but at most one line end follows the first `length` bytes. */
function endsAt(content: Uint8Array, length: number): boolean {
  const lineFeed = 0x0a;
  const carriageReturn = 0x0d;
  const rest = content.length - length;
  if (rest === 0) return true;
  if (rest === 1) return content[length] === lineFeed;
  return rest === 2 && content[length] === carriageReturn && content[length + 1] === lineFeed;
}

function hexValue(character: number): number | undefined {
  if (character >= 0x30 && character <= 0x39) return character - 0x30;
  const lower = character | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : undefined;
}

function invalidParameters(what: string): CaissonError {
  return new CaissonError('integrity', 'format-invalid', `the parameters of a key-file slot ${what}`);
}

function refuseWiped(live: boolean): void {
  if (!live) throw new CaissonError('closed', 'key-source-unavailable', 'the key file was wiped from memory');
}
