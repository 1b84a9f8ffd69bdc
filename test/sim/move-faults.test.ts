/**
 * A move with a writer beside it, cut at every operation of the disk in turn: whichever store the anchor lets open has
 * every acknowledged write, and opening it shuts the other.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CaissonError } from '../../src/lib/errors.ts';
import { Region } from '../../src/lib/region.ts';
import { verifyVolume } from '../../src/volume/volume.ts';
import type { Volume } from '../../src/volume/volume-types.ts';
import { SeededRandom } from './random.ts';
import type { FaultPlan } from './simulated-file-system.ts';
import { SimulatedWorld, type SimulatedProcess, type WorldPlan } from './simulated-world.ts';
import { nextTurn } from './simulation-clock.ts';

const block = 4096;
const plan: WorldPlan = {
  size: 4 * 2 ** 20,
  protection: 'sealed',
  durability: 'local',
  store: 'dir',
  tuning: { segmentBytesMax: 128 * 1024, anchorMilliseconds: 20, cleaningBytesPerSecond: 0 },
};
const folders = ['/store', '/other'] as const;
/** The simulator's seeds take the others. */
const sweepSteps = 11;

/** By block: what the last FLUSH that was answered covers, and what may be there besides. */
class Written {
  readonly durable = new Map<number, number>();
  readonly possible = new Map<number, Set<number>>();
  #sinceFlush = new Map<number, number>();

  note(at: number, value: number): void {
    this.#sinceFlush.set(at, value);
    const values = this.possible.get(at) ?? new Set();
    this.possible.set(at, values.add(value));
  }

  /** To be called when a FLUSH is asked for; what it returns when that is answered. */
  flushing(): () => void {
    const covered = this.#sinceFlush;
    this.#sinceFlush = new Map();
    return () => {
      for (const [at, value] of covered) {
        this.durable.set(at, value);
        this.possible.set(at, new Set([value]));
      }
    };
  }
}

const sweeps: readonly (readonly [string, (at: number) => FaultPlan, 'power' | 'kill'])[] = [
  ['is cut by a power failure', (at) => ({ powerFailureAt: at }), 'power'],
  ['fails with EIO, and the process is killed', (at) => ({ failAt: at, failWith: 'EIO' }), 'kill'],
  ['takes effect and its answer is lost, and the process is killed', (at) => ({ loseAnswerAt: at }), 'kill'],
];

for (const [what, planOf, end] of sweeps) {
  test(`every operation of a move in turn ${what}`, async () => {
    let at = 0;
    let movedCount = 0;
    for (let isFaulty = true; isFaulty;) {
      at += sweepSteps;
      const outcome = await cutMove(at, planOf, end);
      isFaulty = outcome.isFaulty;
      if (outcome.isInTarget) movedCount++;
    }
    assert.ok(at > 100 && movedCount > 1, `${at} operations, after ${movedCount} of them it was in the target`);
  });
}

async function cutMove(
  at: number,
  planOf: (at: number) => FaultPlan,
  end: 'power' | 'kill',
): Promise<{ readonly isFaulty: boolean; readonly isInTarget: boolean }> {
  const world = new SimulatedWorld(new SeededRandom(21), plan);
  await world.create();
  const process = await world.settle(world.start(), 'start');
  const volume = await world.open(process);
  const written = new Written();
  for (let index = 0; index < 60; index++) await write(volume, written, index, 1);
  await flush(world, volume, written);
  const { store } = await world.settle(world.openTarget(process), 'open of the target');
  const faultsBefore = world.machine.faultCount;
  Object.assign(world.faults, planOf(world.machine.operationCount + at));
  await moveBeside(world, volume, store, written);
  const isFaulty = world.machine.faultCount > faultsBefore;
  world.heal();
  if (end === 'power') world.machine.powerFailure();
  else world.machine.kill(process.fileSystem);
  await world.rest();
  // Either store may be tried first.
  const order = at % (2 * sweepSteps) === 0 ? folders : folders.toReversed();
  const isInTarget = (await openOne(world, order, written)) === '/other';
  return { isFaulty, isInTarget };
}

/** Writes and flushes until the move has ended; failures are what the fault makes of both. */
async function moveBeside(
  world: SimulatedWorld,
  volume: Volume,
  store: Parameters<Volume['move']>[0],
  written: Written,
): Promise<void> {
  let isOver = false;
  const moving = volume.move(store, { keepSource: false }).then(
    () => (isOver = true),
    (error: unknown) => {
      isOver = true;
      expected(error);
    },
  );
  try {
    for (let turn = 0; !isOver && turn < 200; turn++) {
      await write(volume, written, turn % 80, 2 + (turn % 250));
      if (turn % 5 === 0) await flush(world, volume, written);
      await nextTurn();
    }
  } catch (error) {
    expected(error);
  }
  // A power failure leaves calls without an answer.
  await world.settle(moving, 'move').catch((error: unknown) => assert.match(String(error), /never answered/));
}

/** Opens the first of the stores that lets itself be opened, judges it, and finds the other one shut. */
async function openOne(world: SimulatedWorld, order: readonly string[], written: Written): Promise<string> {
  const refusals: string[] = [];
  for (const [index, folder] of order.entries()) {
    const { process, outcome } = await tryOpen(world, folder);
    if (outcome instanceof CaissonError) {
      refusals.push(`${folder}: ${outcome.code}`);
      continue;
    }
    await judge(world, outcome, written);
    const other = index === 0 ? order[1]! : order[0]!;
    const shut = await tryOpen(world, other);
    assert.ok(shut.outcome instanceof CaissonError, `${folder} and then ${other} could be opened`);
    world.machine.kill(shut.process.fileSystem);
    // What was begun ends well from here.
    if (folder === '/store') {
      world.folder = folder;
      const target = await world.settle(world.openTarget(process), 'open of the target');
      await world.settle(outcome.move(target.store), 'second move');
      await judge(world, outcome, written);
      process.environment = { ...process.environment, store: target.store };
    }
    await world.settle(outcome.close(), 'close');
    const report = await world.settle(verifyVolume(process.environment, { volumeId: world.volumeId }), 'verify');
    assert.deepEqual([report.findings, report.freshness], [[], 'current']);
    return folder;
  }
  throw new Error(`no store can be opened: ${refusals.join(', ')}`);
}

async function tryOpen(
  world: SimulatedWorld,
  folder: string,
): Promise<{ readonly process: SimulatedProcess; readonly outcome: Volume | CaissonError }> {
  world.folder = folder;
  const process = await world.settle(world.start(), 'start');
  try {
    return { process, outcome: await world.open(process) };
  } catch (error) {
    if (!(error instanceof CaissonError)) throw error;
    assert.ok(['rolled-back', 'forked', 'volume-moved', 'volume-missing'].includes(error.code), String(error));
    return { process, outcome: error };
  }
}

async function judge(world: SimulatedWorld, volume: Volume, written: Written): Promise<void> {
  const target = new Region(block);
  for (const [at, values] of written.possible) {
    await world.settle(Promise.resolve(volume.read(at * block, block, target, 0)), 'read');
    const [first, last] = [target.bytes[0]!, target.bytes[block - 1]!];
    const isDurable = written.durable.has(at);
    assert.ok(first === last && (values.has(first) || (!isDurable && first === 0)), `block ${at} holds ${first}`);
  }
}

async function write(volume: Volume, written: Written, at: number, value: number): Promise<void> {
  written.note(at, value);
  await volume.write(at * block, block, Region.from(new Uint8Array(block).fill(value)), 0, false);
}

async function flush(world: SimulatedWorld, volume: Volume, written: Written): Promise<void> {
  const answered = written.flushing();
  await world.settle(volume.flush(), 'flush');
  answered();
}

function expected(error: unknown): void {
  const isNamed = error instanceof CaissonError && ['io', 'closed', 'transient', 'fenced'].includes(error.kind);
  if (!isNamed && !/never answered/.test(String(error))) throw error;
}
