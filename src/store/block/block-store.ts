/**
 * Store on a block device, or on a file of fixed size (spec/block-store.md): a local disk, a self-encrypting drive, a LUN,
 * a namespace that the kernel reached over NVMe-oF.
 *
 * I/O is buffered, with fdatasync (which also flushes the device's own cache): sealed units are not aligned to
 * anything, reads that hit the page cache cost no wait, and direct I/O would need a buffer of its own for each.
 *
 * Invariants:
 * - The stores that a process opens on one device share one index; no other process has it open.
 * - An object becomes visible once its record is durable, and its record follows its bytes.
 */
import { CaissonError } from '../../lib/errors.ts';
import * as limits from '../../lib/limits.ts';
import { Region } from '../../lib/region.ts';
import type { FileSystem } from '../file-system.ts';
import { checkKey, checkPrefix, checkVolumePrefix } from '../paths.ts';
import type { ObjectInfo, ObjectReader, SpoolArea, Store, VersionedObject, WriterLock } from '../store.ts';
import { versionOf } from '../watched-files.ts';
import { openMedium } from './block-device-file.ts';
import type { BlockStoreOptions, LockedMedium } from './block-device-file.ts';
import { Inline, missing, recordOf, Stored } from './block-index.ts';
import type { Entry } from './block-index.ts';
import type { BlockMedium } from './block-medium.ts';
import { BlockReader, InlineReader } from './block-reader.ts';
import { BlockSpool } from './block-spool.ts';
import { inlineBytesMax } from './journal-format.ts';

interface Shared {
  readonly opening: Promise<LockedMedium>;
  userCount: number;
}

/** What this process has open, by file system and path. */
const opened = new WeakMap<FileSystem, Map<string, Shared>>();
/** Devices that are being closed; who comes meanwhile waits. */
const closing = new WeakMap<FileSystem, Map<string, Promise<void>>>();

/** `path` is absolute and names a block device or a file of fixed size. */
export async function openBlockStore(fileSystem: FileSystem, path: string, options: BlockStoreOptions): Promise<Store> {
  const devices = mapOf(opened, fileSystem);
  const ends = mapOf(closing, fileSystem);
  while (ends.has(path)) await ends.get(path);
  let shared = devices.get(path);
  if (shared === undefined)
    devices.set(path, (shared = { opening: openMedium(fileSystem, path, options), userCount: 0 }));
  const device = shared;
  device.userCount++;
  const leave = async (): Promise<void> => {
    if (--device.userCount > 0) return;
    devices.delete(path);
    const locked = await device.opening.catch(() => undefined);
    if (locked === undefined) return;
    const end = locked.close().finally(() => ends.delete(path));
    ends.set(
      path,
      end.catch(() => undefined),
    );
    await end;
  };
  try {
    return new BlockStore(path, (await device.opening).medium, leave);
  } catch (error) {
    await leave();
    throw error;
  }
}

function mapOf<Value>(maps: WeakMap<FileSystem, Map<string, Value>>, fileSystem: FileSystem): Map<string, Value> {
  let map = maps.get(fileSystem);
  if (map === undefined) maps.set(fileSystem, (map = new Map<string, Value>()));
  return map;
}

class BlockStore implements Store {
  readonly url: string;
  readonly isRemote = false;
  readonly #medium: BlockMedium;
  readonly #leave: () => Promise<void>;
  #closing: Promise<void> | undefined;

  constructor(path: string, medium: BlockMedium, leave: () => Promise<void>) {
    this.url = `block:${path}`;
    this.#medium = medium;
    this.#leave = leave;
  }

  async get(key: string, bytesMax: number): Promise<Uint8Array> {
    const entry = this.#entry(key);
    if (entry.size > bytesMax) throw tooLarge(key, entry.size, bytesMax);
    return this.#contentOf(key, entry);
  }

  async stat(key: string): Promise<ObjectInfo> {
    return { key, size: this.#entry(key).size };
  }

  async open(key: string): Promise<ObjectReader> {
    const entry = this.#entry(key);
    return entry instanceof Inline
      ? new InlineReader(key, entry.content)
      : new BlockReader(this.#medium, key, entry, true);
  }

  async create(key: string, bytes: Uint8Array): Promise<void> {
    this.#check(key);
    const content = Uint8Array.from(bytes); // the caller may use its buffer again
    await this.#medium.ordered(key, async () => {
      if (this.#medium.index.get(key) !== undefined) {
        throw new CaissonError('invalid', 'object-exists', `object ${key} already exists`, { details: { key } });
      }
      await this.#put(key, await this.#stored(content));
    });
  }

  async getVersioned(key: string, bytesMax: number): Promise<VersionedObject> {
    const bytes = await this.get(key, bytesMax);
    return { bytes, version: versionOf(bytes) };
  }

  async version(key: string): Promise<string> {
    return this.#versionOf(key, this.#entry(key));
  }

  async swap(key: string, expectedVersion: string | null, bytes: Uint8Array): Promise<string> {
    this.#check(key);
    if (bytes.length > limits.storeMutableObjectBytesMax)
      throw tooLarge(key, bytes.length, limits.storeMutableObjectBytesMax);
    const content = Uint8Array.from(bytes);
    return this.#medium.ordered(key, async () => {
      const found = this.#medium.index.get(key);
      if ((found === undefined ? null : await this.#versionOf(key, found)) !== expectedVersion) {
        throw new CaissonError('invalid', 'object-changed', `object ${key} was changed by somebody else`, {
          details: { key },
        });
      }
      await this.#put(key, content.length <= inlineBytesMax ? new Inline(content) : await this.#stored(content));
      return versionOf(content);
    });
  }

  async *list(prefix: string): AsyncIterable<ObjectInfo> {
    checkPrefix(prefix);
    this.#checkOpen();
    for (const [key, { size }] of this.#medium.index.keys(prefix)) yield { key, size };
  }

  async remove(key: string): Promise<void> {
    this.#check(key);
    await this.#medium.ordered(key, async () => {
      const { index, journal } = this.#medium;
      const entry = index.delete(key);
      if (entry === undefined) return;
      const group = {
        records: [{ kind: 'removed', key } as const],
        needsData: false,
        apply: () => this.#drop(entry),
      };
      // A head that came back after a crash would bring a removed volume back; anything else is garbage then.
      if (entry instanceof Inline || this.#medium.isShort) await journal.commit(group);
      else journal.note(group);
    });
  }

  async spool(volumePrefix: string): Promise<SpoolArea> {
    checkVolumePrefix(volumePrefix);
    this.#checkOpen();
    return new BlockSpool(this.#medium, volumePrefix.substring(0, volumePrefix.length - 1), () => this.#checkOpen());
  }

  async lock(volumePrefix: string): Promise<WriterLock> {
    checkVolumePrefix(volumePrefix);
    this.#checkOpen();
    const { lockedVolumes } = this.#medium;
    if (lockedVolumes.has(volumePrefix)) {
      throw new CaissonError('transient', 'volume-open-elsewhere', 'this process has the volume open for writing', {
        remedy: 'Close the volume there first, or open it read-only here.',
      });
    }
    lockedVolumes.add(volumePrefix);
    let isHeld = true;
    const release = async (): Promise<void> => {
      if (isHeld) lockedVolumes.delete(volumePrefix);
      isHeld = false;
    };
    return { release };
  }

  close(): Promise<void> {
    this.#closing ??= this.#leave();
    return this.#closing;
  }

  /** Makes the entry durable and visible in place of what is there. */
  async #put(key: string, entry: Entry): Promise<void> {
    const { journal, index } = this.#medium;
    try {
      await journal.commit({
        records: [recordOf(key, entry)],
        needsData: entry instanceof Stored,
        apply: () => {
          const before = index.set(key, entry);
          if (before !== undefined) this.#drop(before);
        },
      });
    } catch (error) {
      // Once the journal failed the record may be on the device all the same: its units must not go to others.
      if (journal.failure === undefined) this.#drop(entry);
      throw error;
    }
  }

  /** The content in units of its own, pinned, not yet durable. */
  async #stored(content: Uint8Array): Promise<Stored> {
    const stored = new Stored(content.length, await this.#medium.allocate(content.length));
    this.#medium.pin(stored);
    try {
      if (content.length > 0) await this.#medium.write(stored, 0, Region.from(content), 0, content.length);
      return stored;
    } catch (error) {
      this.#medium.unpin(stored);
      throw error;
    }
  }

  async #contentOf(key: string, entry: Entry): Promise<Uint8Array> {
    if (entry instanceof Inline) return Uint8Array.from(entry.content);
    if (entry.size === 0) return new Uint8Array(0);
    const reader = new BlockReader(this.#medium, key, entry, true);
    const region = new Region(entry.size);
    try {
      if (!reader.tryRead(0, region.length, region, 0)) await reader.read(0, region.length, region, 0);
    } finally {
      await reader.close();
    }
    return region.bytes;
  }

  async #versionOf(key: string, entry: Entry): Promise<string> {
    return entry instanceof Inline ? entry.version : versionOf(await this.#contentOf(key, entry));
  }

  #drop(entry: Entry): void {
    if (entry instanceof Stored) this.#medium.unpin(entry);
  }

  #entry(key: string): Entry {
    this.#check(key);
    const entry = this.#medium.index.get(key);
    if (entry === undefined) throw missing(key);
    return entry;
  }

  #check(key: string): void {
    checkKey(key);
    this.#checkOpen();
  }

  #checkOpen(): void {
    if (this.#closing !== undefined)
      throw new CaissonError('closed', 'store-closed', `the store ${this.url} was closed`);
  }
}

function tooLarge(key: string, size: number, bytesMax: number): CaissonError {
  return new CaissonError(
    'invalid',
    'object-too-large',
    `object ${key} has ${size} bytes, more than the ${bytesMax} allowed`,
    {
      details: { key, size, bytesMax },
    },
  );
}
