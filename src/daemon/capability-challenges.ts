/**
 * Challenges that a daemon gives to holders of capabilities (spec/capability-format.md, section 6).
 *
 * Invariants: one answers once, within its time. Nothing is kept of a challenge until it was answered rightly, so
 * that asking for many of them takes neither memory nor the place of those of others.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { equalBytes } from '../crypto/digest.ts';
import { ByteWriter } from '../lib/byte-codec.ts';
import type { Clock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { capabilityChallengeMillisecondsMax, capabilityChallengesUsedMax } from '../lib/limits.ts';
import type { Random } from '../lib/random.ts';

const label = new TextEncoder().encode('caisson nbd open v1\0');
const randomBytes = 16;
const timeBytes = 8;
const codeBytes = 32;
const challengeBytes = label.length + randomBytes + timeBytes + codeBytes;

/** Whether it is one of these: a holder signs nothing else for a daemon. */
export function isChallenge(bytes: Uint8Array): boolean {
  return bytes.length === challengeBytes && equalBytes(bytes.subarray(0, label.length), label);
}

export class CapabilityChallenges {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #secret: Uint8Array;
  /** In the order in which they were answered, with the moment when each would have ended. */
  readonly #used = new Map<string, number>();

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
    this.#secret = random.bytes(32);
  }

  give(): Uint8Array {
    const time = Math.floor(this.#clock.monotonic());
    const body = new ByteWriter().bytes(label).bytes(this.#random.bytes(randomBytes)).u64(time).finish();
    return new ByteWriter().bytes(body).bytes(this.#codeOf(body)).finish();
  }

  /** `capability-refused` unless it was given here, is not too old, and was not answered before. */
  check(challenge: Uint8Array): void {
    const now = this.#clock.monotonic();
    if (!isChallenge(challenge)) throw unknownChallenge();
    const body = challenge.subarray(0, challengeBytes - codeBytes);
    if (!timingSafeEqual(this.#codeOf(body), challenge.subarray(body.length))) throw unknownChallenge();
    const age = now - timeOf(body);
    if (age < 0 || age > capabilityChallengeMillisecondsMax || this.#used.has(toHex(challenge)))
      throw unknownChallenge();
  }

  /** After the proof was verified. */
  use(challenge: Uint8Array): void {
    const now = this.#clock.monotonic();
    for (const [used, endsAt] of this.#used) if (endsAt < now) this.#used.delete(used);
    if (this.#used.size >= capabilityChallengesUsedMax)
      throw new CaissonError('transient', 'limit-exceeded', 'too many capabilities are being opened', {
        remedy: 'Try again in a moment.',
      });
    this.#used.set(toHex(challenge), now + capabilityChallengeMillisecondsMax + 1);
  }

  #codeOf(body: Uint8Array): Uint8Array {
    return new Uint8Array(createHmac('sha256', this.#secret).update(body).digest());
  }
}

function timeOf(body: Uint8Array): number {
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  return Number(view.getBigUint64(body.length - timeBytes, true));
}

function unknownChallenge(): CaissonError {
  return new CaissonError(
    'denied',
    'capability-refused',
    'the challenge was not given here, or too long ago, or is used',
    {
      remedy: 'Ask for another one.',
      details: { rule: 'challenge' },
    },
  );
}
