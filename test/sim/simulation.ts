/**
 * The simulator of the volume engine: one seed is one run. A volume on a simulated disk is written, read,
 * crashed, fenced and rolled back; a reference model judges every answer (fault-model.md says what the
 * disk may do, reference-model.ts what a crash may leave).
 *
 *   npm run sim -- --seeds 300        npm run sim -- --seed 4711
 */
import { createHash } from 'node:crypto';
import type { KeySource } from '../../src/keys/key-source.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { Region } from '../../src/lib/region.ts';
import { verifyVolume } from '../../src/volume/volume.ts';
import type { Volume } from '../../src/volume/volume-types.ts';
import { Branches, holds } from './branches.ts';
import { LocklessStore } from './lockless-store.ts';
import { SeededRandom } from './random.ts';
import { modelBlockBytes, ReferenceModel } from './reference-model.ts';
import type { SimulatedDisk } from './simulated-disk.ts';
import type { FaultPlan } from './simulated-file-system.ts';
import { SimulatedWorld, type SimulatedProcess, type StoreWrapper, type WorldPlan } from './simulated-world.ts';
import { nextTurn } from './simulation-clock.ts';
import { checkExtents } from './workload-content.ts';
import { Workload } from './workload.ts';

export interface SimulationResult {
  readonly digest: string;
  readonly steps: number;
}

export interface SimulationOptions {
  /** Puts something between the engine and its store: for canaries. */
  readonly wrapStore?: StoreWrapper;
  /** The only fault there is, from the number of operations that creating the volume took; without it the seed chooses. */
  readonly fault?: (operationCount: number) => FaultPlan;
}

const block = modelBlockBytes;
const openAttemptsMax = 8;

export function simulate(seed: number): Promise<SimulationResult> {
  return runSimulation(seed);
}

export async function runSimulation(
  seed: number,
  options: SimulationOptions = {},
): Promise<SimulationResult & { readonly faultCount: number }> {
  const simulation = new Simulation(new SeededRandom(seed), options);
  try {
    await simulation.run();
  } catch (error) {
    const at = `seed ${seed}, step ${simulation.steps}, operation ${simulation.world.machine.operationCount}`;
    throw new Error(`${at}: ${describe(error)}\nreplay: npm run sim -- --seed ${seed}`, { cause: error });
  }
  const { machine } = simulation.world;
  return { digest: machine.digest(), steps: simulation.steps, faultCount: machine.faultCount };
}

interface Opened {
  readonly process: SimulatedProcess;
  readonly volume: Volume;
}

/** A whole disk of the past, and what the volume held then. */
interface OldCopy {
  readonly disk: SimulatedDisk;
  readonly model: ReferenceModel;
  readonly anchoredCount: number;
  readonly anchor: string;
  readonly keySources: readonly KeySource[];
  readonly folder: string;
}

class Simulation {
  readonly world: SimulatedWorld;
  readonly #random: SeededRandom;
  readonly #options: SimulationOptions;
  readonly #model: ReferenceModel;
  readonly #spots: readonly number[];
  readonly #branches: Branches;
  #old: OldCopy | undefined;
  #anchoredCount = 0;
  #isClean = false;
  steps = 0;

  constructor(random: SeededRandom, options: SimulationOptions) {
    this.#random = random;
    this.#options = options;
    const plan = choosePlan(random);
    this.world = new SimulatedWorld(random.fork(), plan, options.wrapStore);
    this.#model = new ReferenceModel(plan.size);
    this.#spots = chooseSpots(random, plan.size / block);
    this.#branches = new Branches(this.world);
  }

  async run(): Promise<void> {
    this.world.faults.readNowMissOneIn = this.#random.pick([0, 2, 4, 10]);
    await this.world.create();
    const { fault } = this.#options;
    if (fault !== undefined) Object.assign(this.world.faults, fault(this.world.machine.operationCount));
    const rounds = fault === undefined ? this.#random.between(2, 4) : 2;
    for (let round = 0; round < rounds; round++) await this.#round();
    this.world.heal();
    const { volume, process } = await this.#open();
    await checkExtents(this.world, volume, this.#model);
    if (this.#random.oneIn(2)) await this.#cleanAtLast(volume);
    await this.world.settle(volume.close(), 'close');
    await process.environment.store.close();
    await this.#verify();
    await this.#checkBranches();
    if (this.#old !== undefined) await this.#judgeRollback(this.#old);
  }

  async #round(): Promise<void> {
    const { world } = this;
    const random = this.#random;
    const isSweep = this.#options.fault !== undefined;
    if (!isSweep) this.#arm();
    const faultsBefore = world.machine.faultCount;
    const { process, volume } = await this.#open();
    const workload = this.#workload(process, volume);
    workload.mayFail = isSweep || isArmed(world.faults);
    await workload.run(isSweep ? 14 : random.between(5, 50));
    if (!isSweep && random.oneIn(6)) await workload.drain();
    if (
      !isSweep &&
      workload.isIdle &&
      world.plan.store !== 'block' && // its processes share no device
      !workload.hasFailed &&
      world.machine.faultCount === faultsBefore &&
      random.oneIn(2)
    ) {
      await this.#takeOver(workload, process);
      return;
    }
    if (!isSweep && !workload.hasFailed && this.#old === undefined && random.oneIn(4))
      await this.#keepOldCopy(workload, process);
    if (!workload.hasFailed && !workload.isTakenOver && this.#branches.snapshotCount > 0 && random.oneIn(4)) {
      const isRestored = await workload.restore();
      this.#finish(workload, process, !isRestored && random.oneIn(2));
      return;
    }
    const end =
      workload.hasFailed || world.machine.faultCount > faultsBefore
        ? random.pick(['power', 'kill', 'close'])
        : random.pick(['power', 'kill', 'close', 'close']);
    if (end === 'close') await workload.close();
    this.#finish(workload, process, end === 'power');
  }

  #workload(process: SimulatedProcess, volume: Volume): Workload {
    return new Workload({
      world: this.world,
      process,
      volume,
      model: this.#model,
      spots: this.#spots,
      branches: this.#branches,
      depth: this.#random.pick([1, 1, 2, 4, 8]),
    });
  }

  #finish(workload: Workload, process: SimulatedProcess, isPowerFailure: boolean): void {
    this.steps += workload.stepCount;
    this.#anchoredCount += workload.anchoredCount;
    if (isPowerFailure) this.world.machine.powerFailure();
    else this.world.machine.kill(process.fileSystem);
    workload.abandon();
    const { isRemote, durability } = this.world.plan;
    if (isRemote === true && durability !== 'local' && this.#random.oneIn(2)) this.world.isSpoolLost = true;
  }

  /** Opens and compares the whole content with the model; faults may strike here, too, again and again. */
  async #open(): Promise<Opened> {
    for (let attempt = 1; ; attempt++) {
      if (attempt === openAttemptsMax) this.world.heal();
      const faultsBefore = this.world.machine.faultCount;
      let process: SimulatedProcess | undefined;
      try {
        process = await this.world.settle(this.world.start(), 'start');
        const volume = await this.world.open(process);
        await this.#settleRestore(volume);
        await judge(this.world, volume, this.#model);
        this.#branches.settle(volume);
        this.#anchoredCount++;
        return { process, volume };
      } catch (error) {
        const isExplained = error instanceof CaissonError && ['io', 'full', 'closed', 'transient'].includes(error.kind);
        if (!isExplained || this.world.machine.faultCount === faultsBefore) throw error;
        if (this.#random.oneIn(2)) this.world.machine.powerFailure();
        else if (process !== undefined) this.world.machine.kill(process.fileSystem);
        else this.world.machine.powerFailure();
        if (this.#options.fault === undefined) this.#arm();
        else if (this.world.faults.keepsFailing === true) this.world.heal();
        await this.world.rest();
      }
    }
  }

  /** A restore that was cut off happened or did not. */
  async #settleRestore(volume: Volume): Promise<void> {
    const { pendingRestore } = this.#branches;
    if (pendingRestore === undefined) return;
    if (await holds(this.world, volume, pendingRestore, this.#model.knownBlocks()))
      this.#model.replaceWith(pendingRestore.size, pendingRestore.blocks);
    this.#branches.pendingRestore = undefined;
  }

  #arm(): void {
    const { world } = this;
    const random = this.#random;
    world.heal();
    const at = world.machine.operationCount + random.between(1, random.pick([40, 150, 500]));
    const pick = random.below(100);
    if (pick < 35) world.faults.powerFailureAt = at;
    else if (pick < 55)
      Object.assign(world.faults, {
        failAt: at,
        failWith: random.pick(['EIO', 'ENOSPC']),
        keepsFailing: random.oneIn(3),
      });
    else if (pick < 68) world.faults.loseAnswerAt = at;
  }

  /** A second writer opens the volume although the first still has it, as if the lock did not work. */
  async #takeOver(first: Workload, firstProcess: SimulatedProcess): Promise<void> {
    const { world } = this;
    world.heal();
    first.mayFail = true;
    first.isTakenOver = true;
    const second = await world.settle(
      world.start((store) => new LocklessStore(store)),
      'start',
    );
    let volume: Volume | undefined;
    for (let attempt = 0; volume === undefined; attempt++) volume = await this.#openBeside(first, second, attempt);
    await first.drain().catch((error: unknown) => throwUnlessFenced(error));
    this.#model.crash();
    await judge(world, volume, this.#model);
    this.#branches.settle(volume);
    this.#anchoredCount++;
    await this.#checkFenced(first.volume);
    const workload = this.#workload(second, volume);
    await workload.run(this.#random.between(1, 10));
    await world.settle(
      first.volume.close().catch((error: unknown) => throwUnlessFenced(error)),
      'close of the fenced writer',
    );
    first.abandonFenced();
    this.steps += first.stepCount;
    world.machine.kill(firstProcess.fileSystem);
    await workload.run(this.#random.between(1, 10));
    await workload.drain();
    for (const [at, content] of await readKnown(world, volume, this.#model)) this.#model.check(at, content);
    if (this.#random.oneIn(2)) await workload.close();
    this.#finish(workload, second, this.#random.oneIn(2));
  }

  /** While the second opens, the first goes on writing and flushing. */
  async #openBeside(first: Workload, second: SimulatedProcess, attempt: number): Promise<Volume | undefined> {
    let isSettled = false;
    const opening = this.world.open(second).finally(() => (isSettled = true));
    opening.catch(() => undefined);
    while (!isSettled) {
      if (!first.hasFailed && this.#random.oneIn(3)) await first.step();
      else await nextTurn();
    }
    try {
      return await opening;
    } catch (error) {
      // The first published at that moment: the one who comes second tries again.
      if (!(error instanceof CaissonError) || error.code !== 'volume-fenced' || attempt > 20) throw error;
      return undefined;
    }
  }

  async #checkFenced(volume: Volume): Promise<void> {
    for (const [what, call] of [
      ['flush', () => volume.flush()],
      ['checkpoint', () => volume.checkpoint()],
    ] as const) {
      const outcome = await this.world.settle(
        call().then(
          () => 'success',
          (error: unknown) =>
            error instanceof CaissonError && error.code === 'volume-fenced' ? error.code : describe(error),
        ),
        what,
      );
      if (outcome !== 'volume-fenced') throw new Error(`${what} of a writer that lost the volume answers ${outcome}`);
    }
  }

  async #keepOldCopy(workload: Workload, process: SimulatedProcess): Promise<void> {
    await workload.drain();
    if (workload.hasFailed) return;
    const anchor = await anchorOf(this.world, process).catch(() => undefined); // a fault of the disk: no copy then
    if (anchor === undefined) return;
    this.#old = {
      disk: this.world.machine.disk.cloneDurable(this.#random.fork()),
      model: this.#model.copy(),
      anchoredCount: this.#anchoredCount + workload.anchoredCount,
      anchor,
      keySources: [...this.world.keySources],
      folder: this.world.folder,
    };
  }

  /** The old copy in place of the store, beside the anchor of today, on a machine of its own. */
  async #judgeRollback(old: OldCopy): Promise<void> {
    const world = this.world.rolledBack(old.disk, old.keySources, old.folder);
    const process = await world.settle(world.start(), 'start');
    const isSame = (await anchorOf(world, process)) === old.anchor;
    let volume: Volume;
    try {
      volume = await world.open(process);
    } catch (error) {
      if (!(error instanceof CaissonError)) throw error;
      if (error.code !== 'rolled-back' && error.code !== 'forked') throw error;
      if (isSame) throw new Error('a store that the anchor knows was refused', { cause: error });
      return;
    }
    if (this.#anchoredCount > old.anchoredCount)
      throw new Error('an old copy of the store was opened as if it were new');
    await judge(world, volume, old.model);
  }

  async #checkBranches(): Promise<void> {
    const process = await this.world.settle(this.world.start(), 'start');
    await this.#branches.checkAll(process);
    if (!this.#random.oneIn(4)) return;
    await this.#branches.erase(process);
    const error = await this.world.open(process).then(
      () => undefined,
      (refusal: unknown) => refusal,
    );
    if (!(error instanceof CaissonError) || error.code !== 'volume-erased')
      throw new Error(`an erased volume was opened: ${describe(error)}`);
  }

  /** On a sound disk cleaning finds nothing wrong, and changes nothing that a reader sees. */
  async #cleanAtLast(volume: Volume): Promise<void> {
    const { findings } = await this.world.settle(volume.clean({ all: true }), 'clean');
    if (findings.length > 0) throw new Error(`cleaning finds ${JSON.stringify(findings)}`);
    for (const [at, content] of await readKnown(this.world, volume, this.#model)) this.#model.check(at, content);
    this.#isClean = true;
  }

  async #verify(): Promise<void> {
    const { world } = this;
    const { environment } = await world.settle(world.start(), 'start');
    for (const keySource of [undefined, ...world.keySources]) {
      const options = { volumeId: world.volumeId, ...(keySource === undefined ? {} : { keySource }) };
      const report = await world.settle(verifyVolume(environment, options), 'verify');
      if (report.findings.length > 0) throw new Error(`verify finds ${JSON.stringify(report.findings)}`);
      if (this.#isClean && report.orphans.length > 0) throw new Error(`orphans are left: ${report.orphans.join(' ')}`);
      if (report.freshness !== 'current') throw new Error(`verify says ${report.freshness}`);
    }
  }
}

/** Reads everything the model knows of and lets the model judge it. */
async function judge(world: SimulatedWorld, volume: Volume, model: ReferenceModel): Promise<void> {
  model.accept(volume.size, await readKnown(world, volume, model));
}

async function readKnown(
  world: SimulatedWorld,
  volume: Volume,
  model: ReferenceModel,
): Promise<Map<number, Uint8Array>> {
  const found = new Map<number, Uint8Array>();
  const known = model.knownBlocks().filter((at) => (at + 1) * block <= volume.size);
  for (let at = 0; at < known.length;) {
    let count = 1;
    while (count < 64 && known[at + count] === known[at]! + count) count++;
    const target = new Region(count * block);
    await world.settle(Promise.resolve(volume.read(known[at]! * block, count * block, target, 0)), 'read');
    for (let part = 0; part < count; part++)
      found.set(known[at + part]!, target.bytes.subarray(part * block, (part + 1) * block));
    at += count;
  }
  return found;
}

async function anchorOf(world: SimulatedWorld, { environment }: SimulatedProcess): Promise<string> {
  const state = await world.settle(environment.anchor.read(world.volumeId), 'anchor');
  return createHash('sha256').update(JSON.stringify(state)).digest('hex');
}

function isArmed({ failAt, loseAnswerAt, powerFailureAt }: FaultPlan): boolean {
  return failAt !== undefined || loseAnswerAt !== undefined || powerFailureAt !== undefined;
}

function throwUnlessFenced(error: unknown): void {
  if (!(error instanceof CaissonError) || (error.kind !== 'fenced' && error.kind !== 'closed')) throw error;
}

function choosePlan(random: SeededRandom): WorldPlan {
  const mebibyte = 2 ** 20;
  return {
    size: random.pick([1, 3, 64, 300, 300, 5 * 1024, 2 ** 24]) * mebibyte,
    protection: random.oneIn(3) ? 'none' : 'sealed',
    durability: random.pick(['anchored', 'local', 'remote', 'local']),
    isRemote: random.oneIn(3),
    tuning: {
      segmentBytesMax: random.pick([128, 256, 1024]) * 1024,
      zeroAheadBytes: random.pick([0, 8, 64]) * 1024,
      mapBytesMax: random.pick([1, 24 * 8192, 64 * mebibyte]),
      spoolBufferBytesMax: random.pick([64, 1024]) * 1024,
      checkpointBytes: random.pick([100, 700, 100_000]) * 1024,
      checkpointMilliseconds: random.pick([100, 4000, 300_000]),
      unpublishedBytesMax: random.pick([256, 4096]) * 1024,
      anchorMilliseconds: random.pick([20, 1000]),
      cleaningSlackBytes: random.pick([0, 0, 64 * 1024, 16 * mebibyte]),
      cleaningBytesPerSecond: random.pick([0, 64 * 1024, 1024 * mebibyte, 1024 * mebibyte]),
    },
    store: random.oneIn(3) ? 'block' : 'dir',
  };
}

/** Where the writes go: in large volumes far apart, so that each spot has a leaf of the map to itself. */
function chooseSpots(random: SeededRandom, blocks: number): number[] {
  const count = blocks < 1024 ? 4 : random.between(3, 30);
  const spots = [0, Math.max(0, blocks - 10)];
  while (spots.length < count) {
    const leaf = Math.floor(random.below(blocks) / 1024) * 1024;
    spots.push(Math.max(0, random.oneIn(2) ? leaf - 8 : leaf + random.below(1000)));
  }
  return spots;
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = error instanceof CaissonError ? ` [${error.code}]` : '';
  return `${error.message}${code}${error.cause === undefined ? '' : ` <- ${describe(error.cause)}`}`;
}
