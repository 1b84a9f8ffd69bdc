/** The file anchor on the simulated disk: what it acknowledged survives, it never gives back an older or an invented state. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { openFileAnchor } from '../../src/anchor/file-anchor.ts';
import type { Anchor } from '../../src/anchor/anchor.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import type { FileSystem } from '../../src/store/file-system.ts';
import { anchorConformance, stateAt, volumeId } from '../conformance/anchor.ts';
import { VirtualClock } from './clock.ts';
import { SeededRandom } from './random.ts';
import { SimulatedMachine } from './simulated-file-system.ts';
import type { FaultPlan } from './simulated-file-system.ts';

for (const seed of [1, 2]) {
  anchorConformance(`file on the simulated file system, seed ${seed}`, async () => {
    const machine = new SimulatedMachine(new SeededRandom(seed));
    return { open: () => openAnchor(machine), dispose: async () => {} };
  });
}

type Wrap = (fileSystem: FileSystem) => FileSystem;

describe('file anchor under faults', () => {
  for (const kind of ['powerFailureAt', 'failAt', 'loseAnswerAt'] as const) {
    it(`keeps what it acknowledged with ${kind} at any operation`, async () => {
      assert.deepEqual(await sweep(kind), []);
    });
  }

  it('canary: without syncs the same sweep complains', async () => {
    const withoutSync: Wrap = (fileSystem) =>
      new Proxy(fileSystem, {
        get: (target, name) =>
          name !== 'open'
            ? bound(target, name)
            : async (path: string, mode: 'exclusive' | 'read' | 'update') => {
                const file = await target.open(path, mode);
                return new Proxy(file, { get: (inner, key) => (key === 'sync' ? async () => {} : bound(inner, key)) });
              },
      });
    assert.notDeepEqual(await sweep('powerFailureAt', withoutSync), []);
  });

  it('survives a process that dies before its sync, followed by a power failure in the next advance', async () => {
    const complaints: string[] = [];
    for (let seed = 0; seed < 300; seed++) {
      const random = new SeededRandom(seed);
      const faults: FaultPlan = {};
      const machine = new SimulatedMachine(new SeededRandom(seed), { faults });
      const anchor = await openAnchor(machine);
      await anchor.advance(stateAt(1, 1, 1));
      await anchor.advance(stateAt(1, 1, 2));
      const dying = machine.attach();
      const clock = new VirtualClock({ isBusy: () => machine.isBusy });
      const unsynced = (await openFileAnchor(dying, '/state', clock)).advance(stateAt(1, 1, 3)).then(
        () => 3,
        () => 2,
      );
      for (let turn = random.below(30); turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve));
      machine.kill(dying);
      const acknowledged = await unsynced;
      faults.powerFailureAt = machine.operationCount + 1 + random.below(16);
      const next = await openAnchor(machine)
        .then((anchorNow) => anchorNow.advance(stateAt(1, 1, 4)))
        .then(
          () => 4,
          () => acknowledged,
        );
      faults.powerFailureAt = undefined;
      machine.powerFailure();
      const found = (await (await openAnchor(machine)).read(volumeId))?.sequence ?? -1;
      if (found < next) complaints.push(`seed ${seed}: ${next} was acknowledged, ${found} is held`);
    }
    assert.deepEqual(complaints, []);
  });
});

async function sweep(
  kind: 'powerFailureAt' | 'failAt' | 'loseAnswerAt',
  wrap: Wrap = (same) => same,
): Promise<string[]> {
  const complaints: string[] = [];
  for (let place = 1; ; place++) {
    const faults: FaultPlan = { [kind]: place, failWith: place % 2 ? 'EIO' : 'ENOSPC' };
    const machine = new SimulatedMachine(new SeededRandom(place), { faults });
    let acknowledged = 0;
    try {
      const anchor = await openAnchor(machine, wrap);
      for (let sequence = 1; sequence <= 6; sequence++) {
        const state = stateAt(1, 1, sequence);
        await anchor.advance(state).catch((error: unknown) => {
          if (isCaissonError(error, 'store-closed')) throw error;
          return anchor.advance(state); // as the engine does: the same state again
        });
        acknowledged = sequence;
      }
    } catch (error) {
      assert.ok(isCaissonError(error), `place ${place}: ${String(error)}`);
    }
    const isLast = machine.faultCount === 0;
    faults[kind] = undefined;
    machine.powerFailure();
    try {
      const found = await (await openAnchor(machine)).read(volumeId);
      const sequence = found?.sequence ?? 0;
      if (found !== undefined) assert.deepEqual(found, stateAt(1, 1, sequence));
      if (sequence < acknowledged)
        complaints.push(`place ${place}: ${acknowledged} was acknowledged, ${sequence} is held`);
    } catch (error) {
      if (!isCaissonError(error, 'anchor-tampered')) throw error;
      complaints.push(`place ${place}: ${error.message}`);
    }
    if (isLast) return complaints;
  }
}

function openAnchor(machine: SimulatedMachine, wrap: Wrap = (same) => same): Promise<Anchor> {
  return openFileAnchor(wrap(machine.attach()), '/state', new VirtualClock({ isBusy: () => machine.isBusy }));
}

function bound(target: object, name: PropertyKey): unknown {
  const value: unknown = Reflect.get(target, name);
  return typeof value === 'function' ? (value.bind(target) as unknown) : value;
}
