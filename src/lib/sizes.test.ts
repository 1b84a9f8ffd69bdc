import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCaissonError } from './errors.ts';
import { formatBytes, parseBytes, parseVolumeSize } from './sizes.ts';

test('sizes are read in every spelling', () => {
  const spellings: [string, number][] = [
    ['4096', 4096],
    ['4096B', 4096],
    ['10GiB', 10 * 2 ** 30],
    ['10G', 10 * 2 ** 30],
    ['10gb', 10 * 2 ** 30],
    ['512M', 512 * 2 ** 20],
    ['1.5 KiB', 1536],
    ['64T', 64 * 2 ** 40],
    ['0', 0],
  ];
  for (const [text, bytes] of spellings) assert.equal(parseBytes(text), bytes, text);
});

test('what is no size is refused by name', () => {
  for (const text of ['', '-1', '1e9', '10X', 'GiB', '0x10', '1.0000001K', '99999999P', '10 GiB GiB', 'NaN', '１０']) {
    assert.throws(
      () => parseBytes(text),
      (error) => isCaissonError(error, 'size-invalid'),
      text,
    );
  }
});

test('a volume is a whole number of blocks, and the nearest sizes are named', () => {
  assert.equal(parseVolumeSize('1M'), 2 ** 20);
  assert.throws(
    () => parseVolumeSize('5000'),
    (error) =>
      isCaissonError(error, 'size-invalid') &&
      error.details['sizeBelow'] === 4096 &&
      error.details['sizeAbove'] === 8192,
  );
  assert.throws(
    () => parseVolumeSize('100'),
    (error) =>
      isCaissonError(error, 'size-invalid') &&
      error.details['sizeBelow'] === undefined &&
      error.details['sizeAbove'] === 4096,
  );
  assert.throws(
    () => parseVolumeSize('0'),
    (error) => isCaissonError(error, 'size-invalid'),
  );
});

test('sizes are shown without rounding up', () => {
  const shown: [number, string][] = [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [2 ** 20 - 1, '1023.9 KiB'],
    [10 * 2 ** 30, '10 GiB'],
    [64 * 2 ** 40, '64 TiB'],
  ];
  for (const [bytes, text] of shown) assert.equal(formatBytes(bytes), text);
});
