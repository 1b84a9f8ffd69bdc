/**
 * A session with a TPM (Part 1, "Session-Based Authorizations"): proves with an HMAC that whoever holds the session
 * asks, and that the TPM with the salt's key answers; encrypts the first parameter either way.
 *
 * The salt reaches the TPM under the public part of a key that never left it, so that somebody on the bus between
 * processor and TPM neither reads a secret nor changes a command (an HMAC over its hash). That holds as far as the
 * public part is genuine: callers compare its name with one they know.
 */
import { constants, createECDH, createHmac, publicEncrypt } from 'node:crypto';
import type { ECDH } from 'node:crypto';
import { equalBytes, plainBytes } from '../crypto/digest.ts';
import { CaissonError } from '../lib/errors.ts';
import type { Random } from '../lib/random.ts';
import { Algorithm } from '../wire/tpm/algorithms.ts';
import { leftPadded, TpmWriter } from '../wire/tpm/codec.ts';
import { publicKeyOf } from '../wire/tpm/public-area.ts';
import type { ParsedPublicArea } from '../wire/tpm/public-area.ts';
import { SessionAttribute } from './tpm-constants.ts';
import { answerInvalid } from './tpm-errors.ts';
import { decryptParameter, encryptParameter, kdfA, kdfE } from './tpm-key-derivation.ts';

export const sessionNonceBytes = 32;

/** What the answer says for one session. */
export interface SessionAnswer {
  readonly nonce: Uint8Array;
  readonly attributes: number;
  readonly hmac: Uint8Array;
}

export interface SessionOptions {
  readonly handle: number;
  readonly nonceCaller: Uint8Array;
  readonly nonceTpm: Uint8Array;
  /** Empty for a session without salt. */
  readonly salt: Uint8Array;
  readonly random: Random;
}

export class TpmSession {
  readonly handle: number;
  readonly #key: Uint8Array;
  readonly #random: Random;
  #nonceCaller: Uint8Array;
  #nonceTpm: Uint8Array;

  constructor({ handle, nonceCaller, nonceTpm, salt, random }: SessionOptions) {
    this.handle = handle;
    this.#nonceCaller = nonceCaller;
    this.#nonceTpm = Uint8Array.from(nonceTpm);
    this.#random = random;
    this.#key = salt.length === 0 ? salt : kdfA(salt, 'ATH', nonceTpm, nonceCaller);
  }

  /** Whether parameters can be encrypted under it. */
  get isSalted(): boolean {
    return this.#key.length > 0;
  }

  /** Before each command that the session takes part in. */
  roll(): void {
    this.#nonceCaller = this.#random.bytes(sessionNonceBytes);
  }

  encrypt(authorization: Uint8Array, plaintext: Uint8Array): Uint8Array {
    const nonces = { newer: this.#nonceCaller, older: this.#nonceTpm };
    return encryptParameter(joined(this.#key, authorization), nonces, plaintext);
  }

  /** After `take` of the same answer. */
  decrypt(authorization: Uint8Array, ciphertext: Uint8Array): Uint8Array {
    const nonces = { newer: this.#nonceTpm, older: this.#nonceCaller };
    return decryptParameter(joined(this.#key, authorization), nonces, ciphertext);
  }

  /** TPMS_AUTH_COMMAND. */
  authorize(commandHash: Uint8Array, attributes: number, authorization: Uint8Array): Uint8Array {
    const hmac = this.#hmac(commandHash, this.#nonceCaller, this.#nonceTpm, attributes, authorization);
    return new TpmWriter().u32(this.handle).sized(this.#nonceCaller).u8(attributes).sized(hmac).finish();
  }

  /** Throws where the answer is not that of the TPM which the session was made with. */
  take(answerHash: Uint8Array, answer: SessionAnswer, authorization: Uint8Array): void {
    const nonceTpm = Uint8Array.from(answer.nonce);
    const expected = this.#hmac(answerHash, nonceTpm, this.#nonceCaller, answer.attributes, authorization);
    if (!equalBytes(expected, answer.hmac)) {
      throw new CaissonError('integrity', 'tpm-failed', 'an answer of the TPM was changed on its way', {
        remedy: 'Somebody sits between this machine and its TPM; do not trust either until you know who.',
      });
    }
    this.#nonceTpm = nonceTpm;
  }

  #hmac(
    hash: Uint8Array,
    newer: Uint8Array,
    older: Uint8Array,
    attributes: number,
    authorization: Uint8Array,
  ): Uint8Array {
    const key = joined(this.#key, authorization);
    if (key.length === 0) return key;
    const hmac = createHmac('sha256', key).update(hash).update(newer).update(older);
    return plainBytes(hmac.update(Uint8Array.of(attributes)).digest());
  }
}

/** How one session takes part in one command. */
export interface SessionUse {
  readonly session: TpmSession;
  /** The authorization value of the object that it authorizes, where it has one. */
  readonly authorization: Uint8Array;
  /** SessionAttribute bits. */
  readonly attributes: number;
}

const nothing = new Uint8Array(0);

/** A session that goes on after the command. `encrypts`: the first parameter of the command, of the answer. */
export function useOf(
  session: TpmSession,
  encrypts: { readonly command?: boolean; readonly answer?: boolean } = {},
  authorization: Uint8Array = nothing,
): SessionUse {
  const { command = false, answer = false } = encrypts;
  const bits = (command ? SessionAttribute.decrypt : 0) | (answer ? SessionAttribute.encrypt : 0);
  return { session, authorization, attributes: bits | SessionAttribute.continueSession };
}

export interface Salt {
  readonly salt: Uint8Array;
  /** TPM2B_ENCRYPTED_SECRET without its length. */
  readonly encrypted: Uint8Array;
}

/** A fresh salt for the holder of this restricted decryption key (Part 1, Annexes B.10 and C.6). */
export function makeSalt(key: ParsedPublicArea, random: Random): Salt {
  if (key.nameHash.id !== Algorithm.sha256) throw answerInvalid('the key for the salt is not named by SHA-256');
  const { object } = key;
  if (object.type === 'rsa') {
    const salt = random.bytes(sessionNonceBytes);
    const options = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
    const encrypted = publicEncrypt(
      { key: publicKeyOf(key), ...options, oaepLabel: new TextEncoder().encode('SECRET\0') },
      salt,
    );
    return { salt, encrypted: plainBytes(encrypted) };
  }
  if (object.type !== 'ecc' || object.curve.name !== 'P-256') throw answerInvalid('a salt needs an RSA or a P-256 key');
  const [x, y] = [leftPadded(object.x, 32), leftPadded(object.y, 32)];
  if (x === undefined || y === undefined) throw answerInvalid('the point of a key is too long');
  const pair = createECDH('prime256v1');
  const point = pair.generateKeys();
  const [ourX, ourY] = [plainBytes(point.subarray(1, 33)), plainBytes(point.subarray(33, 65))];
  return {
    salt: kdfE(sharedSecret(pair, Uint8Array.of(4, ...x, ...y)), 'SECRET', ourX, x),
    encrypted: new TpmWriter().sized(ourX).sized(ourY).finish(),
  };
}

function sharedSecret(pair: ECDH, point: Uint8Array): Uint8Array {
  try {
    return plainBytes(pair.computeSecret(point));
  } catch {
    throw answerInvalid('the point of a key is not on its curve');
  }
}

function joined(left: Uint8Array, right: Uint8Array): Uint8Array {
  return right.length === 0 ? left : Uint8Array.of(...left, ...right);
}
