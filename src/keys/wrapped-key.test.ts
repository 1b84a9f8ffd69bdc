import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { context, keyRefusal, use } from '../../test/support/key-services.ts';
import type { HeldKeySource } from './key-source.ts';
import { useText, wrappedBytesMax, wrappedKeySource } from './wrapped-key.ts';

/** A service that wraps by naming: enough to see what the common part does. */
function source(wrapped = Uint8Array.of(7), secret = new Uint8Array(32).fill(3)): HeldKeySource {
  return wrappedKeySource(
    {
      kind: 'vault',
      describe: 'a service of this test',
      wrap: async () => ({ wrapped, secret: Uint8Array.from(secret) }),
      unwrap: async () => Uint8Array.from(secret),
    },
    context.random,
  );
}

describe('a wrapped key', () => {
  test('has parameters of one form alone', async () => {
    const { parameters } = await source().enroll(use);
    assert.equal(parameters.length, 34);
    const others = [
      Uint8Array.from(parameters).fill(0, 0, 1),
      Uint8Array.from(parameters).fill(2, 0, 1),
      parameters.subarray(0, 33),
      new Uint8Array(0),
      new Uint8Array(1025).fill(1),
    ];
    for (const other of others) await keyRefusal(source().derive(other, use), 'format-invalid');
  });

  test('depends on the salt, the secret and the volume', async () => {
    const { parameters, key } = await source().enroll(use);
    assert.deepEqual(await source().derive(parameters, use), key);
    const salted = Uint8Array.from(parameters).fill(9, 1, 2);
    assert.notDeepEqual(await source().derive(salted, use), key);
    assert.notDeepEqual(await source(undefined, new Uint8Array(32)).derive(parameters, use), key);
    assert.notDeepEqual(await source().derive(parameters, { volumeId: new Uint8Array(16) }), key);
  });

  test('fits into a slot, or is not enrolled', async () => {
    assert.equal((await source(new Uint8Array(wrappedBytesMax)).enroll(use)).parameters.length, 1024);
    for (const length of [0, wrappedBytesMax + 1])
      await keyRefusal(source(new Uint8Array(length)).enroll(use), 'key-source-unavailable');
  });

  test('has 32 bytes', async () => {
    const { parameters } = await source().enroll(use);
    await keyRefusal(source(undefined, new Uint8Array(33)).derive(parameters, use), 'key-wrong');
  });

  test('names the volume to the service', () => {
    assert.equal(useText({ volumeId: new Uint8Array(16).fill(0xab) }), `caisson volume ${'ab'.repeat(16)}`);
  });
});
