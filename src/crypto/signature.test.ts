import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { signingKeyFromSeed, verifySignature, volumeIdFromPublicKey } from './signature.ts';

const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex');
const order = 2n ** 252n + 27742317777372353535851937790883648493n;

test('keys and signatures are Ed25519: test 1 of RFC 8032', () => {
  const key = signingKeyFromSeed(seed);
  assert.equal(
    Buffer.from(key.publicKey).toString('hex'),
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
  );
  const expected =
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b';
  assert.equal(Buffer.from(key.sign(new Uint8Array(0))).toString('hex'), expected);
});

test('a signature verifies only for its bytes and its key', () => {
  const key = signingKeyFromSeed(seed);
  const bytes = Buffer.from('statement');
  const signature = key.sign(bytes);
  assert.equal(verifySignature(key.publicKey, bytes, signature), true);
  assert.equal(verifySignature(key.publicKey, Buffer.from('statemens'), signature), false);
  assert.equal(verifySignature(signingKeyFromSeed(Buffer.alloc(32, 1)).publicKey, bytes, signature), false);
  for (let bit = 0; bit < 512; bit++) {
    const flipped = Buffer.from(signature);
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assert.equal(verifySignature(key.publicKey, bytes, flipped), false, `bit ${bit}`);
  }
});

test('malformed keys and signatures are refused without an exception', () => {
  const key = signingKeyFromSeed(seed);
  const bytes = Buffer.from('statement');
  const signature = key.sign(bytes);
  assert.equal(verifySignature(key.publicKey.subarray(1), bytes, signature), false);
  assert.equal(verifySignature(new Uint8Array(33), bytes, signature), false);
  assert.equal(verifySignature(key.publicKey, bytes, signature.subarray(1)), false);
  assert.equal(verifySignature(key.publicKey, bytes, new Uint8Array(0)), false);
  assert.equal(verifySignature(new Uint8Array(32).fill(0xff), bytes, signature), false);
  assert.equal(verifySignature(key.publicKey, bytes, new Uint8Array(64).fill(0xff)), false);
});

test('the second form of a signature (S plus the group order) is refused', () => {
  const key = signingKeyFromSeed(seed);
  const bytes = Buffer.from('statement');
  const signature = Buffer.from(key.sign(bytes));
  let scalar = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString('hex')}`) + order;
  for (let index = 32; index < 64; index++, scalar >>= 8n) signature[index] = Number(scalar & 0xffn);
  assert.equal(verifySignature(key.publicKey, bytes, signature), false);
});

test('the volume id is the documented digest of the public key', () => {
  const { publicKey } = signingKeyFromSeed(seed);
  const digest = createHash('sha256').update('caisson volume id v1').update(Buffer.of(0)).update(publicKey).digest();
  assert.equal(Buffer.compare(volumeIdFromPublicKey(publicKey), digest.subarray(0, 16)), 0);
});
