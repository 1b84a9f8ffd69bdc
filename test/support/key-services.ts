/** What the tests of key sources share: a context whose clock is in a hurry, and the form of a refusal. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemRandom } from '../../src/crypto/random.ts';
import type { HeldKeySource } from '../../src/keys/key-source.ts';
import type { KeySourceContext } from '../../src/keys/key-source-context.ts';
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

/**
 * Against a service that somebody runs and pays for: on demand only. Without the variable it is a loud skip; in CI,
 * where a skip is a failure, the test is not there.
 */
export function testOnDemand(variable: string, kind: string, open: (text: string) => HeldKeySource): void {
  const text = process.env[variable];
  if (text === undefined && process.env['CI'] !== undefined) return;
  test(`a real ${kind} opens what it wrapped`, async (t) => {
    if (text === undefined) return t.skip(`set ${variable} to a URL of such a key to try a real one`);
    const { parameters, key } = await open(text).enroll(use);
    assert.deepEqual(await open(text).derive(parameters, use), key);
    await keyRefusal(open(text).derive(parameters, otherUse), 'key-wrong');
  });
}
