import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SyncPace } from './sync-pace.ts';

const small = 8192;

function paceAfter(answers: readonly number[]): SyncPace {
  const pace = new SyncPace();
  for (const milliseconds of answers) pace.note(small, milliseconds);
  return pace;
}

test('waits in place only after a run of quick answers', () => {
  assert.equal(paceAfter([]).isQuick(small), false);
  assert.equal(paceAfter([0.2, 0.2, 0.2]).isQuick(small), false);
  assert.equal(paceAfter(Array<number>(8).fill(0.2)).isQuick(small), true);
});

test('a disk that takes milliseconds is never waited for in place', () => {
  assert.equal(paceAfter(Array<number>(100).fill(1.2)).isQuick(small), false);
});

test('one slow answer sends the following syncs to the pool, until many quick ones came back', () => {
  const quick = Array<number>(8).fill(0.2);
  assert.equal(paceAfter([...quick, 30]).isQuick(small), false);
  assert.equal(paceAfter([...quick, 30, ...quick]).isQuick(small), false);
  assert.equal(paceAfter([...quick, 30, ...Array<number>(64).fill(0.2)]).isQuick(small), true);
});

test('large syncs are neither waited for nor counted', () => {
  const pace = paceAfter(Array<number>(8).fill(0.2));
  assert.equal(pace.isQuick(2 ** 20), false);
  pace.note(2 ** 20, 50);
  assert.equal(pace.isQuick(small), true);
});
