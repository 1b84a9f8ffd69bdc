/**
 * The daemon's parts without disk, keys or sockets: volumes are memory, a key is the bytes of its
 * credential. What was opened and not closed is counted, so that a test can see leaks.
 */
import type { Credential } from '../../src/admin/schema.ts';
import { configurationDefaults } from '../../src/daemon/configuration.ts';
import type { Engine, NbdListener, Parts } from '../../src/daemon/parts.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import type { KeySource } from '../../src/keys/key-source.ts';
import type { Store } from '../../src/store/store.ts';
import { StoreCounts } from '../../src/store/store-counts.ts';
import type {
  CloneOptions,
  CreateOptions,
  EraseReceipt,
  InspectedVolume,
  KeySlotInfo,
  MoveOptions,
  SnapshotInfo,
  Volume,
  VolumeInfo,
} from '../../src/volume/volume-types.ts';
import { signingKeyFromSeed } from '../../src/crypto/signature.ts';
import type { CapabilityGrant } from '../../src/wire/capability-format.ts';
import { mintCapability } from '../../src/wire/capability.ts';
import { MemoryDevice } from './memory-device.ts';

/** Of every volume here. */
const fakeVolumeKey = signingKeyFromSeed(new Uint8Array(32).fill(7));

interface StoredVolume {
  readonly options: CreateOptions;
  size: number;
  readonly slots: Map<number, { info: KeySlotInfo; secret: string }>;
  readonly snapshots: SnapshotInfo[];
  readonly parent: InspectedVolume['parent'];
  readonly clones: string[];
  isOpen: boolean;
  isErased: boolean;
}

export class FakeParts implements Parts {
  readonly configuration = configurationDefaults;
  readonly storeCounts = new StoreCounts();
  readonly volumes = new Map<string, StoredVolume>();
  /** Things open now: environments, volumes, listeners. */
  readonly open = new Set<string>();
  readonly mounted = new Map<string, string>();
  /** Directories whose file system stands still now. */
  readonly frozen: string[] = [];
  /** By the clone's id: whether its parent got a key of its own. */
  readonly isolated = new Map<string, boolean>();
  readonly restored: string[] = [];
  /** The next call of this name fails with the error. */
  readonly faults = new Map<string, Error>();
  #count = 0;

  async engine(): Promise<Engine> {
    return {
      createVolume: async (_environment, options) => {
        return this.#info(await this.#store(options, undefined));
      },
      openVolume: async (_environment, { volumeId, keySource, readOnly }) => {
        this.#fault('openVolume');
        const id = Buffer.from(volumeId).toString('hex');
        const stored = this.#stored(id);
        await unlock(stored, keySource);
        if (stored.isOpen) throw new CaissonError('fenced', 'volume-open-elsewhere', 'open elsewhere');
        stored.isOpen = true;
        return this.#volume(id, stored, readOnly ?? false);
      },
      inspectVolume: async (_environment, volumeId) => {
        const id = Buffer.from(volumeId).toString('hex');
        const { isOpen, isErased, parent, clones, snapshots } = this.#stored(id);
        const state = isErased ? 'erased' : isOpen ? 'open' : 'closed';
        return { ...this.#info(id), state, parent, clones: [...clones], snapshotCount: snapshots.length };
      },
      openSnapshot: async (_environment, { volumeId, keySource, snapshot }) => {
        this.#fault('openSnapshot');
        const id = Buffer.from(volumeId).toString('hex');
        const stored = this.#stored(id);
        await unlock(stored, keySource);
        findSnapshot(stored, snapshot);
        // A reader of its own: what is open for writing does not concern it.
        return this.#volume(id, { ...stored }, true);
      },
      listSnapshots: async (_environment, { volumeId, keySource }) => {
        const stored = this.#stored(Buffer.from(volumeId).toString('hex'));
        await unlock(stored, keySource);
        return [...stored.snapshots];
      },
      diffSnapshots: async function* () {
        yield { offset: 0, length: 4096, kind: 'data' as const };
      },
      eraseVolume: async (_environment, { volumeId, keySource, keepObjects, onProgress }) => {
        const id = Buffer.from(volumeId).toString('hex');
        const stored = this.#stored(id);
        if (!stored.isErased) await unlock(stored, keySource);
        stored.isErased = true;
        onProgress?.(1, 1, 'objects');
        return { ...receiptOf(id), removedObjects: keepObjects === true ? 1 : 5 };
      },
      checkReceipt: (_bytes, volumeId) => receiptOf(Buffer.from(volumeId).toString('hex')),
      readReceipt: async (_environment, volumeId) => {
        const id = Buffer.from(volumeId).toString('hex');
        return this.#stored(id).isErased ? receiptOf(id) : undefined;
      },
      listVolumes: async () => [...this.volumes.keys()],
      verifyVolume: async (_environment, { volumeId, keySource, onProgress }) => {
        onProgress?.(1, 1, 'objects');
        const id = Buffer.from(volumeId).toString('hex');
        return {
          volumeId: id,
          public: keySource === undefined,
          manifestNumber: 1,
          manifestDigest: '',
          writerKey: '',
          manifestsChecked: 1,
          erased: this.#stored(id).isErased,
          pinsChecked: 0,
          objectsChecked: 0,
          objectBytes: 0,
          unitsChecked: 0,
          orphans: [],
          findings: [],
          freshness: 'current',
        };
      },
      verifyBlocks: async (_volume, report) => ({ ...report, public: false, unitsChecked: 1 }),
      locateMoving: async () => 'source',
      removeMovedSource: async () => ({ removedObjects: 0 }),
      removeVolume: async (_environment, volumeId) => {
        if (this.volumes.get(Buffer.from(volumeId).toString('hex'))?.clones.some((id) => this.volumes.has(id)) === true)
          throw new CaissonError('denied', 'volume-needed', 'clones read objects of this volume');
        this.volumes.delete(Buffer.from(volumeId).toString('hex'));
        return { removedObjects: 1 };
      },
    };
  }

  async openEnvironment(storeUrl: string): Promise<never> {
    this.#fault('openEnvironment');
    const token = this.#take('environment');
    const environment = { store: { url: storeUrl, isRemote: storeUrl.startsWith('s3:') } };
    return { environment, close: async () => void this.open.delete(token) } as never;
  }

  async keySource(credential: Credential): Promise<KeySource> {
    const secret =
      credential.kind === 'passphrase' ? credential.secret : new TextEncoder().encode(JSON.stringify(credential));
    const key = new Uint8Array(secret);
    return {
      kind: credential.kind === 'url' ? 'vault' : credential.kind,
      describe: credential.kind,
      enroll: async () => ({ parameters: new Uint8Array(0), key }),
      derive: async () => key,
    };
  }

  async credentialOf(hint: { kind: string; path?: string | undefined }): Promise<Credential | undefined> {
    if (hint.kind === 'none') return { kind: 'none' };
    return hint.path === undefined ? undefined : { kind: 'key-file', path: hint.path };
  }

  async generateKeyFile(): Promise<void> {}

  async listenNbd(address: { kind: string; path?: string }): Promise<NbdListener> {
    this.#fault('listenNbd');
    const token = this.#take('listener');
    const names = new Set<string>();
    return {
      address: address.path ?? '127.0.0.1:1',
      add: (name) => void names.add(name),
      remove: async (name) => void names.delete(name),
      usesTls: false,
      reloadTls: () => undefined,
      close: async () => void this.open.delete(token),
    };
  }

  async mounts(): ReturnType<Parts['mounts']> {
    return {
      requireDirectory: async () => this.#fault('requireDirectory'),
      mount: async ({ name, directory }) => {
        this.#fault('mount');
        this.mounted.set(name, directory);
        return { name, directory, via: 'fuse', device: '/dev/loop0', fileSystem: 'ext4', notes: [] };
      },
      freeze: async (directory) => {
        this.frozen.push(directory);
        return { thaw: async () => this.frozen.pop() === directory };
      },
      unmount: async (name) => {
        const directory = this.mounted.get(name);
        if (directory === undefined) throw new CaissonError('invalid', 'mount-missing', 'not mounted');
        this.#fault('unmount');
        this.mounted.delete(name);
        return { name, directory, notes: [] };
      },
    };
  }

  async sealer(): Promise<{ name: string; reason: string }> {
    return { name: 'none', reason: 'a test' };
  }

  #volume(id: string, stored: StoredVolume, readOnly: boolean): Volume {
    const token = this.#take('volume');
    const device = new MemoryDevice(stored.size, { readOnly });
    const addKey = async (source: KeySource, slot = stored.slots.size): Promise<KeySlotInfo> => {
      const info = { slot, kind: source.kind, description: source.describe };
      stored.slots.set(slot, { info, secret: await secretOf(source) });
      return info;
    };
    const counts = {
      reads: 1,
      writes: 2,
      flushes: 3,
      trims: 4,
      bytesRead: 5,
      bytesWritten: 6,
      bytesSealed: 7,
      syncs: 8,
    };
    const more = {
      checkpoints: 9,
      anchorAdvances: 10,
      mapBytesResident: 11,
      mapLeavesLoaded: 12,
      unanchoredRecords: 13,
    };
    return Object.assign(device, {
      id,
      info: () => ({ ...this.#info(id), readOnly }),
      stats: () => ({ ...counts, ...more }),
      checkpoint: async () => undefined,
      housekeeping: () => ({ ...fakeHousekeeping }),
      clean: async () => ({ segmentsCleaned: 0, cleanedBytes: 0, copiedBytes: 0, orphansRemoved: 0, findings: [] }),
      rekey: async () => undefined,
      finishRekey: async () => undefined,
      snapshot: async (name: string) => {
        this.#fault('snapshot');
        if (stored.snapshots.some((other) => other.name === name))
          throw new CaissonError('invalid', 'snapshot-exists', 'taken');
        const number = ++this.#count;
        const common = { id: number.toString(16).padStart(32, 'a'), name, time: number };
        const taken = { ...common, manifestNumber: number, manifestDigest: '00', clones: [] };
        stored.snapshots.push(taken);
        return taken;
      },
      removeSnapshot: async (name: string) => {
        const found = findSnapshot(stored, name);
        if (found.clones.length > 0) throw new CaissonError('invalid', 'snapshot-needed', 'a clone starts from it');
        stored.snapshots.splice(stored.snapshots.indexOf(found), 1);
      },
      snapshots: () => [...stored.snapshots],
      releaseGoneClones: async () => {
        for (const [index, taken] of stored.snapshots.entries())
          stored.snapshots[index] = { ...taken, clones: taken.clones.filter((clone) => this.volumes.has(clone)) };
      },
      clone: async ({ keySource, snapshot, isolate }: CloneOptions) => {
        const from = snapshot === undefined ? undefined : findSnapshot(stored, snapshot);
        const parent = { volumeId: id, manifestNumber: from?.manifestNumber ?? 1, manifestDigest: '00' };
        const cloneId = await this.#store({ ...stored.options, size: stored.size, keySource }, parent);
        stored.clones.push(cloneId);
        if (from !== undefined) {
          const named = { ...from, clones: [...from.clones, cloneId] };
          stored.snapshots.splice(stored.snapshots.indexOf(from), 1, named);
        }
        this.isolated.set(cloneId, isolate ?? true);
        return this.#info(cloneId);
      },
      move: async (target: Store, options: MoveOptions = {}) => {
        this.#fault('move');
        await options.onSwitched?.();
        const { keepSource = false } = options;
        const counts = { objectsCopied: 2, bytesCopied: 8192, objectsPresent: 1, passes: 1, heldMilliseconds: 1 };
        return { store: target.url, ...counts, removedObjects: keepSource ? 0 : 3, sourceRemains: keepSource };
      },
      mintCapability: (epoch: number, grant: CapabilityGrant) => mintCapability(fakeVolumeKey, epoch, grant),
      restore: async (name: string) => {
        findSnapshot(stored, name);
        this.restored.push(name);
      },
      addKey,
      removeKey: async (slot: number) => void stored.slots.delete(slot),
      changeKey: async (slot: number, source: KeySource) => addKey(source, slot),
      close: async () => {
        this.#fault('closeVolume');
        stored.size = device.size;
        stored.isOpen = false;
        this.open.delete(token);
      },
    });
  }

  #info(id: string): VolumeInfo {
    const stored = this.#stored(id);
    return {
      volumeId: id,
      formatVersion: 1,
      protection: stored.options.protection,
      epoch: 1,
      manifestNumber: 1,
      manifestDigest: '00',
      writerKey: '00',
      objectCount: 0,
      objectBytes: 0,
      keySlots: [...stored.slots.values()].map(({ info }) => info),
      size: stored.size,
      durability: stored.options.durability,
      readOnly: false,
      latched: undefined,
      sealer: 'none',
      spoolBytes: 0,
      anchoredSequence: 0,
      sequence: 0,
      keyEpoch: 1,
      recovery: { clean: true, segmentCount: 0, recordCount: 0, bytes: 0, tornBytes: 0, milliseconds: 0 },
    };
  }

  async #store(options: CreateOptions, parent: InspectedVolume['parent']): Promise<string> {
    const id = (++this.#count).toString(16).padStart(32, '0');
    const info = { slot: 0, kind: options.keySource.kind, description: options.keySource.describe };
    const slots = new Map([[0, { info, secret: await secretOf(options.keySource) }]]);
    const none = { snapshots: [], clones: [], isOpen: false, isErased: false };
    this.volumes.set(id, { options, size: options.size, slots, parent, ...none });
    return id;
  }

  #stored(id: string): StoredVolume {
    const stored = this.volumes.get(id);
    if (stored === undefined) throw new CaissonError('invalid', 'volume-missing', 'no such volume');
    return stored;
  }

  #take(kind: string): string {
    const token = `${kind} ${++this.#count}`;
    this.open.add(token);
    return token;
  }

  #fault(call: string): void {
    const error = this.faults.get(call);
    this.faults.delete(call);
    if (error !== undefined) throw error;
  }
}

async function secretOf(source: KeySource): Promise<string> {
  return Buffer.from(await source.derive(new Uint8Array(0), { volumeId: new Uint8Array(16) })).toString('hex');
}

const fakeHousekeeping = {
  liveBytes: 14,
  deadBytes: 15,
  pinnedBytes: 16,
  cleanedBytes: 17,
  copiedBytes: 18,
  segmentsCleaned: 19,
  rekey: undefined,
};

async function unlock(stored: StoredVolume, keySource: KeySource): Promise<void> {
  if (stored.isErased) throw new CaissonError('denied', 'volume-erased', 'its keys are destroyed');
  const secret = await secretOf(keySource);
  if ([...stored.slots.values()].some((slot) => slot.secret === secret)) return;
  throw new CaissonError('denied', 'key-wrong', 'no key slot opens with this');
}

function findSnapshot(stored: StoredVolume, name: string): SnapshotInfo {
  const found = stored.snapshots.find((snapshot) => snapshot.name === name || snapshot.id === name);
  if (found === undefined) throw new CaissonError('invalid', 'snapshot-missing', 'no such snapshot');
  return found;
}

function receiptOf(volumeId: string): EraseReceipt {
  const numbers = { manifestNumber: 2, epoch: 3, time: 4, removedObjects: 0 };
  return { volumeId, ...numbers, manifestDigest: '22', writerKey: '33', manifest: Uint8Array.of(1, 2, 3) };
}
