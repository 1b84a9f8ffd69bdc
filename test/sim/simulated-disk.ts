/**
 * What lies on a simulated disk: inodes, each with the content that programs see and the content that
 * is certain to survive. fault-model.md says what a power failure may do with the difference.
 *
 * Invariants: without a pending change, live and durable content are equal; `lost` sectors are those
 * of a failed sync, which no later sync may make durable unless they are written again.
 */
import type { SeededRandom } from './random.ts';

export const sectorBytes = 512;

export class FileNode {
  readonly id: number;
  live = new Uint8Array(0);
  size = 0;
  durable = new Uint8Array(0);
  /** Stands for the modification time. */
  changeCount = 0;
  /** Sector -> the first and the last write since it was made durable. */
  readonly #dirty = new Map<number, { readonly first: number; readonly last: number }>();
  readonly #lost = new Set<number>();
  #writeCount = 0;
  #cut: { readonly length: number; readonly at: number } | undefined;

  constructor(id: number) {
    this.id = id;
  }

  write(position: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const end = position + bytes.length;
    if (end > this.live.length) {
      const grown = new Uint8Array(Math.max(end, 2 * this.live.length));
      grown.set(this.live.subarray(0, this.size));
      this.live = grown;
    }
    this.live.set(bytes, position);
    this.#writeCount++;
    this.changeCount++;
    const first = Math.floor(Math.min(position, this.size) / sectorBytes);
    this.size = Math.max(this.size, end);
    for (let sector = first; sector * sectorBytes < end; sector++) {
      this.#dirty.set(sector, { first: this.#dirty.get(sector)?.first ?? this.#writeCount, last: this.#writeCount });
      this.#lost.delete(sector);
    }
  }

  /** Cuts the end off; until a sync covers it, a power failure may undo it. */
  truncate(length: number): void {
    if (length >= this.size) return;
    this.live.fill(0, length);
    this.size = length;
    this.#writeCount++;
    this.changeCount++;
    this.#cut = { length, at: this.#writeCount };
    for (const sector of [...this.#dirty.keys()]) if (sector * sectorBytes >= length) this.#dirty.delete(sector);
  }

  /** Taken when a sync is asked for: it covers the writes up to here. */
  syncMark(): number {
    return this.#writeCount;
  }

  /** A sector is written as it is now, so that what came after the mark goes along, unpromised. */
  sync(mark: number): void {
    if (this.#cut !== undefined && this.#cut.at <= mark) {
      if (this.durable.length > this.#cut.length) this.#resizeDurable(this.#cut.length);
      this.#cut = undefined;
    }
    const covered = [...this.#dirty].filter(([, writes]) => writes.first <= mark);
    this.#growDurable(covered.map(([sector]) => sector));
    for (const [sector, writes] of covered) {
      this.#persist(sector, this.size);
      if (writes.last > mark) this.#dirty.set(sector, { first: mark + 1, last: writes.last });
      else this.#dirty.delete(sector);
    }
  }

  failSync(): void {
    for (const sector of this.#dirty.keys()) this.#lost.add(sector);
    this.#dirty.clear();
  }

  powerFailure(random: SeededRandom): void {
    if (this.#cut !== undefined && this.durable.length > this.#cut.length && random.oneIn(2))
      this.#resizeDurable(this.#cut.length);
    const unsynced = [...this.#dirty.keys(), ...this.#lost].sort((a, b) => a - b);
    const written = unsynced.filter(() => random.oneIn(2));
    this.#growDurable(written);
    for (const sector of written) this.#persist(sector, this.size);
    // The length may have been written without the sectors below it: zeros take their place.
    if (this.size > this.durable.length && random.oneIn(2))
      this.#resizeDurable(random.between(this.durable.length, this.size));
    this.#settle();
  }

  flip(position: number, mask: number): void {
    for (const bytes of [this.live, this.durable]) if (position < bytes.length) bytes[position]! ^= mask;
  }

  cloneDurable(): FileNode {
    const clone = new FileNode(this.id);
    clone.durable = new Uint8Array(this.durable);
    clone.changeCount = this.changeCount;
    clone.#settle();
    return clone;
  }

  /** After a failure the disk holds what is durable, and nothing else. */
  #settle(): void {
    this.live = new Uint8Array(this.durable);
    this.size = this.durable.length;
    this.#dirty.clear();
    this.#lost.clear();
    this.#cut = undefined;
  }

  /** Once for all sectors that follow: one at a time would copy the file once a sector. */
  #growDurable(sectors: readonly number[]): void {
    const last = sectors.reduce((most, sector) => Math.max(most, sector), -1);
    const end = Math.min((last + 1) * sectorBytes, this.size);
    if (end > this.durable.length) this.#resizeDurable(end);
  }

  #persist(sector: number, size: number): void {
    const from = sector * sectorBytes;
    const to = Math.min(from + sectorBytes, size);
    if (to > this.durable.length) this.#resizeDurable(to);
    this.durable.set(this.live.subarray(from, to), from);
  }

  #resizeDurable(length: number): void {
    const resized = new Uint8Array(length);
    resized.set(this.durable.subarray(0, length));
    this.durable = resized;
  }
}

export type DiskNode = FileNode | FolderNode;

/** One change of a folder's names; a rename inside one folder is one change. */
interface NameChange {
  readonly removed: readonly string[];
  readonly added?: readonly [name: string, node: DiskNode];
}

export class FolderNode {
  readonly id: number;
  readonly live = new Map<string, DiskNode>();
  readonly #durable = new Map<string, DiskNode>();
  #pending: NameChange[] = [];
  #settledCount = 0;

  constructor(id: number) {
    this.id = id;
  }

  change(removed: readonly string[], added?: readonly [string, DiskNode]): void {
    const change: NameChange = added === undefined ? { removed } : { removed, added };
    apply(this.live, change);
    this.#pending.push(change);
  }

  syncMark(): number {
    return this.#settledCount + this.#pending.length;
  }

  sync(mark: number): void {
    this.#settle(Math.max(0, mark - this.#settledCount));
  }

  powerFailure(random: SeededRandom): void {
    this.#settle(random.between(0, this.#pending.length));
    this.#pending = [];
    this.live.clear();
    for (const [name, node] of this.#durable) {
      this.live.set(name, node);
    }
  }

  cloneDurable(clones: Map<DiskNode, DiskNode>): FolderNode {
    const clone = new FolderNode(this.id);
    clones.set(this, clone);
    for (const [name, node] of this.#durable) {
      const copy = clones.get(node) ?? (node instanceof FileNode ? node.cloneDurable() : node.cloneDurable(clones));
      clones.set(node, copy);
      clone.live.set(name, copy);
      clone.#durable.set(name, copy);
    }
    return clone;
  }

  #settle(count: number): void {
    for (const change of this.#pending.splice(0, count)) {
      apply(this.#durable, change);
      this.#settledCount++;
    }
  }
}

function apply(names: Map<string, DiskNode>, change: NameChange): void {
  for (const name of change.removed) names.delete(name);
  if (change.added !== undefined) names.set(change.added[0], change.added[1]);
}

/** The disk: a tree of folders. Paths are absolute; only `/` exists at first. */
export class SimulatedDisk {
  root = new FolderNode(1);
  #idCount = 1;
  readonly random: SeededRandom;
  capacityBytes = Number.MAX_SAFE_INTEGER;

  constructor(random: SeededRandom) {
    this.random = random;
  }

  newFile(): FileNode {
    return new FileNode(++this.#idCount);
  }

  newFolder(): FolderNode {
    return new FolderNode(++this.#idCount);
  }

  find(path: string): DiskNode | undefined {
    let node: DiskNode | undefined = this.root;
    for (const name of path.split('/')) {
      if (name === '') continue;
      node = node instanceof FolderNode ? node.live.get(name) : undefined;
    }
    return node;
  }

  /** Every node that has a name now, each once, in a fixed order. */
  nodes(): DiskNode[] {
    const found = new Set<DiskNode>([this.root]);
    for (const node of found) {
      if (node instanceof FolderNode) for (const child of node.live.values()) found.add(child);
    }
    return [...found];
  }

  usedBytes(): number {
    return this.nodes().reduce((sum, node) => sum + (node instanceof FileNode ? node.size : 0), 0);
  }

  powerFailure(): void {
    // Names first, from the top: what a lost folder held is lost with it. A node that only an
    // unsynced removal hid comes back, so that it is visited below although it has no name now.
    const settled = new Set<DiskNode>([this.root]);
    for (const node of settled) {
      if (node instanceof FolderNode) {
        node.powerFailure(this.random);
        for (const child of node.live.values()) settled.add(child);
      } else {
        node.powerFailure(this.random);
      }
    }
  }

  /** What certainly survives a power failure now, as a disk of its own. */
  cloneDurable(random: SeededRandom): SimulatedDisk {
    const clone = new SimulatedDisk(random);
    clone.root = this.root.cloneDurable(new Map());
    clone.#idCount = this.#idCount;
    clone.capacityBytes = this.capacityBytes;
    return clone;
  }

  corrupt(path: string, position: number, mask: number): void {
    const node = this.find(path);
    if (!(node instanceof FileNode) || position >= node.size || (mask & 0xff) === 0)
      throw new Error(`nothing to corrupt at ${path}:${position}`);
    node.flip(position, mask & 0xff);
  }
}
