/** The block store on a disk that fails: no acknowledged object is lost, no crash shows bytes that nobody wrote. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isCaissonError } from '../../src/lib/errors.ts';
import { Region } from '../../src/lib/region.ts';
import { openBlockStore } from '../../src/store/block/block-store.ts';
import type { FileHandle, FileSystem } from '../../src/store/file-system.ts';
import * as paths from '../../src/store/paths.ts';
import type { Store } from '../../src/store/store.ts';
import { pattern } from '../conformance/store.ts';
import { VirtualClock } from './clock.ts';
import { SeededRandom } from './random.ts';
import { placeDevice, smallGeometry } from './simulated-device.ts';
import { SimulatedMachine } from './simulated-file-system.ts';
import type { FaultPlan } from './simulated-file-system.ts';
import { Acknowledged, collected, workload } from './store-workload.ts';

const prefix = paths.volumePrefix(new Uint8Array(16).fill(1));
const deviceBytes = 1024 * 1024;

describe('block store under faults', () => {
  it('keeps every acknowledged object when the power fails at any operation', async () => {
    const runs = await sweepPowerFailures();
    assert.ok(runs.length > 30, `${runs.length} places`);
    assert.deepEqual(runs.flat(), []);
  });

  it('canary: a device whose syncs do nothing is caught by the same sweep', async () => {
    const runs = await sweepPowerFailures((fileSystem) => changed(fileSystem, { sync: async () => {} }));
    assert.ok(runs.some((complaints) => complaints.length > 0));
  });

  for (const kind of ['failAt', 'loseAnswerAt'] as const) {
    it(`gives a named error or success, and no half object, when operation N meets ${kind}`, async () => {
      for (let place = 1; ; place++) {
        const faults: FaultPlan = { [kind]: place, failWith: place % 2 ? 'EIO' : 'ENOSPC' };
        const machine = newMachine(place, faults);
        const acknowledged = new Acknowledged();
        try {
          await workload(await openStore(machine), acknowledged);
        } catch (error) {
          assert.ok(isCaissonError(error), `place ${place}: ${String(error)}`);
          assert.ok(['store-io', 'store-full'].includes(error.code), `place ${place}: ${error.code}`);
        }
        const isLast = machine.faultCount === 0;
        faults[kind] = undefined;
        // A process that follows on the same machine believes the page cache; the power fails under it.
        if (place % 3 === 0) await workloadAfter(machine, acknowledged);
        machine.powerFailure();
        assert.deepEqual(acknowledged.complaints(await collected(await openStore(machine))), [], `place ${place}`);
        if (isLast) break;
      }
    });
  }

  it('after a failed sync nothing more is acknowledged, and reads go on', async () => {
    const faults: FaultPlan = {};
    const machine = newMachine(1, faults);
    const store = await openStore(machine);
    await store.swap(key('head'), null, pattern(10, 1));
    faults.failAt = machine.operationCount + 2; // the journal is written, its sync fails
    await assert.rejects(store.swap(key('head'), await store.version(key('head')), pattern(10, 2)));
    await assert.rejects(store.create(key('other'), pattern(10, 3)), (error) => isCaissonError(error, 'store-io'));
    assert.deepEqual(await store.get(key('head'), 100), pattern(10, 1));
    await store.close();
    const again = await openStore(machine);
    assert.equal((await again.get(key('head'), 100)).length, 10);
    await again.create(key('other'), pattern(10, 3));
    await again.close();
  });

  it('shows no bytes of others at the end of a spool file, whatever a power failure leaves', async () => {
    let shorter = 0;
    for (let seed = 0; seed < 120; seed++) {
      const machine = newMachine(seed);
      const store = await openStore(machine, (fileSystem) => changed(fileSystem, { discard: async () => false }));
      await soil(store);
      const file = await (await store.spool(prefix)).create('aa');
      const source = Region.from(new Uint8Array(30_000).fill(0x11));
      await file.write(0, source, 0, 10_000);
      await file.sync();
      await file.write(10_000, source, 10_000, 10_000);
      const syncing = file.sync().catch(() => undefined);
      const writing = file.write(20_000, source, 20_000, 10_000).catch(() => undefined);
      for (let turn = seed % 12; turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve));
      machine.powerFailure();
      await Promise.all([syncing, writing]);
      const again = await openStore(machine);
      const reader = await (await again.spool(prefix)).open('aa');
      assert.ok(reader.size >= 10_000, `seed ${seed}: what was synced is there`);
      if (reader.size < 30_000) shorter++;
      const found = new Region(reader.size);
      await reader.read(0, reader.size, found, 0);
      assert.ok(!found.bytes.includes(0xee), `seed ${seed}: stale bytes show`);
      await reader.close();
      await again.close();
    }
    assert.ok(shorter > 0, 'some runs lose what was not synced');
  });
});

/** Fills all units once with bytes that nobody may see again. */
async function soil(store: Store): Promise<void> {
  for (let number = 0; number < 3; number++)
    await store.create(key(`soil${number}`), new Uint8Array(150_000).fill(0xee));
  for (let number = 0; number < 3; number++) await store.remove(key(`soil${number}`));
}

function key(name: string): string {
  return `${prefix}${name}`;
}

/** Another process opens what a failed one left, changes something and is cut off by the power in turn. */
async function workloadAfter(machine: SimulatedMachine, acknowledged: Acknowledged): Promise<void> {
  for (const process of [...machine.processes]) machine.kill(process);
  const store = await openStore(machine);
  const later = `${paths.volumePrefix(new Uint8Array(16).fill(9))}later`;
  await acknowledged.put(later, pattern(100, 9), () => store.create(later, pattern(100, 9)));
}

async function sweepPowerFailures(
  wrap: (fileSystem: FileSystem) => FileSystem = (same) => same,
): Promise<readonly string[][]> {
  const runs: string[][] = [];
  for (let place = 1; ; place++) {
    const faults: FaultPlan = { powerFailureAt: place };
    const machine = newMachine(1000 + place, faults);
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
        // Only a canary's device can lose so much.
        if (!isCaissonError(error, 'format-invalid') && !isCaissonError(error, 'device-not-blank')) throw error;
        return new Map<string, Uint8Array>([['unreadable', new Uint8Array(0)]]);
      });
    runs.push(acknowledged.complaints(found).map((complaint) => `place ${place}: ${complaint}`));
    if (isLast) return runs;
  }
}

function newMachine(seed: number, faults: FaultPlan = {}): SimulatedMachine {
  const machine = new SimulatedMachine(new SeededRandom(seed), { faults });
  placeDevice(machine.disk, 'device', deviceBytes);
  return machine;
}

function openStore(
  machine: SimulatedMachine,
  wrap: (fileSystem: FileSystem) => FileSystem = (same) => same,
): Promise<Store> {
  const clock = new VirtualClock({ isBusy: () => machine.isBusy });
  const options = { create: true, clock, random: new SeededRandom(7), geometry: smallGeometry };
  return openBlockStore(wrap(machine.attach()), '/device', options);
}

/** Files with other methods. */
function changed(fileSystem: FileSystem, methods: Partial<FileHandle>): FileSystem {
  return new Proxy(fileSystem, {
    get: (target, name) =>
      name !== 'open'
        ? bound(target, name)
        : async (...parameters: Parameters<FileSystem['open']>) => {
            const file = await target.open(...parameters);
            const get = (inner: FileHandle, asked: PropertyKey): unknown =>
              (methods as Record<PropertyKey, unknown>)[asked] ?? bound(inner, asked);
            return new Proxy(file, { get });
          },
  });
}

function bound(target: object, name: PropertyKey): unknown {
  const value: unknown = Reflect.get(target, name);
  return typeof value === 'function' ? (value.bind(target) as unknown) : value;
}
