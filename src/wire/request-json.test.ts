import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCaissonError } from '../lib/errors.ts';
import { parseRequestJson } from './request-json.ts';

const bounds = { bytesMax: 1000, depthMax: 4 };
const parse = (text: string): unknown => parseRequestJson(new TextEncoder().encode(text), 'the body', bounds);
const refuses = (text: string, code: 'argument-invalid' | 'limit-exceeded', words: RegExp): void =>
  assert.throws(
    () => parse(text),
    (error) => isCaissonError(error, code) && words.test(error.message),
    text,
  );

test('JSON reads as JSON.parse reads it', () => {
  for (const text of [
    '{}',
    '[]',
    '1',
    '"a\\"b"',
    '{"a":{"b":[1,{"c":"}]{"}]}}',
    ' [ "\\\\" , {"a":"x:y,z"} ] ',
    'null',
  ])
    assert.deepEqual(parse(text), JSON.parse(text), text);
});

test('a name that is there twice is refused, however it is spelled, and only within one object', () => {
  refuses('{"a":1,"a":2}', 'argument-invalid', /twice/);
  refuses('{"a":1,"\\u0061":2}', 'argument-invalid', /twice/);
  refuses('{"x":{"a":1},"y":[{"b":{},"b":1}]}', 'argument-invalid', /twice/);
  refuses('{"__proto__":1,"__proto__":2}', 'argument-invalid', /twice/);
  assert.deepEqual(
    parse('{"a":{"a":1},"b":{"a":"a"},"c":["a","a"]}'),
    JSON.parse('{"a":{"a":1},"b":{"a":"a"},"c":["a","a"]}'),
  );
});

test('deep nesting and long texts are refused before they are parsed', () => {
  assert.deepEqual(parse('[[[[]]]]'), [[[[]]]]);
  refuses('[[[[[]]]]]', 'limit-exceeded', /levels/);
  refuses('{"a":{"a":{"a":{"a":{}}}}}', 'limit-exceeded', /levels/);
  refuses(`"${'x'.repeat(1000)}"`, 'limit-exceeded', /bytes/);
});

test('what is not JSON or not UTF-8 is refused', () => {
  for (const text of ['', '{', '{"a":1}}', '{"a":1} x', "{'a':1}", '"', '{"a', '{"\\x":1}', '\uFEFF{}', '[1,]', 'NaN'])
    refuses(text, 'argument-invalid', /JSON/);
  assert.throws(
    () => parseRequestJson(Uint8Array.of(0x22, 0xff, 0x22), 'the body', bounds),
    (error) => isCaissonError(error, 'argument-invalid') && /UTF-8/.test(error.message),
  );
});
