/** What these parts seal the parts of the package open, and the other way round; and HKDF of RFC 5869. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256 } from 'hpke';
import { systemRandom } from '../crypto/random.ts';
import { aes256Gcm, hkdfSha256 } from './hpke-parts.ts';

const ours = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, hkdfSha256, aes256Gcm);
const theirs = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM);
const from = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

test('HKDF-SHA256 as RFC 5869 has it (A.1 to A.3)', async () => {
  const { Extract, Expand } = hkdfSha256();
  const cases = [
    {
      ...{ ikm: '0b'.repeat(22), salt: '000102030405060708090a0b0c', info: 'f0f1f2f3f4f5f6f7f8f9', length: 42 },
      prk: '077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5',
      okm: '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
    },
    {
      ...{ ikm: '0b'.repeat(22), salt: '', info: '', length: 42 },
      prk: '19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04',
      okm: '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
    },
  ];
  for (const { ikm, salt, info, length, prk, okm } of cases) {
    const extracted = await Extract(from(salt), from(ikm));
    assert.deepEqual(extracted, from(prk));
    assert.deepEqual(await Expand(extracted, from(info), length), from(okm));
  }
});

test('expands to every length as the package does', async () => {
  const prk = systemRandom.bytes(32);
  const info = systemRandom.bytes(50);
  for (const length of [0, 1, 12, 31, 32, 33, 64, 65, 255 * 32])
    assert.deepEqual(await hkdfSha256().Expand(prk, info, length), await KDF_HKDF_SHA256().Expand(prk, info, length));
});

test('each opens what the other one sealed, of any length', async () => {
  const keys = await ours.GenerateKeyPair();
  for (const length of [0, 1, 16, 300, 4096]) {
    const plaintext = systemRandom.bytes(length);
    const options = { info: systemRandom.bytes(40), aad: systemRandom.bytes(length % 7) };
    for (const [seals, opens] of [
      [ours, theirs],
      [theirs, ours],
    ] as const) {
      const { encapsulatedSecret, ciphertext } = await seals.Seal(keys.publicKey, plaintext, options);
      assert.deepEqual(await opens.Open(keys, encapsulatedSecret, ciphertext, options), plaintext);
    }
  }
});

test('opens nothing that was changed, cut short or bound to something else', async () => {
  const [key, nonce, additional] = [systemRandom.bytes(32), systemRandom.bytes(12), systemRandom.bytes(5)];
  const { Seal, Open } = aes256Gcm();
  const sealed = await Seal(key, nonce, additional, systemRandom.bytes(20));
  for (let index = 0; index < sealed.length; index++) {
    const changed = Uint8Array.from(sealed);
    changed[index]! ^= 1;
    await assert.rejects(Open(key, nonce, additional, changed));
  }
  for (let length = 0; length < sealed.length; length++)
    await assert.rejects(Open(key, nonce, additional, sealed.subarray(0, length)));
  await assert.rejects(Open(key, nonce, systemRandom.bytes(5), sealed));
  await assert.rejects(Open(key, systemRandom.bytes(12), additional, sealed));
});
