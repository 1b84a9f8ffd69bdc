import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCaissonError } from '../lib/errors.ts';
import { openBox, sealBox, unwrapBox, wrapBox, wrapOverheadBytes } from './box.ts';
import { systemRandom } from './random.ts';

const key = new Uint8Array(32).fill(3);
const nonce = new Uint8Array(12).fill(4);
const additional = Uint8Array.of(1, 2, 3);
const plaintext = Uint8Array.from({ length: 100 }, (_, index) => index);

function everyFlip(bytes: Uint8Array, check: (flipped: Uint8Array, bit: number) => void): void {
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = bytes.slice();
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    check(flipped, bit);
  }
}

test('a box opens only as it was sealed', () => {
  const box = sealBox(key, nonce, additional, plaintext);
  assert.deepEqual(openBox(key, nonce, additional, box), plaintext);
  everyFlip(box, (flipped, bit) => assert.equal(openBox(key, nonce, additional, flipped), undefined, `bit ${bit}`));
  assert.equal(openBox(key, nonce, Uint8Array.of(1, 2), box), undefined);
  assert.equal(
    openBox(
      key,
      nonce.map((byte) => byte ^ 1),
      additional,
      box,
    ),
    undefined,
  );
  assert.equal(
    openBox(
      key.map((byte) => byte ^ 1),
      nonce,
      additional,
      box,
    ),
    undefined,
  );
  for (let length = 0; length < box.length; length++)
    assert.equal(openBox(key, nonce, additional, box.subarray(0, length)), undefined);
});

test('a box may be empty', () => {
  assert.equal(openBox(key, nonce, additional, sealBox(key, nonce, additional, new Uint8Array(0)))?.length, 0);
});

test('a wrap opens only as it was wrapped', () => {
  const box = wrapBox(key, additional, plaintext, systemRandom);
  assert.equal(box.length, plaintext.length + wrapOverheadBytes);
  assert.deepEqual(unwrapBox(key, additional, box), plaintext);
  everyFlip(box, (flipped, bit) => assert.equal(unwrapBox(key, additional, flipped), undefined, `bit ${bit}`));
  assert.equal(unwrapBox(key, new Uint8Array(0), box), undefined);
  assert.equal(
    unwrapBox(
      key.map((byte) => byte ^ 1),
      additional,
      box,
    ),
    undefined,
  );
  for (let length = 0; length < box.length; length++)
    assert.equal(unwrapBox(key, additional, box.subarray(0, length)), undefined);
});

test('wrapping is AES-256-GCM-SIV: the first vectors of RFC 8452, C.2', () => {
  const rfcKey = Buffer.alloc(32);
  rfcKey[0] = 1;
  const fixed = { bytes: () => Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) };
  const box = wrapBox(rfcKey, new Uint8Array(0), Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0), fixed);
  assert.equal(Buffer.from(box.subarray(12)).toString('hex'), 'c2ef328e5c71c83b843122130f7364b761e0b97427e3df28');
});

test('wrong lengths of key and nonce are defects of the caller', () => {
  const broken = (error: unknown): boolean => isCaissonError(error, 'assertion-failed');
  assert.throws(() => sealBox(key.subarray(1), nonce, additional, plaintext), broken);
  assert.throws(() => sealBox(key, nonce.subarray(1), additional, plaintext), broken);
  assert.throws(() => wrapBox(key, additional, new Uint8Array(0), systemRandom), broken);
});
