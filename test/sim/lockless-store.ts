/** A store whose lock locks nobody out: what is left of it on a file system without working locks. */
import type { ObjectInfo, ObjectReader, SpoolArea, Store, VersionedObject, WriterLock } from '../../src/store/store.ts';

/** Hands every call on; for wrappers that change one of them. */
export class StoreDecorator implements Store {
  protected readonly inner: Store;

  constructor(inner: Store) {
    this.inner = inner;
  }

  get isRemote(): boolean {
    return this.inner.isRemote;
  }

  get url(): string {
    return this.inner.url;
  }

  get(key: string, bytesMax: number): Promise<Uint8Array> {
    return this.inner.get(key, bytesMax);
  }

  stat(key: string): Promise<ObjectInfo> {
    return this.inner.stat(key);
  }

  open(key: string): Promise<ObjectReader> {
    return this.inner.open(key);
  }

  create(key: string, bytes: Uint8Array): Promise<void> {
    return this.inner.create(key, bytes);
  }

  getVersioned(key: string, bytesMax: number): Promise<VersionedObject> {
    return this.inner.getVersioned(key, bytesMax);
  }

  swap(key: string, expectedVersion: string | null, bytes: Uint8Array): Promise<string> {
    return this.inner.swap(key, expectedVersion, bytes);
  }

  version(key: string): Promise<string> {
    return this.inner.version(key);
  }

  list(prefix: string): AsyncIterable<ObjectInfo> {
    return this.inner.list(prefix);
  }

  remove(key: string): Promise<void> {
    return this.inner.remove(key);
  }

  spool(volumePrefix: string): Promise<SpoolArea> {
    return this.inner.spool(volumePrefix);
  }

  lock(volumePrefix: string): Promise<WriterLock> {
    return this.inner.lock(volumePrefix);
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}

export class LocklessStore extends StoreDecorator {
  override async lock(): Promise<WriterLock> {
    return { release: async () => undefined };
  }
}
