/** Cleaners that are wrong in one way each: the simulator must catch every one of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockMap } from '../../src/block-map/block-map.ts';
import { UsageTable } from '../../src/block-map/usage-table.ts';
import { PinnedNumbers } from '../../src/manifest/pinned-numbers.ts';
import { SegmentMover } from '../../src/volume/segment-mover.ts';
import { runSimulation } from './simulation.ts';

const seedsMax = 80;

test('a canary is caught: a cleaner that gives up segments without moving what is live', () =>
  caught(() => {
    const restoreMove = replace(SegmentMover.prototype, 'move', () => async () => 0);
    // Or its own check would refuse.
    const restoreCheck = replace(UsageTable.prototype, 'blocks', () => () => 0);
    return () => {
      restoreMove();
      restoreCheck();
    };
  }));

test('a canary is caught: a cleaner that ignores what snapshots and clones need', () =>
  caught(() => replace(PinnedNumbers.prototype, 'anyIn', () => () => false)));

test('a canary is caught: a cleaner that moves what was overwritten meanwhile', () =>
  caught(() => {
    const seen = new Map<number, readonly [where: number, location: number]>();
    const restoreMove = replace(SegmentMover.prototype, 'move', (move) => {
      return function (this: SegmentMover, index: number) {
        seen.clear();
        return move.call(this, index);
      };
    });
    // The mover is told what it was told when it looked first.
    const restoreFind = replace(BlockMap.prototype, 'find', (find) => {
      return function (this: BlockMap, block: number) {
        const where = find.call(this, block);
        if (!/liveParts/.test(new Error('who asks').stack ?? '')) return where;
        const before = seen.get(block);
        if (before === undefined) seen.set(block, [where, this.location]);
        else this.location = before[1];
        return before?.[0] ?? where;
      };
    });
    return () => {
      restoreMove();
      restoreFind();
    };
  }));

/** Runs seeds with the wrong cleaner until one fails, as one must. */
async function caught(install: () => () => void): Promise<void> {
  const restore = install();
  try {
    await assert.rejects(async () => {
      for (let seed = 1; seed <= seedsMax; seed++) await runSimulation(seed);
    }, /replay: npm run sim -- --seed \d+/);
  } finally {
    restore();
  }
}

function replace<T extends object, Name extends keyof T>(
  prototype: T,
  name: Name,
  make: (original: T[Name]) => T[Name],
): () => void {
  const original = prototype[name];
  prototype[name] = make(original);
  return () => {
    prototype[name] = original;
  };
}
