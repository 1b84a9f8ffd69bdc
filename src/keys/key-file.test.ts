import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseKeyFile } from './key-file.ts';

const key = Uint8Array.from({ length: 32 }, (_, index) => index * 8);
const hex = Buffer.from(key).toString('hex');

test('32 bytes, or 64 digits with at most one line end, are a key file', () => {
  const accepted = [
    key,
    Buffer.from(hex),
    Buffer.from(`${hex}\n`),
    Buffer.from(`${hex}\r\n`),
    Buffer.from(hex.toUpperCase()),
  ];
  for (const content of accepted) assert.deepEqual(parseKeyFile(content), key);
});

test('anything else is not', () => {
  const refused = [
    '',
    hex.slice(1),
    `${hex}0`,
    `${hex}\n\n`,
    ` ${hex}`,
    `${hex}\r`,
    `${hex} \n`,
    `g${hex.slice(1)}`,
    'x'.repeat(31),
    'x'.repeat(33),
  ];
  for (const content of refused)
    assert.throws(() => parseKeyFile(Buffer.from(content)), { code: 'argument-invalid' }, content);
  assert.throws(() => parseKeyFile(new Uint8Array(100_000)), { code: 'argument-invalid' });
});

test('a file of equal bytes is refused', () => {
  assert.throws(() => parseKeyFile(new Uint8Array(32)), { code: 'key-parameters-weak' });
  assert.throws(() => parseKeyFile(Buffer.from('f'.repeat(64))), { code: 'key-parameters-weak' });
});

test('the key is a copy', () => {
  const content = Uint8Array.from(key);
  const parsed = parseKeyFile(content);
  content.fill(0);
  assert.deepEqual(parsed, key);
});
