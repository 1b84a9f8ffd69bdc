/** The one that has been idle longest makes room, and looking at an entry is using it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentlyUsed } from './recently-used.ts';

test('keeps what was used last, and no more than it may', () => {
  const kept = new RecentlyUsed<number>(2);
  kept.put('a', 1);
  kept.put('b', 2);
  assert.equal(kept.get('a'), 1);
  kept.put('c', 3);
  assert.deepEqual([kept.get('a'), kept.get('b'), kept.get('c'), kept.size], [1, undefined, 3, 2]);
});

test('an entry that is put again replaces itself and nothing else', () => {
  const kept = new RecentlyUsed<number>(2);
  kept.put('a', 1);
  kept.put('b', 2);
  kept.put('a', 3);
  assert.deepEqual([kept.get('b'), kept.get('a'), kept.size], [2, 3, 2]);
  kept.put('c', 4);
  assert.deepEqual([kept.get('a'), kept.get('b')], [3, undefined]);
});

test('is empty after it was cleared, and takes no size that holds nothing', () => {
  const kept = new RecentlyUsed<number>(1);
  kept.put('a', 1);
  kept.clear();
  assert.deepEqual([kept.get('a'), kept.size], [undefined, 0]);
  for (const entriesMax of [0, -1, 0.5, Number.NaN]) assert.throws(() => new RecentlyUsed(entriesMax));
});
