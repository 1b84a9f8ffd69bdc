/** A writer that stalls, is taken over on a directory store whose locks do not work, and goes on: at each kind of step. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LocklessStore, StoreDecorator } from '../../test/sim/lockless-store.ts';
import { createTestVolume } from '../../test/support/test-volume.ts';
import { Region } from '../lib/region.ts';
import type { Store } from '../store/store.ts';
import type { Volume } from './volume-types.ts';
import { openVolume, verifyVolume } from './volume.ts';

const block = 4096;
const steps = ['version', 'create', 'swap'] as const;
type Step = (typeof steps)[number];

/** Holds every call of one kind back from `hold` to `release`, as a stopped process would. */
class StallingStore extends StoreDecorator {
  readonly #step: Step;
  #held: Promise<void> | undefined;
  release: () => void = () => undefined;
  /** Resolves when a call is being held back. */
  reached: Promise<void> = Promise.resolve();
  #noteReached: () => void = () => undefined;

  constructor(inner: Store, step: Step) {
    super(inner);
    this.#step = step;
  }

  hold(): void {
    const gate = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    [this.#held, this.release] = [gate.promise, gate.resolve];
    [this.reached, this.#noteReached] = [reached.promise, reached.resolve];
  }

  override async version(key: string): Promise<string> {
    await this.#pass('version');
    return super.version(key);
  }

  override async create(key: string, bytes: Uint8Array): Promise<void> {
    await this.#pass('create');
    return super.create(key, bytes);
  }

  override async swap(key: string, expectedVersion: string | null, bytes: Uint8Array): Promise<string> {
    await this.#pass('swap');
    return super.swap(key, expectedVersion, bytes);
  }

  /** For the other writer. */
  get untouched(): Store {
    return this.inner;
  }

  async #pass(step: Step): Promise<void> {
    if (step !== this.#step || this.#held === undefined) return;
    this.#noteReached();
    await this.#held;
  }
}

async function write(volume: Volume, at: number, value: number): Promise<void> {
  await volume.write(at * block, block, Region.from(new Uint8Array(block).fill(value)), 0, false);
}

async function valueAt(volume: Volume, at: number): Promise<number> {
  const target = new Region(block);
  await volume.read(at * block, block, target, 0);
  return target.bytes[at % block]!;
}

for (const step of steps) {
  test(`a writer that stalls at "${step}" and is taken over is refused, and damages nothing`, async () => {
    let stalling: StallingStore | undefined;
    const subject = await createTestVolume({
      store: 'dir',
      tuning: { segmentBytesMax: 64 * 1024, cleaningSlackBytes: 0 },
      wrapStore: (inner) => (stalling = new StallingStore(inner, step)),
    });
    const { volume: first, environment, volumeId, keySource } = subject;
    for (let at = 0; at < 40; at++) await write(first, at, 1);
    await first.flush();
    stalling!.hold();
    for (let at = 30; at < 60; at++) await write(first, at, 2);
    // A checkpoint for what only a checkpoint calls.
    const pending = step === 'version' ? first.flush() : first.checkpoint();
    const outcome = pending.then(
      () => 'done',
      (error: unknown) => error,
    );
    await stalling!.reached;

    const lockless = { ...environment, store: new LocklessStore(stalling!.untouched) };
    const second = await openVolume(lockless, { volumeId, keySource });
    for (let at = 0; at < 30; at++) assert.equal(await valueAt(second, at), 1, 'what was flushed is there');
    for (let at = 0; at < 20; at++) await write(second, at, 3);
    await second.checkpoint();
    await second.clean({ all: true });
    await second.flush();

    stalling!.release();
    const reason = (await outcome) as { readonly code: string; readonly message: string };
    assert.equal(reason.code, 'volume-fenced');
    assert.match(reason.message, /another writer has taken the volume over/);
    await assert.rejects(first.flush(), { code: 'volume-fenced' });
    assert.throws(() => first.write(0, block, new Region(block), 0, false), { code: 'volume-fenced' });
    await first.close();

    for (let at = 0; at < 20; at++) assert.equal(await valueAt(second, at), 3);
    for (let at = 20; at < 30; at++) assert.equal(await valueAt(second, at), 1);
    for (let at = 30; at < 60; at++) assert.ok([at < 40 ? 1 : 0, 2].includes(await valueAt(second, at)));
    await second.close();
    const { findings } = await verifyVolume(lockless, { volumeId, keySource });
    assert.deepEqual(findings, []);
    await subject.dispose();
  });
}

test('what a writer that lost the volume still writes states nothing as durable that its successor does not have', async () => {
  let stalling: StallingStore | undefined;
  const subject = await createTestVolume({
    store: 'dir',
    tuning: { segmentBytesMax: 64 * 1024 },
    wrapStore: (inner) => (stalling = new StallingStore(inner, 'version')),
  });
  const { volume: first, environment, volumeId, keySource } = subject;
  await write(first, 0, 1);
  await first.flush();
  const lockless = { ...environment, store: new LocklessStore(stalling!.untouched) };
  const second = await openVolume(lockless, { volumeId, keySource });

  // It syncs this, and stands still before it learns who has the volume.
  stalling!.hold();
  await write(first, 0, 2);
  const outcome = first.flush().then(
    () => 'done',
    (error: unknown) => (error as { readonly code: string }).code,
  );
  await stalling!.reached;
  for (let at = 0; at < 60; at++) await write(first, at, 3);
  stalling!.release();
  assert.equal(await outcome, 'volume-fenced');

  // As after a crash of the second, which wrote nothing: the records of the first are all that is in the spool.
  const third = await openVolume(lockless, { volumeId, keySource });
  assert.equal(await valueAt(third, 0), 1);
  await third.close();
  for (const fenced of [first, second]) await fenced.close().catch(() => undefined);
  await subject.dispose();
});
