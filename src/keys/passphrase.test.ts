import assert from 'node:assert/strict';
import { argon2Sync } from 'node:crypto';
import { test } from 'node:test';
import { systemRandom } from '../crypto/random.ts';
import {
  createPassphraseSource,
  encodePassphraseParameters,
  parsePassphraseParameters,
  passphraseFromBytes,
} from './passphrase.ts';
import type { PassphraseParameters } from './passphrase.ts';

const floor: PassphraseParameters = { memoryKibibytes: 65536, passes: 3, parallelism: 1, salt: new Uint8Array(16) };

function refusal(change: Partial<PassphraseParameters>): string {
  try {
    parsePassphraseParameters(encodePassphraseParameters({ ...floor, ...change }));
    return 'accepted';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

test('parameters are accepted exactly between floor and ceiling', () => {
  assert.equal(refusal({}), 'accepted');
  assert.equal(refusal({ memoryKibibytes: 65535 }), 'key-parameters-weak');
  assert.equal(refusal({ memoryKibibytes: 0 }), 'key-parameters-weak');
  assert.equal(refusal({ memoryKibibytes: 1024 * 1024 }), 'accepted');
  assert.equal(refusal({ memoryKibibytes: 1024 * 1024 + 1 }), 'format-invalid');
  assert.equal(refusal({ memoryKibibytes: 0xffffffff }), 'format-invalid');
  assert.equal(refusal({ passes: 2 }), 'key-parameters-weak');
  assert.equal(refusal({ passes: 64 }), 'accepted');
  assert.equal(refusal({ passes: 65 }), 'format-invalid');
  assert.equal(refusal({ passes: 0xffffffff }), 'format-invalid');
  assert.equal(refusal({ memoryKibibytes: 1024 * 1024, passes: 5 }), 'format-invalid');
  assert.equal(refusal({ parallelism: 0 }), 'key-parameters-weak');
  assert.equal(refusal({ parallelism: 16 }), 'accepted');
  assert.equal(refusal({ parallelism: 17 }), 'format-invalid');
  assert.equal(refusal({ salt: new Uint8Array(15) }), 'key-parameters-weak');
  assert.equal(refusal({ salt: new Uint8Array(64) }), 'accepted');
  assert.equal(refusal({ salt: new Uint8Array(65) }), 'format-invalid');
});

test('parameters of another function, cut off or too long are refused', () => {
  const encoded = encodePassphraseParameters(floor);
  const otherFunction = Uint8Array.from(encoded);
  otherFunction[0] = 2;
  for (const bytes of [
    otherFunction,
    encoded.subarray(0, encoded.length - 1),
    Uint8Array.of(...encoded, 0),
    encoded.subarray(0, 10),
  ]) {
    assert.throws(() => parsePassphraseParameters(bytes), { code: 'format-invalid' });
  }
});

test('the key is Argon2id over exactly the stored parameters', async () => {
  const passphrase = new TextEncoder().encode('correct horse');
  const { parameters, key } = await createPassphraseSource({ passphrase, random: systemRandom, cost: floor }).enroll({
    volumeId: new Uint8Array(16),
  });
  const { salt } = parsePassphraseParameters(parameters);
  const expected = argon2Sync('argon2id', {
    message: passphrase,
    nonce: salt,
    memory: 65536,
    passes: 3,
    parallelism: 1,
    tagLength: 32,
  });
  assert.equal(Buffer.compare(key, expected), 0);
  assert.equal(salt.length, 32);
});

test('a source is not made with a cost or a passphrase outside the bounds', () => {
  const passphrase = new TextEncoder().encode('x');
  assert.throws(() => createPassphraseSource({ passphrase, random: systemRandom, cost: { ...floor, passes: 1 } }), {
    code: 'key-parameters-weak',
  });
  assert.throws(() => createPassphraseSource({ passphrase, random: systemRandom, cost: { ...floor, passes: 3.5 } }), {
    code: 'format-invalid',
  });
  assert.throws(() => createPassphraseSource({ passphrase: new Uint8Array(0), random: systemRandom }), {
    code: 'argument-invalid',
  });
});

test('a passphrase is read from text: one line end dropped, one normal form, nothing else changed', () => {
  const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
  const read = (text: string): string => new TextDecoder().decode(passphraseFromBytes(encode(text)));
  assert.equal(read('open sesame\n'), 'open sesame');
  assert.equal(read('open sesame\r\n'), 'open sesame');
  assert.equal(read(' open \n\n'), ' open \n');
  assert.equal(read('e\u0301'), '\u00e9');
  assert.equal(read(`${'x'.repeat(1024)}\r\n`).length, 1024);
  for (const bytes of [encode(''), encode('\n'), encode('x'.repeat(1025)), Uint8Array.of(0xff, 0xfe)]) {
    assert.throws(() => passphraseFromBytes(bytes), { code: 'argument-invalid' });
  }
});
