import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { isCaissonError } from '../lib/errors.ts';
import { deriveKey, keyLabel } from './derive.ts';

const dataKey = new Uint8Array(32).fill(1);
const salt = new Uint8Array(16).fill(2);

test('a derived key is HKDF-SHA256 as RFC 5869 writes it, over the documented info', () => {
  const extracted = createHmac('sha256', salt).update(dataKey).digest();
  const info = Buffer.concat([Buffer.from('caisson v1 segment'), Buffer.of(0), Buffer.of(9, 9)]);
  const expected = createHmac('sha256', extracted).update(info).update(Buffer.of(1)).digest();
  assert.equal(Buffer.compare(deriveKey(dataKey, salt, keyLabel.segment, Uint8Array.of(9, 9)), expected), 0);
});

test('key, salt, label and context each change the result', () => {
  const keys = [
    deriveKey(dataKey, salt, keyLabel.segment),
    deriveKey(
      dataKey.map((byte) => byte ^ 1),
      salt,
      keyLabel.segment,
    ),
    deriveKey(
      dataKey,
      salt.map((byte) => byte ^ 1),
      keyLabel.segment,
    ),
    deriveKey(dataKey, salt, keyLabel.map),
    deriveKey(dataKey, salt, keyLabel.segment, Uint8Array.of(0)),
  ];
  assert.equal(new Set(keys.map((key) => Buffer.from(key).toString('hex'))).size, keys.length);
});

test('labels are distinct and hold no zero byte', () => {
  const labels = Object.values(keyLabel);
  assert.equal(new Set(labels).size, labels.length);
  assert(labels.every((label) => /^[a-z ]+$/.test(label)));
});

test('a short key is a defect of the caller', () => {
  assert.throws(
    () => deriveKey(new Uint8Array(16), salt, keyLabel.map),
    (error) => isCaissonError(error, 'assertion-failed'),
  );
});
