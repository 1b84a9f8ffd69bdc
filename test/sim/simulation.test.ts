/** The simulator's own proof: it repeats itself, it catches an engine or a disk that cheats, and no single I/O failure breaks the volume. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SpoolArea, SpoolFile } from '../../src/store/store.ts';
import { StoreDecorator } from './lockless-store.ts';
import type { FaultPlan } from './simulated-file-system.ts';
import { runSimulation, simulate } from './simulation.ts';

const sweepSteps = 3;

test('one seed is one run', async () => {
  for (const seed of [3, 4, 5]) assert.deepEqual(await simulate(seed), await simulate(seed));
  assert.notEqual((await simulate(3)).digest, (await simulate(4)).digest);
});

test('a canary is caught: a store whose spool is never synced', async () => {
  await assert.rejects(() => anySeed((store) => new SyncNothing(store)), /replay: npm run sim -- --seed \d+/);
});

test('a canary is caught: a store that swaps the head whatever its version is', async () => {
  await assert.rejects(() => anySeed((store) => new SwapAlways(store)), /seed \d+, step \d+/);
});

const sweeps: readonly (readonly [string, (at: number) => FaultPlan])[] = [
  ['fails with EIO', (at) => ({ failAt: at, failWith: 'EIO' })],
  ['and all changes after it fail with ENOSPC', (at) => ({ failAt: at, failWith: 'ENOSPC', keepsFailing: true })],
  ['takes effect and its answer is lost', (at) => ({ loseAnswerAt: at })],
  ['is cut by a power failure', (at) => ({ powerFailureAt: at })],
];

for (const [what, planOf] of sweeps) {
  for (const seed of [11, 12]) {
    test(`every operation of seed ${seed} in turn ${what}`, async () => {
      let at = 0;
      // Every third: the runs of the other seed and of the simulator's long tier take the others.
      for (let isFaulty = true; isFaulty;) {
        at += sweepSteps;
        isFaulty = (await runSimulation(seed, { fault: (created) => planOf(created + at) })).faultCount > 0;
      }
      assert.ok(at > 100, `only ${at} operations were reached`);
    });
  }
}

async function anySeed(
  wrapStore: (store: ConstructorParameters<typeof StoreDecorator>[0]) => StoreDecorator,
): Promise<void> {
  for (let seed = 1; seed <= 60; seed++) await runSimulation(seed, { wrapStore });
}

class SwapAlways extends StoreDecorator {
  override async swap(key: string, _expected: string | null, bytes: Uint8Array): Promise<string> {
    const version = await this.inner.version(key).catch(() => null);
    return this.inner.swap(key, version, bytes);
  }

  override async version(): Promise<string> {
    return 'always the same';
  }
}

class SyncNothing extends StoreDecorator {
  override async spool(volumePrefix: string): Promise<SpoolArea> {
    const area = await this.inner.spool(volumePrefix);
    const create = async (name: string): Promise<SpoolFile> =>
      withMethod(await area.create(name), 'sync', async () => undefined);
    return withMethod(area, 'create', create);
  }
}

/** `inner` with one method of another making. */
function withMethod<T extends object, Name extends keyof T>(inner: T, name: Name, method: T[Name]): T {
  return new Proxy(inner, {
    get(target, asked) {
      if (asked === name) return method;
      const found: unknown = Reflect.get(target, asked, target);
      return typeof found === 'function' ? (found.bind(target) as unknown) : found;
    },
  });
}
