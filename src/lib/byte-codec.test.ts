import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteReader, ByteWriter } from './byte-codec.ts';

test('fields survive whatever growth happens between and within them', () => {
  for (let lead = 0; lead < 600; lead++) {
    const writer = new ByteWriter().bytes(new Uint8Array(lead).fill(0xaa));
    writer
      .u8(0x12)
      .u16(0x3456)
      .u32(0x789abcde)
      .u64(2 ** 40 + 1)
      .block(new Uint8Array(300).fill(7))
      .zeros(3)
      .u8(9);
    const reader = new ByteReader(writer.finish(), 'a test');
    assert.equal(
      reader.bytes(lead).every((byte) => byte === 0xaa),
      true,
    );
    assert.deepEqual([reader.u8(), reader.u16(), reader.u32(), reader.u64()], [0x12, 0x3456, 0x789abcde, 2 ** 40 + 1]);
    assert.equal(
      reader.block(300).every((byte) => byte === 7),
      true,
    );
    reader.zeros(3);
    assert.equal(reader.u8(), 9);
    reader.end();
  }
});

test('a reader refuses what is cut off, too large, not zero or left over', () => {
  const read = (bytes: readonly number[]): ByteReader => new ByteReader(Uint8Array.from(bytes), 'a test');
  const refused: readonly (() => unknown)[] = [
    () => read([]).u8(),
    () => read([1]).u16(),
    () => read([1, 2, 3]).u32(),
    () => read([0, 0, 0, 0, 0, 0, 0, 1]).u64(),
    () => read([5, 0, 0, 0, 1, 2, 3, 4, 5]).block(4),
    () => read([5, 0, 0, 0, 1, 2, 3, 4]).block(100),
    () => read([2, 0, 0, 0, 1, 2, 3]).count(2),
    () => read([0, 1]).zeros(2),
    () => read([0x41, 0x42]).expect('AC'),
    () => read([0]).end(),
  ];
  for (const call of refused) assert.throws(call, { code: 'format-invalid', kind: 'integrity' }, String(call));
  assert.throws(() => read([2, 0]).version(1), { code: 'format-version' });
});
