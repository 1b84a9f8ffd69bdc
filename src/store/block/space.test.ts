import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SeededRandom } from '../../../test/sim/random.ts';
import { countUnits } from './journal-format.ts';
import { appendExtent, Space, splitExtents } from './space.ts';

function unitsOf(extents: readonly number[]): number[] {
  const units: number[] = [];
  for (let index = 0; index < extents.length; index += 2)
    for (let unit = extents[index]!; unit < extents[index]! + extents[index + 1]!; unit++) units.push(unit);
  return units;
}

describe('space', () => {
  it('hands out each unit once, all of them, and takes them back', () => {
    for (let seed = 0; seed < 40; seed++) {
      const random = new SeededRandom(seed);
      const space = new Space(random.between(1, 300));
      const held: number[][] = [];
      const taken = new Set<number>();
      for (let step = 0; step < 300; step++) {
        if (random.oneIn(2) && held.length > 0) {
          const [extents] = held.splice(random.below(held.length), 1);
          for (const unit of unitsOf(extents!)) taken.delete(unit);
          for (let index = 0; index < extents!.length; index += 2) space.free(extents![index]!, extents![index + 1]!);
        } else {
          const count = random.between(1, 40);
          const last = held.at(-1);
          const after = last === undefined || random.oneIn(2) ? -1 : last.at(-2)! + last.at(-1)!;
          const extents = space.allocate(count, after);
          assert.equal(extents !== undefined, count <= space.unitCount - taken.size, `seed ${seed}`);
          if (extents === undefined) continue;
          assert.equal(countUnits(extents), count);
          for (const unit of unitsOf(extents)) {
            assert.ok(unit < space.unitCount && !taken.has(unit), `seed ${seed}: unit ${unit} is given twice`);
            taken.add(unit);
          }
          held.push(extents);
        }
        assert.equal(space.freeUnits, space.unitCount - taken.size);
      }
    }
  });

  it('gives one piece where there is one that is long enough', () => {
    const space = new Space(100);
    assert.deepEqual(space.allocate(100), [0, 100]);
    space.free(10, 5);
    space.free(40, 20);
    space.free(90, 5);
    assert.deepEqual(space.allocate(12), [40, 12]);
    assert.deepEqual(space.allocate(4, 52), [52, 4], 'what follows comes first');
    const scattered = space.allocate(10)!;
    assert.equal(countUnits(scattered), 10);
    assert.ok(scattered.length > 2);
  });

  it('claims all or nothing', () => {
    const space = new Space(64);
    assert.ok(space.claim([3, 2, 10, 5]));
    assert.ok(!space.claim([20, 4, 14, 2]));
    assert.equal(space.freeUnits, 57);
    assert.ok(space.claim([20, 4]), 'nothing of the refused claim is held');
    assert.deepEqual(space.claimFree(0, 12), [0, 3, 5, 5]);
    assert.throws(() => space.free(30, 1));
  });

  it('splits and joins lists', () => {
    assert.deepEqual(splitExtents([5, 3, 20, 4], 4), { kept: [5, 3, 20, 1], cut: [21, 3] });
    assert.deepEqual(splitExtents([5, 3], 0), { kept: [], cut: [5, 3] });
    const list = [1, 2];
    appendExtent(list, 3, 1);
    appendExtent(list, 9, 1);
    assert.deepEqual(list, [1, 3, 9, 1]);
  });
});
