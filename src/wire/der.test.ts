import assert from 'node:assert/strict';
import { test } from 'node:test';
import { derBytesMax, derDepthMax } from '../lib/limits.ts';
import { contextTag, derTag, parseDer, type DerValue } from './der.ts';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const value = (text: string): DerValue => parseDer(hex(text));
const refuses = (text: string, read: (value: DerValue) => unknown = () => undefined): void =>
  assert.throws(() => read(value(text)), { code: 'format-invalid' }, text);

test('lengths are definite, in their shortest form, and fit', () => {
  assert.equal(value('04 7f' + '00'.repeat(127)).octetString().length, 127);
  assert.equal(value('04 81 80' + '00'.repeat(128)).octetString().length, 128);
  assert.equal(value('04 82 0100' + '00'.repeat(256)).octetString().length, 256);
  const bad = [
    '',
    '04',
    '04 01',
    '04 80 0000',
    '04 81 01 00',
    '04 82 00ff' + '00'.repeat(255),
    '04 85 0000000001 00',
    '04 84 ffffffff',
  ];
  for (const text of bad) refuses(text);
  refuses('30 02 04 05', (sequence) => sequence.sequence().next());
});

test('nothing stands after the end, of the whole and of a structure', () => {
  refuses('04 00 00');
  refuses('30 04 04 00 04 00', (sequence) => {
    const fields = sequence.sequence();
    fields.next();
    fields.end();
  });
  refuses('a0 04 04 00 04 00', (wrapper) => wrapper.explicit(0));
});

test('tag numbers above 30, other tags than asked for and too much of anything are refused', () => {
  refuses('1f 01 00');
  refuses('04 00', (octets) => octets.integerBytes());
  refuses('31 00', (set) => set.sequence());
  refuses('30 00', (sequence) => sequence.set());
  refuses('a1 02 04 00', (wrapper) => wrapper.explicit(0));
  const large = new Uint8Array(derBytesMax + 1);
  large.set([4, 0x83, (large.length - 5) >> 16, ((large.length - 5) >> 8) & 0xff, (large.length - 5) & 0xff]);
  assert.throws(() => parseDer(large), { code: 'format-invalid' });
  assert.equal(parseDer(hex('04 83 010000' + '00'.repeat(65_536))).content.length, 65_536);
});

test('levels are bounded', () => {
  const nested = (levels: number): Uint8Array => {
    let bytes = hex('05 00');
    for (let level = 0; level < levels; level++) bytes = Uint8Array.from([0x30, bytes.length, ...bytes]);
    return bytes;
  };
  const descend = (start: DerValue): void => {
    for (let next = start; next.tag === derTag.sequence;) next = next.sequence().next();
  };
  descend(parseDer(nested(derDepthMax)));
  assert.throws(() => descend(parseDer(nested(derDepthMax + 1))), { code: 'format-invalid' });
});

test('booleans, integers, object identifiers', () => {
  assert.deepEqual([value('01 01 ff').boolean(), value('01 01 00').boolean()], [true, false]);
  for (const text of ['01 01 01', '01 00', '01 02 ffff']) refuses(text, (item) => item.boolean());
  assert.equal(value('02 02 00ff').number(), 255);
  assert.equal(value('02 06 7fffffffffff').number(), 0x7fffffffffff);
  assert.deepEqual(value('02 02 00ff').unsignedBytes(), hex('ff'));
  assert.deepEqual(value('02 01 00').unsignedBytes(), hex('00'));
  assert.deepEqual(value('02 01 ff').integerBytes(), hex('ff'));
  for (const text of ['02 00', '02 02 0001', '02 02 ff80', '02 01 80', '02 07 01000000000000'])
    refuses(text, (item) => item.number());
  assert.equal(value('06 08 2a8648ce3d040302').oid(), '1.2.840.10045.4.3.2');
  assert.equal(value('06 03 550403').oid(), '2.5.4.3');
  assert.equal(value('06 03 883703').oid(), '2.999.3');
  assert.equal(value('06 04 2a818000').oid(), '1.2.16384');
  for (const text of ['06 00', '06 01 80', '06 02 2a81', '06 02 2a80', '06 03 2a8001', '06 0a 2affffffffffffffff7f'])
    refuses(text, (item) => item.oid());
});

test('bit strings of bytes and of named bits', () => {
  assert.deepEqual(value('03 03 00 abcd').bitStringBytes(), hex('abcd'));
  for (const text of ['03 00', '03 02 01 fe']) refuses(text, (item) => item.bitStringBytes());
  const bits = value('03 03 07 0480').bits();
  assert.deepEqual([5, 8, 0, 9, 100].map(bits), [true, true, false, false, false]);
  assert.equal(value('03 01 00').bits()(0), false);
  for (const text of ['03 00', '03 01 01', '03 02 08 00', '03 02 01 03']) refuses(text, (item) => item.bits());
});

test('texts', () => {
  assert.equal(value('0c 02 c3a4').text(), 'ä');
  assert.equal(value('14 01 e4').text(), 'ä');
  assert.equal(value('13 02 4142').text(), 'AB');
  for (const text of ['0c 01 c3', '13 01 e4', '16 02 c3a4', '04 01 41']) refuses(text, (item) => item.text());
});

test('times in both forms, and none that does not exist', () => {
  const time = (tag: string, text: string): DerValue =>
    value(tag + text.length.toString(16).padStart(2, '0') + Buffer.from(text).toString('hex'));
  assert.equal(time('17', '491231235959Z').time(), Date.UTC(2049, 11, 31, 23, 59, 59));
  assert.equal(time('17', '500101000000Z').time(), Date.UTC(1950, 0, 1));
  assert.equal(time('17', '000229000000Z').time(), Date.UTC(2000, 1, 29));
  assert.equal(time('18', '99991231235959Z').time(), Date.UTC(9999, 11, 31, 23, 59, 59));
  for (const text of [
    '4912312359Z',
    '491231235959+0000',
    '491331000000Z',
    '490230000000Z',
    '490101240000Z',
    '490101006000Z',
    '490101000060Z',
    '010229000000Z',
  ])
    assert.throws(() => time('17', text).time(), { code: 'format-invalid' }, text);
  assert.throws(() => time('18', '20490101000000.5Z').time(), { code: 'format-invalid' });
  refuses('04 00', (item) => item.time());
  assert.throws(() => time('04', '20490101000000Z').time(), { code: 'format-invalid' });
});

test('optional fields, and values under another tag', () => {
  const fields = value('30 07 02 01 05 80 02 6869').sequence();
  assert.equal(fields.optional(derTag.boolean), undefined);
  assert.equal(fields.optional(derTag.integer)?.number(), 5);
  const tagged = fields.next();
  assert.equal(tagged.tag, contextTag(0, 'primitive'));
  assert.equal(tagged.as(derTag.utf8String).text(), 'hi');
  assert.equal(fields.isAtEnd, true);
  value('05 00').null();
  refuses('05 01 00', (item) => item.null());
});
