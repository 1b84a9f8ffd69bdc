import assert from 'node:assert/strict';
import { test } from 'node:test';
import { equalBytes, sha256 } from './digest.ts';

test('sha256 hashes its parts one after the other', () => {
  const abc = Buffer.from('abc');
  assert.equal(
    Buffer.from(sha256(abc)).toString('hex'),
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  );
  assert.deepEqual(sha256(abc.subarray(0, 1), new Uint8Array(0), abc.subarray(1)), sha256(abc));
  assert.equal(Buffer.isBuffer(sha256(abc)), false);
});

test('equalBytes compares content and length', () => {
  assert.equal(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2)), true);
  assert.equal(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 3)), false);
  assert.equal(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1)), false);
  assert.equal(equalBytes(new Uint8Array(0), new Uint8Array(0)), true);
});
