/** The simulator's own tests: it repeats itself, it keeps what it promised, and it catches code that trusts too much. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isCaissonError } from '../../src/lib/errors.ts';
import { Region } from '../../src/lib/region.ts';
import { openDirStore } from '../../src/store/dir-store.ts';
import type { FileSystem } from '../../src/store/file-system.ts';
import * as paths from '../../src/store/paths.ts';
import type { Store } from '../../src/store/store.ts';
import { pattern, rejects, storeConformance } from '../conformance/store.ts';
import { VirtualClock } from './clock.ts';
import { SeededRandom } from './random.ts';
import { SimulatedMachine } from './simulated-file-system.ts';
import type { FaultPlan } from './simulated-file-system.ts';
import { Acknowledged, collected, workload } from './store-workload.ts';

const root = '/store';
const prefix = paths.volumePrefix(new Uint8Array(16).fill(1));
const head = paths.headKey(prefix);

for (const seed of [1, 2, 3]) {
  storeConformance(`dir on the simulated file system, seed ${seed}`, async () => {
    const machine = new SimulatedMachine(new SeededRandom(seed));
    return { open: () => openStore(machine), dispose: async () => {} };
  });
}

describe('simulated file system', () => {
  it('one seed is one run, another seed another', async () => {
    const run = async (seed: number): Promise<string> => {
      const machine = new SimulatedMachine(new SeededRandom(seed));
      await workload(await openStore(machine), new Acknowledged());
      machine.powerFailure();
      await collected(await openStore(machine));
      return machine.digest();
    };
    assert.equal(await run(7), await run(7));
    assert.notEqual(await run(7), await run(8));
  });

  it('keeps what was synced and tears what was not', async () => {
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 60; seed++) {
      const machine = new SimulatedMachine(new SeededRandom(seed));
      const fileSystem = machine.attach();
      const file = await fileSystem.open('/a', 'exclusive');
      await file.write(0, 1024, Region.from(pattern(1024, 1)), 0);
      await file.sync();
      await fileSystem.syncDirectory('/');
      await file.write(0, 2048, Region.from(pattern(2048, 2)), 0);
      machine.powerFailure();
      const bytes = await machine.attach().readFile('/a', 4096);
      assert.ok(bytes.length >= 1024 && bytes.length <= 2048, `length ${bytes.length}, seed ${seed}`);
      let outcome = '';
      for (let sector = 0; sector * 512 < bytes.length; sector++) {
        const found = bytes.subarray(sector * 512, sector * 512 + 512);
        const same = (other: Uint8Array): boolean =>
          Buffer.compare(found, other.subarray(sector * 512, sector * 512 + found.length)) === 0;
        outcome += same(pattern(2048, 2)) ? 'n' : same(pattern(1024, 1)) ? 'o' : same(new Uint8Array(2048)) ? '0' : '?';
      }
      assert.ok(!outcome.includes('?'), `${outcome}, seed ${seed}`);
      assert.ok(/^[on]{2}/.test(outcome), `${outcome}, seed ${seed}`);
      outcomes.add(outcome);
    }
    assert.ok(outcomes.size > 8, `torn in ${outcomes.size} ways`);
  });

  it('a name without a sync of its folder may be lost, and may survive', async () => {
    const survived = new Set<boolean>();
    for (let seed = 0; seed < 20; seed++) {
      const machine = new SimulatedMachine(new SeededRandom(seed));
      await (await machine.attach().open('/a', 'exclusive')).close();
      machine.powerFailure();
      survived.add((await machine.attach().list('/')).length === 1);
    }
    assert.equal(survived.size, 2);
  });

  it('after a failed sync a later one answers success and saves nothing', async () => {
    let lostCount = 0;
    for (let seed = 0; seed < 20; seed++) {
      const faults: FaultPlan = {};
      const machine = new SimulatedMachine(new SeededRandom(seed), { faults });
      const fileSystem = machine.attach();
      const file = await fileSystem.open('/a', 'exclusive');
      await fileSystem.syncDirectory('/');
      await file.write(0, 512, Region.from(pattern(512, 1)), 0);
      faults.failAt = machine.operationCount + 1;
      await rejects(file.sync(), 'store-io');
      await file.sync();
      assert.deepEqual(await fileSystem.readFile('/a', 512), pattern(512, 1));
      machine.powerFailure();
      const bytes = await machine.attach().readFile('/a', 512);
      if (Buffer.compare(bytes, pattern(512, 1)) !== 0) lostCount++;
    }
    assert.ok(lostCount > 0);
  });

  it('kills handles, locks and pending answers with the power, handles and locks with the process', async () => {
    const machine = new SimulatedMachine(new SeededRandom(1));
    const [first, second] = [machine.attach(), machine.attach()];
    const file = await first.open('/a', 'exclusive');
    assert.ok(await first.lock('/l'));
    assert.equal(await second.lock('/l'), undefined);
    const pending = file.write(0, 10, new Region(10), 0);
    machine.kill(first);
    await rejects(pending, 'store-closed');
    await rejects(file.sync(), 'store-closed');
    assert.ok(await second.lock('/l'));
    machine.powerFailure();
    await rejects(second.list('/'), 'store-closed');
    assert.ok(await machine.attach().lock('/l'));
  });

  it('has a capacity', async () => {
    const machine = new SimulatedMachine(new SeededRandom(1));
    machine.disk.capacityBytes = 1000;
    const file = await machine.attach().open('/a', 'exclusive');
    await file.write(0, 900, new Region(900), 0);
    await rejects(file.write(900, 200, new Region(200), 0), 'store-full');
    await file.write(100, 800, new Region(800), 0);
  });

  it('gives back an old state of the whole disk, and damages what it is told to', async () => {
    const machine = new SimulatedMachine(new SeededRandom(1));
    const store = await openStore(machine);
    await store.swap(head, null, pattern(100, 1));
    const old = machine.disk.cloneDurable(new SeededRandom(2));
    await store.swap(head, await store.version(head), pattern(100, 2));
    const rolledBack = await openStore(new SimulatedMachine(new SeededRandom(3), { disk: old }));
    assert.deepEqual(await rolledBack.get(head, 100), pattern(100, 1));
    assert.deepEqual(await store.get(head, 100), pattern(100, 2));
    machine.disk.corrupt(`${root}/${head}`, 5, 0x10);
    assert.equal((await store.get(head, 100))[5], pattern(100, 2)[5]! ^ 0x10);
  });
});

describe('dir store under faults', () => {
  it('keeps every acknowledged object when the power fails at any operation', async () => {
    const runs = await sweepPowerFailures((fileSystem) => fileSystem);
    assert.ok(runs.length > 30, `${runs.length} places`);
    assert.deepEqual(
      runs.flatMap((run) => run.complaints),
      [],
    );
  });

  it('canary: a store whose folder syncs do nothing is caught by the same sweep', async () => {
    const runs = await sweepPowerFailures((fileSystem) => overridden(fileSystem, { syncDirectory: async () => {} }));
    assert.ok(runs.some((run) => run.complaints.length > 0));
  });

  it('canary: a store whose file syncs do nothing is caught by the same sweep', async () => {
    const runs = await sweepPowerFailures((fileSystem) =>
      overridden(fileSystem, {
        open: async (path, mode) => {
          const file = await fileSystem.open(path, mode);
          return new Proxy(file, { get: (target, name) => (name === 'sync' ? async () => {} : bound(target, name)) });
        },
      }),
    );
    assert.ok(runs.some((run) => run.complaints.length > 0));
  });

  for (const kind of ['failAt', 'loseAnswerAt'] as const) {
    it(`gives a named error or success, and no half object, when operation N meets ${kind}`, async () => {
      for (let place = 1; ; place++) {
        const faults: FaultPlan = { [kind]: place, failWith: place % 2 ? 'EIO' : 'ENOSPC' };
        const machine = new SimulatedMachine(new SeededRandom(place), { faults });
        const acknowledged = new Acknowledged();
        try {
          await workload(await openStore(machine), acknowledged);
        } catch (error) {
          assert.ok(isCaissonError(error), `place ${place}: ${String(error)}`);
          assert.ok(
            ['store-io', 'store-full', 'object-exists', 'object-changed'].includes(error.code),
            `place ${place}: ${error.code}`,
          );
        }
        const isLast = machine.faultCount === 0;
        faults[kind] = undefined;
        machine.powerFailure();
        assert.deepEqual(acknowledged.complaints(await collected(await openStore(machine))), [], `place ${place}`);
        if (isLast) break;
      }
    });
  }
});

async function sweepPowerFailures(
  wrap: (fileSystem: FileSystem) => FileSystem,
): Promise<{ readonly complaints: string[] }[]> {
  const runs: { complaints: string[] }[] = [];
  for (let place = 1; ; place++) {
    const faults: FaultPlan = { powerFailureAt: place };
    const machine = new SimulatedMachine(new SeededRandom(1000 + place), { faults });
    const acknowledged = new Acknowledged();
    try {
      await workload(await openStore(machine, wrap), acknowledged);
    } catch (error) {
      if (!isCaissonError(error, 'store-closed')) throw error;
    }
    const isLast = machine.faultCount === 0;
    if (isLast) machine.powerFailure();
    faults.powerFailureAt = undefined;
    const found = await openStore(machine)
      .then(collected)
      .catch((error: unknown) => {
        if (!isCaissonError(error, 'store-foreign')) throw error; // only a canary's store can lose its marker
        return new Map<string, Uint8Array>();
      });
    runs.push({ complaints: acknowledged.complaints(found).map((complaint) => `place ${place}: ${complaint}`) });
    if (isLast) return runs;
  }
}

function openStore(
  machine: SimulatedMachine,
  wrap: (fileSystem: FileSystem) => FileSystem = (same) => same,
): Promise<Store> {
  const clock = new VirtualClock({ isBusy: () => machine.isBusy });
  return openDirStore(wrap(machine.attach()), root, { create: true, clock });
}

function overridden(fileSystem: FileSystem, changes: Partial<FileSystem>): FileSystem {
  return new Proxy(fileSystem, {
    get: (target, name) => (changes as Record<PropertyKey, unknown>)[name] ?? bound(target, name),
  });
}

function bound(target: object, name: PropertyKey): unknown {
  const value: unknown = Reflect.get(target, name);
  return typeof value === 'function' ? (value.bind(target) as unknown) : value;
}
