/**
 * What a run knows of snapshots and clones: the content each must have, taken from the model at a moment when nothing
 * was in flight. A change that a fault cut off leaves it open whether the branch is there; if it is, it must be right.
 */
import type { KeySource } from '../../src/keys/key-source.ts';
import { fromHex } from '../../src/lib/hex.ts';
import { Region } from '../../src/lib/region.ts';
import { eraseVolume, listSnapshots, openSnapshot, openVolume, verifyVolume } from '../../src/volume/volume.ts';
import type { Volume } from '../../src/volume/volume-types.ts';
import type { SeededRandom } from './random.ts';
import { modelBlockBytes, zeroBlock, type ReferenceModel } from './reference-model.ts';
import type { SimulatedProcess, SimulatedWorld } from './simulated-world.ts';

const block = modelBlockBytes;
const snapshotsMax = 5;
const clonesMax = 3;

/** Blocks that ever held data, and what they hold; all others are zero. */
export interface Content {
  readonly size: number;
  readonly blocks: ReadonlyMap<number, Uint8Array>;
}

interface SnapshotBranch {
  readonly name: string;
  readonly content: Content;
  /** A change of it failed: it may be there or not. */
  isCertain: boolean;
}

interface CloneBranch {
  readonly volumeId: Uint8Array;
  readonly keySource: KeySource;
  /** Undefined once a change of it failed half-way. */
  content: Content | undefined;
}

export function contentOf(model: ReferenceModel): Content {
  return { size: model.size, blocks: new Map(model.knownBlocks().map((at) => [at, model.current(at)])) };
}

export class Branches {
  readonly #world: SimulatedWorld;
  readonly #random: SeededRandom;
  #snapshots: SnapshotBranch[] = [];
  readonly clones: CloneBranch[] = [];
  #count = 0;
  /** A restore was cut off: the volume holds this, or what the model says. */
  pendingRestore: Content | undefined;

  constructor(world: SimulatedWorld) {
    this.#world = world;
    this.#random = world.random.fork();
  }

  get snapshotCount(): number {
    return this.#snapshots.length;
  }

  /** As the two after it, answers whether a manifest was published. */
  async takeSnapshot(volume: Volume, model: ReferenceModel): Promise<boolean> {
    if (this.#snapshots.length >= snapshotsMax) return this.removeSnapshot(volume);
    const branch = { name: `s${++this.#count}`, content: contentOf(model), isCertain: false };
    this.#snapshots.push(branch);
    await this.#world.settle(volume.snapshot(branch.name), 'snapshot');
    branch.isCertain = true;
    return true;
  }

  async removeSnapshot(volume: Volume): Promise<boolean> {
    const free = this.#snapshots.filter(
      ({ name, isCertain }) =>
        isCertain && volume.snapshots().some((one) => one.name === name && one.clones.length === 0),
    );
    if (free.length === 0) return false;
    const branch = this.#random.pick(free);
    branch.isCertain = false;
    await this.#world.settle(volume.removeSnapshot(branch.name), 'snapshot removal');
    this.#snapshots = this.#snapshots.filter((one) => one !== branch);
    return true;
  }

  async clone(volume: Volume, model: ReferenceModel): Promise<boolean> {
    if (this.clones.length >= clonesMax) return false;
    const certain = this.#snapshots.filter(({ isCertain }) => isCertain);
    const from = certain.length > 0 && this.#random.oneIn(2) ? this.#random.pick(certain) : undefined;
    const { plan } = this.#world;
    const keySource = plan.protection === 'none' ? this.#world.keySources[0]! : this.#world.newKey();
    const content = from?.content ?? contentOf(model);
    const options = {
      keySource,
      isolate: this.#random.oneIn(2),
      ...(from === undefined ? {} : { snapshot: from.name }),
    };
    const info = await this.#world.settle(volume.clone(options), 'clone');
    this.clones.push({ volumeId: fromHex(info.volumeId, 16)!, keySource, content });
    return true;
  }

  /** A snapshot whose content the volume could go back to. */
  pickSnapshot(): { readonly name: string; readonly content: Content } | undefined {
    const certain = this.#snapshots.filter(({ isCertain }) => isCertain);
    return certain.length === 0 ? undefined : this.#random.pick(certain);
  }

  /** After an opening: what was uncertain is settled by what the volume lists. */
  settle(volume: Volume): void {
    const names = new Set(volume.snapshots().map(({ name }) => name));
    for (const branch of this.#snapshots)
      if (branch.isCertain && !names.has(branch.name)) throw new Error(`snapshot ${branch.name} is gone`);
    this.#snapshots = this.#snapshots.filter(({ name }) => names.has(name));
    for (const branch of this.#snapshots) branch.isCertain = true;
    for (const name of names)
      if (!this.#snapshots.some((branch) => branch.name === name)) throw new Error(`snapshot ${name} is nobody's`);
  }

  /** Reads one snapshot beside the writer. */
  async checkSnapshot({ environment }: SimulatedProcess): Promise<void> {
    const certain = this.#snapshots.filter(({ isCertain }) => isCertain);
    if (certain.length > 0) await this.#readSnapshot(environment, this.#random.pick(certain));
  }

  /** Reads one clone, and with `write` changes it. */
  async useClone({ environment }: SimulatedProcess, write: boolean): Promise<void> {
    if (this.clones.length === 0) return;
    const clone = this.#random.pick(this.clones);
    const { volumeId, keySource } = clone;
    const volume = await this.#world.settle(openVolume(environment, { volumeId, keySource }), 'open of a clone');
    const before = clone.content;
    if (before !== undefined) await this.#compare(volume, before, 'a clone');
    if (write && before !== undefined) {
      clone.content = undefined;
      const blocks = new Map(before.blocks);
      for (let count = this.#random.between(1, 12); count > 0; count--) {
        const at = this.#random.below(Math.min(before.size / block, 4000));
        const bytes = new Uint8Array(block).fill(this.#random.between(1, 255));
        await this.#world.settle(
          Promise.resolve(volume.write(at * block, block, Region.from(bytes), 0, false)),
          'write',
        );
        blocks.set(at, bytes);
      }
      await this.#world.settle(volume.flush(), 'flush of a clone');
      clone.content = { size: before.size, blocks };
    }
    await this.#world.settle(volume.close(), 'close of a clone');
  }

  /** At the end, without faults: everything is there, right, and verifies. */
  async checkAll(process: SimulatedProcess): Promise<void> {
    const { environment } = process;
    for (const branch of this.#snapshots) await this.#readSnapshot(environment, branch);
    const source = { volumeId: this.#world.volumeId, keySource: this.#world.keySources[0]! };
    const listed = await this.#world.settle(listSnapshots(environment, source), 'list of snapshots');
    if (listed.length !== this.#snapshots.length) throw new Error(`${listed.length} snapshots are listed`);
    for (const clone of this.clones) {
      const { volumeId, keySource, content } = clone;
      const volume = await this.#world.settle(openVolume(environment, { volumeId, keySource }), 'open of a clone');
      if (content !== undefined) await this.#compare(volume, content, 'a clone');
      await this.#world.settle(volume.close(), 'close of a clone');
      const report = await this.#world.settle(verifyVolume(environment, { volumeId, keySource }), 'verify');
      if (report.findings.length > 0) throw new Error(`verify of a clone finds ${JSON.stringify(report.findings)}`);
    }
  }

  /** The volume is erased for good; its clones are not. */
  async erase(process: SimulatedProcess): Promise<void> {
    const { environment } = process;
    const { volumeId, keySources } = this.#world;
    await this.#world.settle(eraseVolume(environment, { volumeId, keySource: keySources[0]! }), 'erase');
    this.#snapshots = [];
    const report = await this.#world.settle(verifyVolume(environment, { volumeId }), 'verify');
    if (!report.erased || report.findings.length > 0 || report.freshness !== 'current')
      throw new Error(`verify of an erased volume says ${JSON.stringify(report)}`);
    for (const clone of this.clones) {
      const volume = await this.#world.settle(
        openVolume(environment, { volumeId: clone.volumeId, keySource: clone.keySource }),
        'open of a clone',
      );
      if (clone.content !== undefined) await this.#compare(volume, clone.content, 'a clone of an erased volume');
      await this.#world.settle(volume.close(), 'close of a clone');
    }
  }

  async #readSnapshot(environment: SimulatedProcess['environment'], branch: SnapshotBranch): Promise<void> {
    const options = { volumeId: this.#world.volumeId, keySource: this.#world.keySources[0]!, snapshot: branch.name };
    const volume = await this.#world.settle(openSnapshot(environment, options), 'open of a snapshot');
    await this.#compare(volume, branch.content, `snapshot ${branch.name}`);
    await this.#world.settle(volume.close(), 'close of a snapshot');
  }

  async #compare(volume: Volume, content: Content, what: string): Promise<void> {
    if (volume.size !== content.size) throw new Error(`${what} has ${volume.size} bytes, not ${content.size}`);
    for (const [at, expected] of content.blocks) {
      if ((at + 1) * block > content.size) continue;
      const target = new Region(block);
      await this.#world.settle(Promise.resolve(volume.read(at * block, block, target, 0)), 'read');
      if (Buffer.compare(target.bytes, expected) !== 0) throw new Error(`block ${at} of ${what} is not what it was`);
    }
  }
}

/** Whether the open volume holds exactly this; `known` are blocks that may hold something else. */
export async function holds(
  world: SimulatedWorld,
  volume: Volume,
  content: Content,
  known: readonly number[],
): Promise<boolean> {
  if (volume.size !== content.size) return false;
  for (const at of new Set([...known, ...content.blocks.keys()])) {
    if ((at + 1) * block > volume.size) continue;
    const target = new Region(block);
    await world.settle(Promise.resolve(volume.read(at * block, block, target, 0)), 'read');
    if (Buffer.compare(target.bytes, content.blocks.get(at) ?? zeroBlock) !== 0) return false;
  }
  return true;
}
