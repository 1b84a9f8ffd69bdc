import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forEachParallel } from './parallel.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('works on every item, in order of beginning, within its bound', async () => {
  const begun: number[] = [];
  let underWay = 0;
  let underWayMost = 0;
  await forEachParallel([1, 2, 3, 4, 5, 6, 7], 3, async (item) => {
    begun.push(item);
    underWayMost = Math.max(underWayMost, ++underWay);
    await turn();
    underWay--;
  });
  assert.deepEqual(begun, [1, 2, 3, 4, 5, 6, 7]);
  assert.equal(underWayMost, 3);
});

test('the first failure is thrown once nothing is under way, and nothing further is begun', async () => {
  const begun: number[] = [];
  let underWay = 0;
  const work = forEachParallel([1, 2, 3, 4, 5], 2, async (item) => {
    begun.push(item);
    underWay++;
    for (let turns = 0; turns < item; turns++) await turn();
    underWay--;
    throw new Error(`item ${item}`);
  });
  await assert.rejects(work, /item 1/);
  assert.equal(underWay, 0);
  assert.deepEqual(begun, [1, 2]);
});

test('nothing to do is done at once', async () => {
  await forEachParallel([], 4, () => assert.fail('there is no item'));
});
