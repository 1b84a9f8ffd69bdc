/**
 * Store in memory, for tests and for the simulator: nothing outlives the process. Several stores may
 * share one MemoryMedium, as several processes share a folder.
 *
 * Invariant: bytes are copied on the way in and on the way out, so that no caller holds what is stored.
 */
import { assert } from '../../src/lib/assert.ts';
import { CaissonError } from '../../src/lib/errors.ts';
import { storeMutableObjectBytesMax } from '../../src/lib/limits.ts';
import type { Region } from '../../src/lib/region.ts';
import { shortObject } from '../../src/store/file-reader.ts';
import { checkKey, checkPrefix, checkSpoolName, checkVolumePrefix } from '../../src/store/paths.ts';
import type {
  ObjectInfo,
  ObjectReader,
  SpoolArea,
  SpoolFile,
  Store,
  VersionedObject,
  WriterLock,
} from '../../src/store/store.ts';

/** The bytes of one object or spool file; grows by doubling. */
class MemoryObject {
  #bytes = new Uint8Array(0);
  size = 0;
  version = 0;

  static from(bytes: Uint8Array, version: number): MemoryObject {
    const object = new MemoryObject();
    object.#bytes = new Uint8Array(bytes);
    object.size = bytes.length;
    object.version = version;
    return object;
  }

  view(offset: number, length: number): Uint8Array {
    return this.#bytes.subarray(offset, offset + length);
  }

  truncate(length: number): void {
    this.#bytes.fill(0, length);
    this.size = Math.min(this.size, length);
  }

  write(position: number, bytes: Uint8Array): void {
    const end = position + bytes.length;
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(end, 2 * this.#bytes.length));
      grown.set(this.view(0, this.size));
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, position);
    this.size = Math.max(this.size, end);
  }
}

/** What the stores of one test share. */
export class MemoryMedium {
  readonly objects = new Map<string, MemoryObject>();
  readonly spools = new Map<string, Map<string, MemoryObject>>();
  readonly locks = new Set<string>();
  /** Never used twice, so that a removed and remade object has another version. */
  versionCount = 0;
}

export class MemoryStore implements Store {
  readonly url = 'memory:';
  readonly isRemote: boolean = false;
  readonly #medium: MemoryMedium;
  #closed = false;

  constructor(medium: MemoryMedium = new MemoryMedium()) {
    this.#medium = medium;
  }

  async get(key: string, bytesMax: number): Promise<Uint8Array> {
    const object = this.#object(key);
    if (object.size > bytesMax) throw tooLarge(key, object.size, bytesMax);
    return new Uint8Array(object.view(0, object.size));
  }

  async stat(key: string): Promise<ObjectInfo> {
    return { key, size: this.#object(key).size };
  }

  async open(key: string): Promise<ObjectReader> {
    const object = this.#object(key);
    return new MemoryReader(key, object, object.size);
  }

  async create(key: string, bytes: Uint8Array): Promise<void> {
    this.#check(key);
    if (this.#medium.objects.has(key)) throw exists(key);
    this.#medium.objects.set(key, MemoryObject.from(bytes, ++this.#medium.versionCount));
  }

  async getVersioned(key: string, bytesMax: number): Promise<VersionedObject> {
    const version = String(this.#object(key).version);
    return { bytes: await this.get(key, bytesMax), version };
  }

  async swap(key: string, expectedVersion: string | null, bytes: Uint8Array): Promise<string> {
    this.#check(key);
    if (bytes.length > storeMutableObjectBytesMax) throw tooLarge(key, bytes.length, storeMutableObjectBytesMax);
    const found = this.#medium.objects.get(key);
    const version = found === undefined ? null : String(found.version);
    if (version !== expectedVersion) {
      throw new CaissonError('invalid', 'object-changed', `object ${key} was changed by somebody else`, {
        details: { key },
      });
    }
    const next = ++this.#medium.versionCount;
    this.#medium.objects.set(key, MemoryObject.from(bytes, next));
    return String(next);
  }

  async version(key: string): Promise<string> {
    return String(this.#object(key).version);
  }

  async *list(prefix: string): AsyncIterable<ObjectInfo> {
    checkPrefix(prefix);
    this.#checkOpen();
    for (const [key, object] of [...this.#medium.objects]) {
      if (key.startsWith(prefix)) yield { key, size: object.size };
    }
  }

  async remove(key: string): Promise<void> {
    this.#check(key);
    this.#medium.objects.delete(key);
  }

  async spool(volumePrefix: string): Promise<SpoolArea> {
    checkVolumePrefix(volumePrefix);
    this.#checkOpen();
    const files = this.#medium.spools.get(volumePrefix) ?? new Map<string, MemoryObject>();
    this.#medium.spools.set(volumePrefix, files);
    return new MemorySpool(this.#medium, files);
  }

  async lock(volumePrefix: string): Promise<WriterLock> {
    checkVolumePrefix(volumePrefix);
    this.#checkOpen();
    const { locks } = this.#medium;
    if (locks.has(volumePrefix)) {
      throw new CaissonError(
        'transient',
        'volume-open-elsewhere',
        'another process on this machine has the volume open for writing',
        {
          remedy: 'Close the volume there first, or open it read-only here.',
        },
      );
    }
    locks.add(volumePrefix);
    let held = true;
    return {
      release: async () => {
        if (held) locks.delete(volumePrefix);
        held = false;
      },
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #object(key: string): MemoryObject {
    this.#check(key);
    const object = this.#medium.objects.get(key);
    if (object === undefined) throw missing(key);
    return object;
  }

  #check(key: string): void {
    checkKey(key);
    this.#checkOpen();
  }

  #checkOpen(): void {
    if (this.#closed) throw closed('the store');
  }
}

class MemorySpool implements SpoolArea {
  readonly #medium: MemoryMedium;
  readonly #files: Map<string, MemoryObject>;

  constructor(medium: MemoryMedium, files: Map<string, MemoryObject>) {
    this.#medium = medium;
    this.#files = files;
  }

  async create(name: string): Promise<SpoolFile> {
    checkSpoolName(name);
    if (this.#files.has(name)) throw exists(`spool/${name}`);
    const object = new MemoryObject();
    this.#files.set(name, object);
    return new MemorySpoolFile(name, object);
  }

  async list(): Promise<ObjectInfo[]> {
    return [...this.#files].map(([key, object]) => ({ key, size: object.size }));
  }

  async open(name: string): Promise<ObjectReader> {
    const object = this.#file(name);
    return new MemoryReader(`spool/${name}`, object, object.size);
  }

  async publish(name: string, key: string): Promise<void> {
    checkKey(key);
    const object = this.#file(name);
    const found = this.#medium.objects.get(key);
    if (found !== undefined && found !== object) throw exists(key);
    if (found === undefined) object.version = ++this.#medium.versionCount;
    this.#medium.objects.set(key, object);
  }

  async remove(name: string): Promise<void> {
    checkSpoolName(name);
    this.#files.delete(name);
  }

  #file(name: string): MemoryObject {
    checkSpoolName(name);
    const object = this.#files.get(name);
    if (object === undefined) throw missing(`spool/${name}`);
    return object;
  }
}

class MemorySpoolFile implements SpoolFile {
  readonly reader: MemoryReader;
  readonly #object: MemoryObject;
  #closed = false;

  constructor(name: string, object: MemoryObject) {
    this.#object = object;
    this.reader = new MemoryReader(`spool/${name}`, object, 0);
  }

  async write(position: number, source: Region, sourceOffset: number, length: number): Promise<void> {
    this.writeNow(position, source, sourceOffset, length);
  }

  writeNow(position: number, source: Region, sourceOffset: number, length: number): void {
    if (this.#closed) throw closed('the spool file');
    assert(
      position >= 0 && sourceOffset + length <= source.length,
      `range ${sourceOffset}+${length} of ${source.length} bytes`,
    );
    this.#object.write(position, source.bytes.subarray(sourceOffset, sourceOffset + length));
  }

  async truncate(length: number): Promise<void> {
    if (this.#closed) throw closed('the spool file');
    this.#object.truncate(length);
  }

  async sync(): Promise<void> {
    if (this.#closed) throw closed('the spool file');
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.reader.close();
  }
}

class MemoryReader implements ObjectReader {
  readonly size: number;
  readonly #name: string;
  readonly #object: MemoryObject;
  #closed = false;

  constructor(name: string, object: MemoryObject, size: number) {
    this.#name = name;
    this.#object = object;
    this.size = size;
  }

  tryRead(offset: number, length: number, target: Region, targetOffset: number): boolean {
    if (this.#closed) throw closed(this.#name);
    assert(
      offset >= 0 && targetOffset + length <= target.length,
      `range ${targetOffset}+${length} of ${target.length} bytes`,
    );
    if (offset + length > this.#object.size)
      throw shortObject(this.#name, offset, length, Math.max(0, this.#object.size - offset));
    target.bytes.set(this.#object.view(offset, length), targetOffset);
    return true;
  }

  async read(offset: number, length: number, target: Region, targetOffset: number): Promise<void> {
    this.tryRead(offset, length, target, targetOffset);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }
}

function missing(name: string): CaissonError {
  return new CaissonError('invalid', 'object-missing', `object ${name} does not exist`, { details: { key: name } });
}

function exists(name: string): CaissonError {
  return new CaissonError('invalid', 'object-exists', `object ${name} already exists`, { details: { key: name } });
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

function closed(name: string): CaissonError {
  return new CaissonError('closed', 'store-closed', `${name} was closed`);
}
