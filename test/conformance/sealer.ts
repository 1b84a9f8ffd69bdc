/**
 * What every Sealer must do (src/crypto/sealer.ts), run by every implementation. A sealer that
 * authenticates nothing (`--protection none`) runs the rules that hold for it too.
 */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { isCaissonError } from '../../src/lib/errors.ts';
import { Region } from '../../src/lib/region.ts';
import { tagBytes } from '../../src/crypto/sealer.ts';
import type { Sealer, SealingKey } from '../../src/crypto/sealer.ts';

interface Vector {
  readonly comment: string;
  readonly expect: 'opens' | 'refused';
  readonly key: string;
  readonly slot: number;
  readonly block: number;
  readonly plaintext: string;
  readonly sealed: string;
}

const vectorsFolder = new URL('../vectors/sealer/', import.meta.url);
const testKey = Uint8Array.from({ length: 32 }, (_, index) => (index * 29 + 3) & 0xff);
const lengths = [1, 15, 16, 17, 512, 513, 4096, 4097, 32768, 131072, 1048576];

export function sealerConformance(
  name: string,
  makeSealer: () => Sealer,
  options: { readonly authenticates: boolean },
): void {
  describe(`sealer ${name}`, () => {
    test('opens what it sealed, at every length and at odd offsets', () => opensWhatItSealed(makeSealer()));
    test('works inside one region when the ranges lie apart', () => worksInOneRegion(makeSealer()));
    test('touches nothing outside the target range', () => staysInRange(makeSealer(), options.authenticates));
    test('takes the largest slot and block numbers', () => takesLargeNumbers(makeSealer()));
    test('refuses ranges outside the region, overlaps and wild numbers', () => refusesMisuse(makeSealer()));
    test('copies the key it is given', () => copiesKey(makeSealer()));
    test('refuses work after destroy, which may be called twice', () => refusesAfterDestroy(makeSealer()));
    test('keeps keys apart when their use alternates', () => alternatesKeys(makeSealer()));
    if (!options.authenticates) return;
    test('seals into different bytes for another key, slot or block', () => bindsPlace(makeSealer()));
    test('refuses every flipped bit of a short unit and leaves zeros', () => refusesFlippedBits(makeSealer()));
    test('refuses another slot, block, key and length', () => refusesOtherPlace(makeSealer()));
    for (const file of readdirSync(vectorsFolder).filter((entry) => entry.endsWith('.json'))) {
      test(`vector ${file}`, () => runVector(makeSealer(), file));
    }
  });
}

function opensWhatItSealed(sealer: Sealer): void {
  const key = sealer.createKey(testKey);
  const source = filled(1048576 + 3);
  const sealed = new Region(1048576 + tagBytes + 5);
  const opened = new Region(1048576 + 7);
  for (const [slot, length] of lengths.entries()) {
    key.seal(slot, slot * 1000, length, source, 3, sealed, 5);
    assert.equal(key.open(slot, slot * 1000, length, sealed, 5, opened, 7), true, `${length} bytes`);
    assert.deepEqual(opened.bytes.subarray(7, 7 + length), source.bytes.subarray(3, 3 + length));
  }
  key.destroy();
}

function worksInOneRegion(sealer: Sealer): void {
  const key = sealer.createKey(testKey);
  const region = filled(12288 + 2 * tagBytes);
  const original = region.bytes.slice(0, 4096);
  key.seal(9, 9, 4096, region, 0, region, 4096);
  region.bytes.fill(0xee, 0, 4096);
  assert.equal(key.open(9, 9, 4096, region, 4096, region, 4096 + 4096 + tagBytes), true);
  assert.deepEqual(region.bytes.subarray(8192 + tagBytes, 12288 + tagBytes), original);
  key.destroy();
}

function staysInRange(sealer: Sealer, authenticates: boolean): void {
  const key = sealer.createKey(testKey);
  const source = filled(512);
  const target = new Region(1024);
  target.bytes.fill(0xaa);
  key.seal(1, 1, 512, source, 0, target, 100);
  assertFill(target.bytes.subarray(0, 100), 0xaa);
  assertFill(target.bytes.subarray(100 + 512 + tagBytes), 0xaa);
  const opened = new Region(1024);
  opened.bytes.fill(0xbb);
  key.open(1, 1, 512, target, 100, opened, 50);
  assertFill(opened.bytes.subarray(0, 50), 0xbb);
  assertFill(opened.bytes.subarray(562), 0xbb);
  if (authenticates) {
    assert.equal(key.open(2, 1, 512, target, 100, opened, 50), false);
    assertFill(opened.bytes.subarray(0, 50), 0xbb);
    assertFill(opened.bytes.subarray(50, 562), 0);
    assertFill(opened.bytes.subarray(562), 0xbb);
  }
  key.destroy();
}

function takesLargeNumbers(sealer: Sealer): void {
  const key = sealer.createKey(testKey);
  const source = filled(512);
  for (const slot of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
    for (const block of [0, 2 ** 32 - 1, 2 ** 32, 2 ** 52 - 1, 2 ** 52]) {
      const sealed = new Region(512 + tagBytes);
      const opened = new Region(512);
      key.seal(slot, block, 512, source, 0, sealed, 0);
      assert.equal(key.open(slot, block, 512, sealed, 0, opened, 0), true, `slot ${slot} block ${block}`);
      assert.deepEqual(opened.bytes, source.bytes);
    }
  }
  key.destroy();
}

function refusesMisuse(sealer: Sealer): void {
  const key = sealer.createKey(testKey);
  const one = filled(64);
  const two = filled(64 + tagBytes);
  const refused: readonly (() => unknown)[] = [
    () => key.seal(0, 0, 65, one, 0, two, 0),
    () => key.seal(0, 0, 64, one, 1, two, 0),
    () => key.seal(0, 0, 64, one, 0, two, 1),
    () => key.seal(0, 0, 64, one, -1, two, 0),
    () => key.seal(0, 0, 64, one, 0, two, -1),
    () => key.seal(0, 0, 0, one, 0, two, 0),
    () => key.seal(0, 0, -1, one, 0, two, 0),
    () => key.seal(0, 0, 1.5, one, 0, two, 0),
    () => key.seal(0, 0, Number.NaN, one, 0, two, 0),
    () => key.seal(0, 0, 16, one, Number.NaN, two, 0),
    () => key.seal(-1, 0, 16, one, 0, two, 0),
    () => key.seal(2 ** 32, 0, 16, one, 0, two, 0),
    () => key.seal(0, -1, 16, one, 0, two, 0),
    () => key.seal(0, 2 ** 53, 16, one, 0, two, 0),
    () => key.seal(0, 0, 16, one, 0, one, 8),
    () => key.seal(0, 0, 16, one, 20, one, 0),
    () => key.open(0, 0, 65, two, 0, one, 0),
    () => key.open(0, 0, 64, two, 1, one, 0),
    () => key.open(0, 0, 64, two, 0, one, 1),
    () => key.open(0, 0, 16, two, 0, two, 8),
    () => sealer.createKey(new Uint8Array(31)),
    () => sealer.createKey(new Uint8Array(33)),
  ];
  for (const call of refused) assert.throws(call, isAssertion, String(call));
  const moved = filled(64);
  structuredClone(moved.bytes.buffer, { transfer: [moved.bytes.buffer] });
  assert.throws(() => key.seal(0, 0, 16, moved, 0, two, 0), isAssertion, 'a buffer that was transferred away');
  key.destroy();
}

function copiesKey(sealer: Sealer): void {
  const given = testKey.slice();
  const key = sealer.createKey(given);
  const reference = sealer.createKey(testKey);
  given.fill(0);
  assert.deepEqual(sealOnce(key, 3, 4), sealOnce(reference, 3, 4));
  key.destroy();
  reference.destroy();
}

function refusesAfterDestroy(sealer: Sealer): void {
  const key = sealer.createKey(testKey);
  const one = filled(64);
  const two = new Region(64 + tagBytes);
  key.seal(0, 0, 64, one, 0, two, 0);
  key.destroy();
  key.destroy();
  assert.throws(() => key.seal(0, 0, 64, one, 0, two, 0), isAssertion);
  assert.throws(() => key.open(0, 0, 64, two, 0, one, 0), isAssertion);
}

function alternatesKeys(sealer: Sealer): void {
  const keys = [0, 1, 2].map((step) => sealer.createKey(testKey.map((byte) => byte ^ step)));
  const expected = keys.map((key) => sealOnce(key, 1, 1));
  for (let round = 0; round < 20; round++) {
    for (const [index, key] of keys.entries()) assert.deepEqual(sealOnce(key, 1, 1), expected[index]);
  }
  for (const key of keys) key.destroy();
}

function bindsPlace(sealer: Sealer): void {
  const key = sealer.createKey(testKey);
  const other = sealer.createKey(testKey.map((byte) => byte ^ 1));
  const sealings = [
    sealOnce(key, 1, 1),
    sealOnce(key, 2, 1),
    sealOnce(key, 1, 2),
    sealOnce(other, 1, 1),
    sealOnce(key, 1, 2 ** 32 + 1),
  ];
  const distinct = new Set(sealings.map((sealed) => Buffer.from(sealed.subarray(0, 64)).toString('hex')));
  assert.equal(distinct.size, sealings.length);
  key.destroy();
  other.destroy();
}

function refusesFlippedBits(sealer: Sealer): void {
  const key = sealer.createKey(testKey);
  const sealed = Region.from(sealOnce(key, 1, 1));
  const opened = new Region(64);
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    flip(sealed.bytes, bit);
    opened.bytes.fill(0xcc);
    assert.equal(key.open(1, 1, 64, sealed, 0, opened, 0), false, `bit ${bit}`);
    assertFill(opened.bytes, 0);
    flip(sealed.bytes, bit);
  }
  assert.equal(key.open(1, 1, 64, sealed, 0, opened, 0), true, 'a refusal leaves the key usable');
  key.destroy();
}

function refusesOtherPlace(sealer: Sealer): void {
  const key = sealer.createKey(testKey);
  const other = sealer.createKey(testKey.map((byte) => byte ^ 0x80));
  const sealed = Region.from(sealOnce(key, 7, 70));
  const opened = new Region(64);
  assert.equal(key.open(6, 70, 64, sealed, 0, opened, 0), false);
  assert.equal(key.open(7, 71, 64, sealed, 0, opened, 0), false);
  assert.equal(key.open(70, 7, 64, sealed, 0, opened, 0), false);
  assert.equal(key.open(7, 70, 63, sealed, 0, opened, 0), false);
  assert.equal(key.open(7, 70, 63, sealed, 1, opened, 0), false);
  assert.equal(other.open(7, 70, 64, sealed, 0, opened, 0), false);
  assert.equal(key.open(7, 70, 64, sealed, 0, opened, 0), true);
  key.destroy();
  other.destroy();
}

function runVector(sealer: Sealer, file: string): void {
  const vector = JSON.parse(readFileSync(new URL(file, vectorsFolder), 'utf8')) as Vector;
  const key = sealer.createKey(Buffer.from(vector.key, 'hex'));
  const plaintext = Region.from(Buffer.from(vector.plaintext, 'hex'));
  const expected = Region.from(Buffer.from(vector.sealed, 'hex'));
  const opened = new Region(plaintext.length);
  opened.bytes.fill(0xdd);
  const authentic = key.open(vector.slot, vector.block, plaintext.length, expected, 0, opened, 0);
  assert.equal(authentic ? 'opens' : 'refused', vector.expect, vector.comment);
  assert.deepEqual(opened.bytes, authentic ? plaintext.bytes : new Uint8Array(plaintext.length));
  const sealed = new Region(plaintext.length + tagBytes);
  key.seal(vector.slot, vector.block, plaintext.length, plaintext, 0, sealed, 0);
  assert.equal(Buffer.compare(sealed.bytes, expected.bytes) === 0, vector.expect === 'opens');
  key.destroy();
}

function sealOnce(key: SealingKey, slot: number, block: number): Uint8Array {
  const source = filled(64);
  const sealed = new Region(64 + tagBytes);
  key.seal(slot, block, 64, source, 0, sealed, 0);
  return sealed.bytes;
}

function filled(length: number): Region {
  const region = new Region(length);
  for (let index = 0; index < length; index++) region.bytes[index] = (index * 7 + (index >> 8) + 1) & 0xff;
  return region;
}

function flip(bytes: Uint8Array, bit: number): void {
  bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
}

function assertFill(bytes: Uint8Array, value: number): void {
  assert.equal(
    bytes.every((byte) => byte === value),
    true,
    `all bytes are ${value}`,
  );
}

function isAssertion(error: unknown): boolean {
  return isCaissonError(error, 'assertion-failed');
}
