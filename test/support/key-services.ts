/** What the tests of key sources share: a context whose clock is in a hurry, and the form of a refusal. */
import assert from 'node:assert/strict';
import { systemRandom } from '../../src/crypto/random.ts';
import type { KeySourceContext } from '../../src/keys/open-key-source.ts';
import { patientClock } from '../../src/lib/clock.ts';
import { CaissonError } from '../../src/lib/errors.ts';

export const use = { volumeId: Uint8Array.from({ length: 16 }, (_, index) => index * 3) };
export const otherUse = { volumeId: Uint8Array.from({ length: 16 }, (_, index) => index * 5) };

export const context: KeySourceContext = { clock: patientClock, random: systemRandom, environment: {} };

/** Waits of fifteen seconds take a second: enough for a server in this process, even on a busy machine. */
export const hurriedContext: KeySourceContext = {
  ...context,
  clock: { ...patientClock, after: (milliseconds, callback) => patientClock.after(milliseconds / 15, callback) },
};

export async function keyRefusal(promise: Promise<unknown>, code: string): Promise<CaissonError> {
  try {
    await promise;
  } catch (error) {
    assert(error instanceof CaissonError, String(error));
    assert.equal(error.code, code, error.message);
    if (code !== 'format-invalid') assert.ok(error.remedy, error.message);
    return error;
  }
  throw new assert.AssertionError({ message: `${code} was expected, and nothing was refused` });
}
