/**
 * A store in which a volume can be made and filled without existing: its head stays in memory until it is
 * revealed. A volume exists by its head alone, so whatever interrupts the work before leaves objects that
 * nothing names, and nobody can take half a volume for a whole one.
 */
import { assert } from '../lib/assert.ts';
import { CaissonError } from '../lib/errors.ts';
import { parseKey } from '../store/paths.ts';
import type { ObjectInfo, ObjectReader, SpoolArea, Store, VersionedObject, WriterLock } from '../store/store.ts';
import { swapExact } from './swap-exact.ts';

export class WithheldHeadStore implements Store {
  readonly #store: Store;
  #withheld: { readonly key: string; readonly bytes: Uint8Array; readonly version: string } | undefined;
  #swapCount = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  get url(): string {
    return this.#store.url;
  }

  get isRemote(): boolean {
    return this.#store.isRemote;
  }

  /** The volume exists from here on. */
  async reveal(): Promise<void> {
    assert(this.#withheld !== undefined, 'a head was made');
    const { key, bytes } = this.#withheld;
    await swapExact(this.#store, key, null, bytes);
  }

  async getVersioned(key: string, bytesMax: number): Promise<VersionedObject> {
    if (!isHead(key)) return this.#store.getVersioned(key, bytesMax);
    const { bytes, version } = this.#found(key);
    return { bytes: Uint8Array.from(bytes), version };
  }

  async swap(key: string, expectedVersion: string | null, bytes: Uint8Array): Promise<string> {
    if (!isHead(key)) return this.#store.swap(key, expectedVersion, bytes);
    const held = this.#withheld?.key === key ? this.#withheld.version : null;
    if (held !== expectedVersion) throw new CaissonError('transient', 'object-changed', `${key} is not as expected`);
    const version = `withheld-${++this.#swapCount}`;
    this.#withheld = { key, bytes: Uint8Array.from(bytes), version };
    return version;
  }

  async version(key: string): Promise<string> {
    return isHead(key) ? this.#found(key).version : this.#store.version(key);
  }

  get(key: string, bytesMax: number): Promise<Uint8Array> {
    return this.#store.get(key, bytesMax);
  }

  stat(key: string): Promise<ObjectInfo> {
    return this.#store.stat(key);
  }

  open(key: string): Promise<ObjectReader> {
    return this.#store.open(key);
  }

  create(key: string, bytes: Uint8Array): Promise<void> {
    return this.#store.create(key, bytes);
  }

  list(prefix: string): AsyncIterable<ObjectInfo> {
    return this.#store.list(prefix);
  }

  remove(key: string): Promise<void> {
    return this.#store.remove(key);
  }

  spool(volumePrefix: string): Promise<SpoolArea> {
    return this.#store.spool(volumePrefix);
  }

  lock(volumePrefix: string): Promise<WriterLock> {
    return this.#store.lock(volumePrefix);
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  #found(key: string): { readonly bytes: Uint8Array; readonly version: string } {
    if (this.#withheld?.key === key) return this.#withheld;
    throw new CaissonError('invalid', 'object-missing', `${key} does not exist`);
  }
}

function isHead(key: string): boolean {
  return parseKey(key)?.kind === 'head';
}
