import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jsonBytesMax, jsonDepthMax } from '../lib/limits.ts';
import { parseExactJson, type JsonNode } from './exact-json.ts';

const parse = (text: string): JsonNode => parseExactJson(new TextEncoder().encode(text));
const refuses = (text: string): void => assert.throws(() => parse(text), { code: 'format-invalid' }, text);

test('values and their exact bytes', () => {
  const node = parse(' { "a" : { "b":[1, 2] , "c":"\\u0041\\"" } , "d":true } ');
  assert.equal(Buffer.from(node.member('a').bytes).toString(), '{ "b":[1, 2] , "c":"\\u0041\\"" }');
  assert.equal(node.member('a').member('c').text(), 'A"');
  assert.deepEqual(
    node
      .member('a')
      .member('b')
      .list()
      .map((item) => item.count(9)),
    [1, 2],
  );
  assert.equal(node.member('d').boolean(), true);
  assert.equal(node.optional('e'), undefined);
});

test('what is outside ASCII keeps its bytes', () => {
  const text = '{"a":{"ä":"€😀"}}';
  assert.equal(Buffer.from(parse(text).member('a').bytes).toString(), '{"ä":"€😀"}');
});

test('what parsers read differently is refused', () => {
  for (const text of [
    '{"a":1,"a":2}',
    '{"a":1,"\\u0061":2}',
    '{"x":{"a":1,"a":1}}',
    '\ufeff{}',
    '{} {}',
    '{}x',
    '',
    ' ',
  ])
    refuses(text);
  for (const text of ['1.0', '1e3', '-0', '01', '9007199254740993', '+1', '.5', '1.', 'NaN', 'Infinity']) refuses(text);
  for (const text of ['"\\ud800"', '"\\x41"', '"a\nb"', '"a', "'a'", '"\\']) refuses(text);
  for (const text of ['[1,]', '[,1]', '{"a":1,}', '{a:1}', '{"a" 1}', '[1 2]', '{"a":1', '[1', '/**/1', 'tru', 'nul'])
    refuses(text);
  assert.throws(() => parseExactJson(Uint8Array.of(0x22, 0xff, 0x22)), { code: 'format-invalid' });
});

test('a member named __proto__ is a member', () => {
  assert.equal(parse('{"__proto__":1}').member('__proto__').count(1), 1);
  assert.equal(parse('{}').optional('__proto__'), undefined);
});

test('size and depth are bounded', () => {
  parse('['.repeat(jsonDepthMax) + ']'.repeat(jsonDepthMax));
  refuses('['.repeat(jsonDepthMax + 2) + ']'.repeat(jsonDepthMax + 2));
  refuses(`"${'x'.repeat(jsonBytesMax)}"`);
  assert.throws(() => parseExactJson(new TextEncoder().encode('[1]'), 2), { code: 'format-invalid' });
});

test('a value of another kind than asked for is refused, and its path is named', () => {
  const node = parse('{"a":[{"b":-1}]}');
  const inner = node.member('a').list()[0]!.member('b');
  const reads = [
    () => inner.text(),
    () => inner.boolean(),
    () => inner.list(),
    () => inner.members(),
    () => inner.count(9),
  ];
  for (const read of reads) assert.throws(read, { code: 'format-invalid', message: /\/a\/0\/b/ });
  assert.throws(() => node.member('z'), { code: 'format-invalid', message: /\/z: it is missing/ });
  assert.throws(() => parse('10').count(9), { code: 'format-invalid' });
  assert.equal(parse('9').count(9), 9);
});
