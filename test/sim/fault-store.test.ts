import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as paths from '../../src/store/paths.ts';
import { pattern, rejects, storeConformance } from '../conformance/store.ts';
import { VirtualClock } from './clock.ts';
import { FaultStore } from './fault-store.ts';
import { MemoryMedium, MemoryStore } from './memory-store.ts';

const key = paths.headKey(paths.volumePrefix(new Uint8Array(16)));

storeConformance('memory behind the fault store, no fault planned', async () => {
  const medium = new MemoryMedium();
  return { open: async () => new FaultStore(new MemoryStore(medium), new VirtualClock()), dispose: async () => {} };
});

describe('fault store', () => {
  it('fails as often as told, without an effect', async () => {
    const store = new FaultStore(new MemoryStore(), new VirtualClock());
    store.faults.failNext('create', 2);
    await rejects(store.create(key, pattern(10, 1)), 'store-io');
    await rejects(store.create(key, pattern(10, 1)), 'store-io');
    await rejects(store.get(key, 10), 'object-missing');
    assert.equal(store.faults.plannedCount, 0);
    await store.create(key, pattern(10, 1));
    assert.equal(store.faults.countOf('create'), 3);
  });

  it('loses an answer after the effect', async () => {
    const store = new FaultStore(new MemoryStore(), new VirtualClock());
    store.faults.loseNextAnswer('swap');
    await rejects(store.swap(key, null, pattern(10, 1)), 'store-io');
    assert.deepEqual(await store.get(key, 10), pattern(10, 1));
  });

  it('takes its time on the clock it was given', async () => {
    const clock = new VirtualClock();
    const store = new FaultStore(new MemoryStore(), clock);
    store.faults.latencyMilliseconds = 20;
    let isDone = false;
    const creating = store.create(key, pattern(10, 1)).then(() => (isDone = true));
    clock.advance(19);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(isDone, false);
    clock.advance(1);
    await creating;
  });
});
