import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCaissonError } from './errors.ts';
import { checkName, isReference, parseReference } from './names.ts';

test('names that every place takes without quoting', () => {
  for (const name of ['a', '0', 'data', 'web-1.log_x', 'a'.repeat(63)]) assert.equal(checkName(name), name);
});

test('odd names are refused by name', () => {
  const odd = [
    '',
    'A',
    '-a',
    '.a',
    '_a',
    'a/b',
    '../a',
    'a b',
    'a\n',
    'a\0',
    'ä',
    'a'.repeat(64),
    'a:b',
    '$(a)',
    '{a}',
  ];
  for (const name of odd) {
    assert.throws(
      () => checkName(name),
      (error) => isCaissonError(error, 'name-invalid') && error.remedy !== undefined,
      JSON.stringify(name),
    );
  }
});

test('a snapshot is referred to behind the name of its volume', () => {
  assert.deepEqual(parseReference('data'), { name: 'data', snapshot: undefined });
  assert.deepEqual(parseReference('data@Monday-1.x'), { name: 'data', snapshot: 'Monday-1.x' });
  for (const odd of [
    '@',
    'data@',
    '@monday',
    'data@a@b',
    'data@../x',
    'data@a b',
    'Data@a',
    `data@${'a'.repeat(64)}`,
  ]) {
    assert.equal(isReference(odd), false, odd);
    assert.throws(
      () => parseReference(odd),
      (error) => isCaissonError(error, 'name-invalid') && error.remedy !== undefined,
      odd,
    );
  }
});
