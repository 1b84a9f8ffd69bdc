/** The TPM anchor on the simulated disk beside a register that fails before or after it wrote: what it acknowledged survives every cut. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { openTpmAnchor } from '../../src/anchor/tpm-anchor.ts';
import type { Anchor } from '../../src/anchor/anchor.ts';
import type { FreshnessRegister, RegisterContent } from '../../src/anchor/tpm-register.ts';
import { CaissonError, isCaissonError } from '../../src/lib/errors.ts';
import { toHex } from '../../src/lib/hex.ts';
import { anchorConformance, stateAt, volumeId } from '../conformance/anchor.ts';
import { VirtualClock } from './clock.ts';
import { SeededRandom } from './random.ts';
import { SimulatedMachine } from './simulated-file-system.ts';
import type { FaultPlan } from './simulated-file-system.ts';

type RegisterFault = 'before' | 'after';

/** Memory of a TPM: survives everything. `cut` is also the moment at which the machine loses power. */
class MemoryRegister implements FreshnessRegister {
  readonly name = 'the register of this test';
  readonly #contents = new Map<string, RegisterContent>();
  fault: { readonly kind: RegisterFault; countdown: number; readonly cut: () => void } | undefined;
  faultCount = 0;

  read = async (id: Uint8Array): Promise<RegisterContent | undefined> => this.#contents.get(toHex(id));

  write = (id: Uint8Array, content: RegisterContent): Promise<void> =>
    this.#change(() => void this.#contents.set(toHex(id), content));

  remove = (id: Uint8Array): Promise<void> => this.#change(() => void this.#contents.delete(toHex(id)));

  async #change(apply: () => void): Promise<void> {
    const isDue = this.fault !== undefined && this.fault.countdown-- === 1;
    if (!isDue || this.fault?.kind === 'after') apply();
    if (!isDue) return;
    this.faultCount++;
    this.fault?.cut();
    throw new CaissonError('transient', 'timeout', 'the register did not answer');
  }
}

for (const seed of [1, 2]) {
  anchorConformance(`TPM on the simulated file system, seed ${seed}`, async () => {
    const machine = new SimulatedMachine(new SeededRandom(seed));
    const register = new MemoryRegister();
    return { open: () => openAnchor(machine, register), dispose: async () => {} };
  });
}

describe('TPM anchor under faults', () => {
  for (const kind of ['powerFailureAt', 'failAt', 'loseAnswerAt'] as const) {
    it(`keeps what it acknowledged with ${kind} at any operation of the disk`, async () => {
      const complaints: string[] = [];
      for (let place = 1; ; place++) {
        const faults: FaultPlan = { [kind]: place, failWith: place % 2 ? 'EIO' : 'ENOSPC' };
        const machine = new SimulatedMachine(new SeededRandom(place), { faults });
        const register = new MemoryRegister();
        const acknowledged = await work(machine, register);
        const isLast = machine.faultCount === 0;
        faults[kind] = undefined;
        complaints.push(...(await judge(machine, register, acknowledged, `place ${place}`)));
        if (isLast) break;
      }
      assert.deepEqual(complaints, []);
    });
  }

  for (const kind of ['before', 'after'] as const) {
    for (const losesPower of [false, true]) {
      it(`keeps it when the register fails ${kind} it changed${losesPower ? ', and power with it' : ''}`, async () => {
        const complaints: string[] = [];
        for (let countdown = 1; ; countdown++) {
          const machine = new SimulatedMachine(new SeededRandom(countdown));
          const register = new MemoryRegister();
          const cut = (): void => void (losesPower && machine.powerFailure());
          register.fault = { kind, countdown, cut };
          const acknowledged = await work(machine, register);
          const isLast = register.faultCount === 0;
          register.fault = undefined;
          complaints.push(...(await judge(machine, register, acknowledged, `change ${countdown}`)));
          if (isLast) break;
        }
        assert.deepEqual(complaints, []);
      });
    }
  }

  it('forgets whole or not at all, wherever it is cut', async () => {
    for (let place = 1; ; place++) {
      const faults: FaultPlan = {};
      const machine = new SimulatedMachine(new SeededRandom(place), { faults });
      const register = new MemoryRegister();
      const anchor = await openAnchor(machine, register);
      await anchor.advance(stateAt(1, 1, 1));
      faults.powerFailureAt = machine.operationCount + place;
      const isCut = await anchor.forget(volumeId).then(
        () => false,
        () => true,
      );
      faults.powerFailureAt = undefined;
      machine.powerFailure();
      const next = await openAnchor(machine, register);
      const found = await next.read(volumeId);
      if (found !== undefined) assert.deepEqual([found, isCut], [stateAt(1, 1, 1), true]);
      await next.forget(volumeId);
      await next.advance(stateAt(0, 0, 0));
      assert.deepEqual(await next.read(volumeId), stateAt(0, 0, 0), `place ${place}`);
      if (!isCut) return;
    }
  });

  it('begins anew after a forgetting that was cut, wherever that and the new beginning are cut', async () => {
    for (let first = 1; first < 12; first++) {
      for (let second = 1; second < 24; second++) {
        const faults: FaultPlan = {};
        const machine = new SimulatedMachine(new SeededRandom(first * 100 + second), { faults });
        const register = new MemoryRegister();
        const anchor = await openAnchor(machine, register);
        await anchor.advance(stateAt(1, 1, 1));
        faults.powerFailureAt = machine.operationCount + first;
        await anchor.forget(volumeId).catch(() => undefined);
        machine.powerFailure();
        faults.powerFailureAt = machine.operationCount + second;
        const isHeld = (await register.read(volumeId))?.counter === 1;
        const state = isHeld ? stateAt(1, 1, 2) : stateAt(0, 0, 1);
        await openAnchor(machine, register)
          .then((next) => next.advance(state))
          .catch(() => undefined);
        faults.powerFailureAt = undefined;
        machine.powerFailure();
        const last = await openAnchor(machine, register);
        const where = `cuts ${first} and ${second}`;
        await last.advance(state);
        assert.deepEqual(await last.read(volumeId), state, where);
      }
    }
  });

  it('canary: a file that is not synced before the register is written is noticed', async () => {
    const complaints: string[] = [];
    for (let place = 1; place < 60; place++) {
      const faults: FaultPlan = { powerFailureAt: place };
      const machine = new SimulatedMachine(new SeededRandom(place), { faults });
      const register = new MemoryRegister();
      const acknowledged = await work(machine, register, true);
      faults.powerFailureAt = undefined;
      complaints.push(...(await judge(machine, register, acknowledged, `place ${place}`)));
    }
    assert.notDeepEqual(complaints, []);
  });
});

/** Advances as the engine does: the same state again after a failure. Gives the last that was acknowledged. */
async function work(machine: SimulatedMachine, register: FreshnessRegister, withoutSync = false): Promise<number> {
  let acknowledged = 0;
  try {
    const anchor = await openAnchor(machine, register, withoutSync);
    for (let sequence = 1; sequence <= 6; sequence++) {
      const state = stateAt(1, 1, sequence);
      await anchor.advance(state).catch((error: unknown) => {
        if (isCaissonError(error, 'store-closed')) throw error;
        return anchor.advance(state);
      });
      acknowledged = sequence;
    }
  } catch (error) {
    assert.ok(isCaissonError(error), String(error));
  }
  return acknowledged;
}

async function judge(
  machine: SimulatedMachine,
  register: FreshnessRegister,
  acknowledged: number,
  where: string,
): Promise<string[]> {
  machine.powerFailure();
  try {
    const anchor = await openAnchor(machine, register);
    const found = await anchor.read(volumeId);
    const sequence = found?.sequence ?? 0;
    if (found !== undefined) assert.deepEqual(found, stateAt(1, 1, sequence));
    if (sequence < acknowledged) return [`${where}: ${acknowledged} was acknowledged, ${sequence} is held`];
    await anchor.advance(stateAt(1, 1, 99));
    assert.deepEqual(await anchor.read(volumeId), stateAt(1, 1, 99));
    return [];
  } catch (error) {
    if (!isCaissonError(error, 'anchor-tampered')) throw error;
    return [`${where}: ${error.message}`];
  }
}

function openAnchor(machine: SimulatedMachine, register: FreshnessRegister, withoutSync = false): Promise<Anchor> {
  const inner = machine.attach();
  const fileSystem = withoutSync ? unsynced(inner) : inner;
  const clock = new VirtualClock({ isBusy: () => machine.isBusy });
  return openTpmAnchor({ fileSystem, folder: '/state', register, clock, intervalMilliseconds: 0 });
}

function unsynced<Target extends ReturnType<SimulatedMachine['attach']>>(fileSystem: Target): Target {
  return new Proxy(fileSystem, {
    get: (target, name) =>
      name !== 'open'
        ? bound(target, name)
        : async (path: string, mode: 'exclusive' | 'read' | 'update') => {
            const file = await target.open(path, mode);
            return new Proxy(file, { get: (held, key) => (key === 'sync' ? async () => {} : bound(held, key)) });
          },
  });
}

function bound(target: object, name: PropertyKey): unknown {
  const value: unknown = Reflect.get(target, name);
  return typeof value === 'function' ? (value.bind(target) as unknown) : value;
}
