/**
 * Nonces that no broker needs to remember until they are used (spec/broker-http.md, "Challenge and
 * release"): time and randomness under a MAC that binds them to tenant and technology.
 */
import { createHmac } from 'node:crypto';
import { equalBytes, plainBytes } from '../../crypto/digest.ts';
import { ByteWriter } from '../../lib/byte-codec.ts';
import { CaissonError } from '../../lib/errors.ts';
import { nonceEarlyMillisecondsMax, nonceMillisecondsMax } from '../../lib/broker-limits.ts';
import type { Random } from '../../lib/random.ts';
import type { Technology } from '../../wire/evidence.ts';

const encoder = new TextEncoder();
const nonceLabel = encoder.encode('caisson nonce v1\0');
const activationLabel = encoder.encode('caisson activation v1\0');
const timeBytes = 6;
const randomBytes = 10;
const tagAt = timeBytes + randomBytes;
const tagBytes = 16;

export interface NonceUse {
  readonly tenant: string;
  readonly technology: Technology;
}

export class Nonces {
  readonly #key: Uint8Array;
  readonly #random: Random;

  constructor(key: Uint8Array, random: Random) {
    this.#key = key;
    this.#random = random;
  }

  issue(use: NonceUse, now: number): { readonly nonce: Uint8Array; readonly expiresAt: number } {
    const nonce = new Uint8Array(tagAt + tagBytes);
    const view = new DataView(nonce.buffer);
    view.setUint16(0, Math.floor(now / 2 ** 32));
    view.setUint32(2, now % 2 ** 32);
    nonce.set(this.#random.bytes(randomBytes), timeBytes);
    nonce.set(this.#tag(nonce, use), tagAt);
    return { nonce, expiresAt: now + nonceMillisecondsMax };
  }

  /** When the nonce ends; `nonce-unknown` unless this broker gave it out for this use, and lately. */
  check(nonce: Uint8Array, use: NonceUse, now: number): number {
    const isOurs = nonce.length === tagAt + tagBytes && equalBytes(nonce.subarray(tagAt), this.#tag(nonce, use));
    if (!isOurs) throw unknown('it was not given out by this broker for this tenant and technology');
    const view = new DataView(nonce.buffer, nonce.byteOffset, nonce.byteLength);
    const issuedAt = view.getUint16(0) * 2 ** 32 + view.getUint32(2);
    if (now > issuedAt + nonceMillisecondsMax) throw unknown('it was given out too long ago');
    if (now < issuedAt - nonceEarlyMillisecondsMax) throw unknown('it comes from the future: a clock was set back');
    return issuedAt + nonceMillisecondsMax;
  }

  /** The secret of the credential that was made with this nonce for this TPM: nothing to remember either. */
  activationSecret(nonce: Uint8Array, akName: Uint8Array, ekPublic: Uint8Array): Uint8Array {
    return this.#hmac(new ByteWriter().bytes(activationLabel).bytes(nonce).block(akName).block(ekPublic).finish());
  }

  #tag(nonce: Uint8Array, { tenant, technology }: NonceUse): Uint8Array {
    return this.#hmac(
      new ByteWriter()
        .bytes(nonceLabel)
        .bytes(nonce.subarray(0, tagAt))
        .block(encoder.encode(tenant))
        .block(encoder.encode(technology))
        .finish(),
    ).subarray(0, tagBytes);
  }

  #hmac(bytes: Uint8Array): Uint8Array {
    return plainBytes(createHmac('sha256', this.#key).update(bytes).digest());
  }
}

function unknown(reason: string): CaissonError {
  return new CaissonError('denied', 'nonce-unknown', `the nonce cannot be used: ${reason}`, {
    remedy: 'Ask for a new challenge and gather evidence for it.',
  });
}
