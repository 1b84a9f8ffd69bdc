/** The numbers that a benchmark is judged by. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { median, ratiosOf, rotated } from '../../bench/statistics.ts';

test('the median is the middle value, or the mean of the two middle ones', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([10, 1, 2, 4]), 3);
  assert.equal(median([7]), 7);
  assert.ok(Number.isNaN(median([])));
});

test('ratios pair the values of one round', () => {
  // The ratio of the two medians would be 200 / 100; round by round it is 2, 1 and 4.
  const ours = new Map([
    [0, 200],
    [1, 100],
    [2, 400],
  ]);
  const theirs = new Map([
    [0, 100],
    [1, 100],
    [2, 100],
  ]);
  assert.deepEqual(ratiosOf(ours, theirs), { median: 2, min: 1, max: 4, rounds: 3 });
});

test('a round that one side did not finish has no ratio', () => {
  const ours = new Map([
    [0, 10],
    [1, 30],
    [3, 50],
  ]);
  const theirs = new Map([
    [1, 10],
    [2, 10],
    [3, 0],
  ]);
  assert.deepEqual(ratiosOf(ours, theirs), { median: 3, min: 3, max: 3, rounds: 1 });
  assert.equal(ratiosOf(ours, new Map()), undefined);
});

test('over the rounds every server runs first once', () => {
  const servers = ['a', 'b', 'c'];
  assert.deepEqual(
    [0, 1, 2, 3].map((round) => rotated(servers, round).join('')),
    ['abc', 'bca', 'cab', 'abc'],
  );
  assert.deepEqual(rotated([], 3), []);
});
