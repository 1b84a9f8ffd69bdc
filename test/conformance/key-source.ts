/** What every KeySource must do (src/keys/key-source.ts), run by every implementation. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CaissonError } from '../../src/lib/errors.ts';
import type { KeySource } from '../../src/keys/key-source.ts';

const use = { volumeId: Uint8Array.from({ length: 16 }, (_, index) => index) };
const otherUse = { volumeId: Uint8Array.from({ length: 16 }, (_, index) => 99 - index) };

export interface KeySourceCase {
  /** A source; called again it gives one with the same secret. */
  readonly make: () => KeySource;
  /** The same kind with another secret; undefined where the kind has no secret. */
  readonly makeOther: (() => KeySource) | undefined;
  /** Service kinds do; a passphrase and a key file are bound to the volume by the keyring alone. */
  readonly bindsVolume?: boolean;
}

export function keySourceConformance(name: string, { make, makeOther, bindsVolume }: KeySourceCase): void {
  describe(`key source ${name}`, () => {
    test('derives what it enrolled, in another instance too', async () => {
      const { parameters, key } = await make().enroll(use);
      assert.equal(key.length, 32);
      assert.deepEqual(await make().derive(parameters, use), key);
    });

    test('the key belongs to the caller: wiping it changes nothing', async () => {
      const source = make();
      const { parameters, key } = await source.enroll(use);
      const expected = Uint8Array.from(key);
      key.fill(0);
      const derived = await source.derive(parameters, use);
      assert.deepEqual(derived, expected);
      derived.fill(0);
      assert.deepEqual(await source.derive(parameters, use), expected);
    });

    test('refuses broken parameters by name, or gives another key', async () => {
      const source = make();
      const { parameters, key } = await source.enroll(use);
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
      const [first, second] = [await source.enroll(use), await source.enroll(use)];
      assert.notDeepEqual(first.parameters, second.parameters);
      assert.notDeepEqual(first.key, second.key);
    });

    test('another secret never gives the same key', async () => {
      const { parameters, key } = await make().enroll(use);
      await assertNeverRight(makeOther(), parameters, key);
    });

    if (bindsVolume === true) {
      test('what was enrolled for one volume opens no other', async () => {
        const { parameters, key } = await make().enroll(use);
        await assertNeverRight(make(), parameters, key, otherUse);
      });
    }

    test('holds no secret after wipe', async () => {
      const source = make();
      const { parameters } = await source.enroll(use);
      assert('wipe' in source && typeof source.wipe === 'function');
      source.wipe();
      source.wipe();
      await assert.rejects(source.enroll(use), { code: 'key-source-unavailable', kind: 'closed' });
      await assert.rejects(source.derive(parameters, use), { code: 'key-source-unavailable', kind: 'closed' });
    });
  });
}

async function assertNeverRight(
  source: KeySource,
  parameters: Uint8Array,
  key: Uint8Array,
  usedFor = use,
): Promise<void> {
  try {
    assert.notDeepEqual(await source.derive(parameters, usedFor), key);
  } catch (error) {
    if (!(error instanceof CaissonError)) throw error;
    assert.match(error.code, /^(key-wrong|key-parameters-weak|format-invalid|format-version)$/);
  }
}
