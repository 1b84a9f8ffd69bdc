/** What every KeySource must do (src/keys/key-source.ts), run by every implementation. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CaissonError } from '../../src/lib/errors.ts';
import type { KeySource } from '../../src/keys/key-source.ts';

export interface KeySourceCase {
  /** A source; called again it gives one with the same secret. */
  readonly make: () => KeySource;
  /** The same kind with another secret; undefined where the kind has no secret. */
  readonly makeOther: (() => KeySource) | undefined;
}

export function keySourceConformance(name: string, { make, makeOther }: KeySourceCase): void {
  describe(`key source ${name}`, () => {
    test('derives what it enrolled, in another instance too', async () => {
      const { parameters, key } = await make().enroll();
      assert.equal(key.length, 32);
      assert.deepEqual(await make().derive(parameters), key);
    });

    test('the key belongs to the caller: wiping it changes nothing', async () => {
      const source = make();
      const { parameters, key } = await source.enroll();
      const expected = Uint8Array.from(key);
      key.fill(0);
      const derived = await source.derive(parameters);
      assert.deepEqual(derived, expected);
      derived.fill(0);
      assert.deepEqual(await source.derive(parameters), expected);
    });

    test('refuses broken parameters by name, or gives another key', async () => {
      const source = make();
      const { parameters, key } = await source.enroll();
      const broken = [
        new Uint8Array(0),
        parameters.subarray(1),
        Uint8Array.of(...parameters, 0),
        new Uint8Array(1024).fill(0xff),
      ];
      for (const bytes of broken.filter((candidate) => Buffer.compare(candidate, parameters) !== 0)) {
        await assertNeverRight(source, bytes, key);
      }
    });

    test('describes itself without a secret', () => {
      const source = make();
      assert.equal(source.describe.length > 0, true);
      assert.doesNotMatch(source.describe, /secret|[0-9a-f]{32}/);
    });

    if (makeOther === undefined) return;
    test('never enrols the same parameters twice', async () => {
      const source = make();
      const [first, second] = [await source.enroll(), await source.enroll()];
      assert.notDeepEqual(first.parameters, second.parameters);
      assert.notDeepEqual(first.key, second.key);
    });

    test('another secret never gives the same key', async () => {
      const { parameters, key } = await make().enroll();
      await assertNeverRight(makeOther(), parameters, key);
    });

    test('holds no secret after wipe', async () => {
      const source = make();
      const { parameters } = await source.enroll();
      assert('wipe' in source && typeof source.wipe === 'function');
      source.wipe();
      source.wipe();
      await assert.rejects(source.enroll(), { code: 'key-source-unavailable', kind: 'closed' });
      await assert.rejects(source.derive(parameters), { code: 'key-source-unavailable', kind: 'closed' });
    });
  });
}

async function assertNeverRight(source: KeySource, parameters: Uint8Array, key: Uint8Array): Promise<void> {
  try {
    assert.notDeepEqual(await source.derive(parameters), key);
  } catch (error) {
    if (!(error instanceof CaissonError)) throw error;
    assert.match(error.code, /^(key-wrong|key-parameters-weak|format-invalid|format-version)$/);
  }
}
