/**
 * One simulated machine with a volume on it: a disk that holds the store and, beside it, the anchor;
 * processes that open the volume and die.
 */
import type { Anchor } from '../../src/anchor/anchor.ts';
import { openFileAnchor } from '../../src/anchor/file-anchor.ts';
import { nodeSealer } from '../../src/crypto/node-sealer.ts';
import type { KeySource } from '../../src/keys/key-source.ts';
import { createKeyFileSource } from '../../src/keys/key-file.ts';
import { noneSource } from '../../src/keys/none.ts';
import { isCaissonError } from '../../src/lib/errors.ts';
import { fromHex } from '../../src/lib/hex.ts';
import { openBlockStore } from '../../src/store/block/block-store.ts';
import { openDirStore } from '../../src/store/dir-store.ts';
import type { Store } from '../../src/store/store.ts';
import { createVolume, locateMoving, openVolume } from '../../src/volume/volume.ts';
import type { Durability, Protection, Volume, VolumeEnvironment, VolumeTuning } from '../../src/volume/volume-types.ts';
import { volumePrefix } from '../../src/store/paths.ts';
import type { SeededRandom } from './random.ts';
import { RemoteStore } from './remote-store.ts';
import { placeDevice, smallGeometry } from './simulated-device.ts';
import type { SimulatedDisk } from './simulated-disk.ts';
import { SimulatedMachine } from './simulated-file-system.ts';
import type { FaultPlan, SimulatedFileSystem } from './simulated-file-system.ts';
import { nextTurn, SimulationClock } from './simulation-clock.ts';

/** The folder, or the device, that the store is. */
const storeFolder = '/store';
/** Always a folder: where the volume moves to, and back from. */
const otherFolder = '/other';
const deviceBytes = 24 * 2 ** 20;
const anchorFolder = '/anchors';
/** Idle turns after which an answer will never come. */
const idleTurnsMax = 400;

export type StoreWrapper = (store: Store) => Store;

export interface WorldPlan {
  readonly size: number;
  readonly protection: Protection;
  readonly durability: Durability;
  /** The store lies beyond the machine; only the spool is lost with it. */
  readonly isRemote?: boolean;
  readonly tuning: Partial<VolumeTuning>;
  readonly store?: 'dir' | 'block';
}

/** A process that has, or is about to have, the volume open. */
export interface SimulatedProcess {
  readonly fileSystem: SimulatedFileSystem;
  readonly clock: SimulationClock;
  /** With another store once the volume has moved. */
  environment: VolumeEnvironment;
}

export class SimulatedWorld {
  readonly machine: SimulatedMachine;
  readonly random: SeededRandom;
  readonly plan: WorldPlan;
  readonly #wrapStore: StoreWrapper;
  /** Any of these may open the volume: an interrupted change of keys leaves the choice open. */
  keySources: KeySource[];
  volumeId = new Uint8Array(16);
  /** The machine with the spool is gone: the next process starts without it. */
  isSpoolLost = false;
  /** Where the volume is. */
  folder = storeFolder;
  /** A move to the other folder began: where the volume is must be found out. */
  isMoving = false;

  constructor(random: SeededRandom, plan: WorldPlan, wrapStore: StoreWrapper = (store) => store, disk?: SimulatedDisk) {
    this.random = random;
    this.plan = plan;
    this.#wrapStore = wrapStore;
    this.machine = new SimulatedMachine(random.fork(), disk === undefined ? {} : { disk });
    if (plan.store === 'block' && disk === undefined)
      placeDevice(this.machine.disk, storeFolder.substring(1), deviceBytes);
    this.keySources = [plan.protection === 'none' ? noneSource : this.newKey()];
  }

  get faults(): FaultPlan {
    return this.machine.faults;
  }

  newKey(): KeySource {
    return createKeyFileSource({ content: this.random.bytes(32), random: this.random.fork() });
  }

  async start(wrapStore: StoreWrapper = (store) => store): Promise<SimulatedProcess> {
    // One process at a time has a device open: those before are dead, or about to be.
    if (this.plan.store === 'block') for (const process of [...this.machine.processes]) this.machine.kill(process);
    const fileSystem = this.machine.attach();
    const clock = new SimulationClock(this.machine);
    const anchor: Anchor = await openFileAnchor(fileSystem, anchorFolder, clock);
    const local = this.isMoving
      ? await this.#locate(fileSystem, clock, anchor)
      : await this.#openStore(fileSystem, clock, this.folder);
    if (this.isSpoolLost) await this.#loseSpool(local);
    const store = wrapStore(this.#placed(fileSystem, local, this.folder));
    const environment = {
      store,
      anchor,
      clock,
      random: this.random.fork(),
      sealer: nodeSealer,
      tuning: this.plan.tuning,
    };
    return { fileSystem, clock, environment };
  }

  async #loseSpool(store: Store): Promise<void> {
    const area = await store.spool(volumePrefix(this.volumeId));
    for (const { key } of await area.list()) await area.remove(key);
    this.isSpoolLost = false;
  }

  /** The store to which the volume can move from where it is. */
  async openTarget({
    fileSystem,
    clock,
  }: SimulatedProcess): Promise<{ readonly store: Store; readonly folder: string }> {
    const folder = this.folder === storeFolder ? otherFolder : storeFolder;
    const local = await this.#openStore(fileSystem, clock, folder);
    return { store: this.#placed(fileSystem, local, folder), folder };
  }

  #placed(fileSystem: SimulatedFileSystem, local: Store, folder: string): Store {
    if (this.plan.isRemote !== true) return this.#wrapStore(local);
    const isFolder = this.plan.store !== 'block';
    const sync = (key: string): Promise<void> =>
      isFolder ? fileSystem.syncDirectory(`${folder}/${key.substring(0, key.lastIndexOf('/'))}`) : Promise.resolve();
    return this.#wrapStore(new RemoteStore(local, sync));
  }

  async #locate(fileSystem: SimulatedFileSystem, clock: SimulationClock, anchor: Anchor): Promise<Store> {
    const other = this.folder === storeFolder ? otherFolder : storeFolder;
    const source = await this.#openStore(fileSystem, clock, this.folder);
    const target = await this.#openStore(fileSystem, clock, other);
    const isThere = (await locateMoving({ source, target, anchor }, this.volumeId)) === 'target';
    await (isThere ? source : target).close();
    if (!isThere) return source;
    this.folder = other;
    this.isMoving = false;
    return target;
  }

  #openStore(fileSystem: SimulatedFileSystem, clock: SimulationClock, folder: string): Promise<Store> {
    if (this.plan.store !== 'block' || folder !== storeFolder)
      return openDirStore(fileSystem, folder, { create: true, clock });
    const options = { create: true, clock, random: this.random.fork(), geometry: smallGeometry };
    return openBlockStore(fileSystem, storeFolder, options);
  }

  async create(): Promise<void> {
    const { environment } = await this.start();
    const { size, protection, durability } = this.plan;
    const { volumeId } = await createVolume(environment, {
      size,
      protection,
      durability,
      keySource: this.keySources[0]!,
    });
    this.volumeId = fromHex(volumeId, 16)! as Uint8Array<ArrayBuffer>;
    await environment.store.close();
  }

  open(process: SimulatedProcess): Promise<Volume> {
    return this.settle(this.#openWithAny(process), 'open');
  }

  async #openWithAny({ environment }: SimulatedProcess): Promise<Volume> {
    for (const keySource of [...this.keySources]) {
      try {
        const volume = await openVolume(environment, { volumeId: this.volumeId, keySource });
        this.keySources = [keySource];
        return volume;
      } catch (error) {
        if (!isCaissonError(error, 'key-wrong')) throw error;
      }
    }
    throw new Error('none of the keys opens the volume');
  }

  /** Takes all faults back. */
  heal(): void {
    Object.assign(this.faults, {
      failAt: undefined,
      keepsFailing: false,
      failWith: 'EIO',
      loseAnswerAt: undefined,
      powerFailureAt: undefined,
    });
  }

  /** Waits for an answer; when the disk rests and it still does not come, it never will. */
  async settle<T>(answer: Promise<T>, what: string): Promise<T> {
    let isDone = false;
    const done = answer.finally(() => (isDone = true));
    done.catch(() => undefined);
    for (let idle = 0; !isDone; idle = this.machine.isBusy ? 0 : idle + 1) {
      if (idle > idleTurnsMax) throw new Error(`${what} is never answered`);
      await nextTurn();
    }
    return done;
  }

  /** Lets everything that is on its way come to rest. */
  async rest(): Promise<void> {
    for (let idle = 0; idle < 8; idle = this.machine.isBusy ? 0 : idle + 1) await nextTurn();
  }

  /** A world of its own on what is certainly on the disk, with the store of `old` in place of the present one. */
  rolledBack(old: SimulatedDisk, keySources: readonly KeySource[], folder: string): SimulatedWorld {
    const disk = this.machine.disk.cloneDurable(this.random.fork());
    const oldStore = old.cloneDurable(this.random.fork()).find(folder)!;
    disk.root.change([folder.substring(1)]);
    disk.root.change([], [folder.substring(1), oldStore]);
    disk.root.sync(disk.root.syncMark());
    const world = new SimulatedWorld(this.random.fork(), this.plan, this.#wrapStore, disk);
    world.keySources = [...keySources];
    world.volumeId = this.volumeId;
    world.folder = folder;
    return world;
  }
}
