/**
 * Store: where sealed objects live. Stores know no cryptography: they hold opaque bytes under keys
 * such as `<volume id>/segments/3f/3fa9…` (made by `paths.ts` alone).
 *
 * Rules that `test/conformance/store.ts` checks for every implementation:
 * - `create` succeeds once per key, forever (`object-exists` afterwards), is durable when it resolves,
 *   and leaves nothing visible under the key when it fails before applying.
 * - `swap` changes a mutable object only if its version is still the expected one (null: it must not
 *   exist), else `object-changed`; durable when it resolves. Versions are compared as strings.
 * - A reader outlives the removal of its object, except of a remote store: there it may say `object-missing`.
 * - Reads return exactly the range asked or fail; a short object is `object-missing` (gone) or
 *   `format-invalid` (shorter than the range), never a short read.
 * - Errors of the medium are kind `io` or `transient`, of a full medium `store-full`.
 * - The bytes of a swap belong to one writer alone (a head holds a number drawn for each opening): a store
 *   whose server lost an answer recognises by them whether its swap applied.
 * - A wrapper may see "failed" although the call applied (a lost reply); callers of `create` and
 *   `swap` read back and compare before they believe they lost a race.
 */
import type { Region } from '../lib/region.ts';

export interface ObjectInfo {
  readonly key: string;
  readonly size: number; // bytes
}

export interface VersionedObject {
  readonly bytes: Uint8Array;
  readonly version: string;
}

/** Random reads of one immutable object (or of a spool file that still grows). */
export interface ObjectReader {
  /** Bytes when opened; a spool file may have grown since. */
  readonly size: number;
  /**
   * Reads if that needs no waiting (the range is cached): true when the target holds the range,
   * false when the caller must use `read`. Never blocks on a medium. Throws on a short object.
   */
  tryRead(offset: number, length: number, target: Region, targetOffset: number): boolean;
  read(offset: number, length: number, target: Region, targetOffset: number): Promise<void>;
  /**
   * Drops what a cache holds of the range; true if it held any of it, so that the next `read` may give
   * other bytes. The engine calls it when a unit does not authenticate, before it speaks of tampering.
   */
  forget?(offset: number, length: number): boolean;
  /** The range will probably be read soon. Never fails; false: too much is under way, ask again for all of it later. */
  prefetch?(offset: number, length: number): boolean;
  close(): Promise<void>;
}

/** A file of the local spool: written front to back by one owner, later published as an object. */
export interface SpoolFile {
  /** Writes `length` bytes at `position`. Several writes may be in flight; ranges never overlap. */
  write(position: number, source: Region, sourceOffset: number, length: number): Promise<void>;
  /** The same for small pieces, done before it returns. */
  writeNow(position: number, source: Region, sourceOffset: number, length: number): void;
  /** Cuts what lies beyond `length`: zeroes that were written ahead. No write may be in flight. */
  truncate(length: number): Promise<void>;
  /** Durable: every write that completed before the call, and the file's own name. */
  sync(): Promise<void>;
  readonly reader: ObjectReader;
  close(): Promise<void>;
}

/** Where a store keeps the spool of a volume: its own folder for `dir`, a local folder for remote stores. */
export interface SpoolArea {
  /** Creates a new, empty file; `object-exists` if the name is taken. */
  create(name: string): Promise<SpoolFile>;
  list(): Promise<ObjectInfo[]>; // key = name
  open(name: string): Promise<ObjectReader>;
  /** Makes the finished spool file readable as object `key`, durable when it resolves. Idempotent for the same content. */
  publish(name: string, key: string): Promise<void>;
  /** Missing is not an error. */
  remove(name: string): Promise<void>;
}

/** Exclusive ownership of a volume among the processes that share this store's machine; freed by the kernel when the owner dies. */
export interface WriterLock {
  release(): Promise<void>;
}

export interface Store {
  /** As a user would write it: `dir:/var/lib/caisson/store`. */
  readonly url: string;
  /** Objects lie beyond this machine: publishing a spool file sends its bytes away, and each call costs a round trip. */
  readonly isRemote: boolean;
  /** The whole object; `object-missing`, `object-too-large` beyond `bytesMax`. */
  get(key: string, bytesMax: number): Promise<Uint8Array>;
  stat(key: string): Promise<ObjectInfo>;
  open(key: string): Promise<ObjectReader>;
  create(key: string, bytes: Uint8Array): Promise<void>;
  getVersioned(key: string, bytesMax: number): Promise<VersionedObject>;
  swap(key: string, expectedVersion: string | null, bytes: Uint8Array): Promise<string>;
  /**
   * The version of a mutable object, as cheaply as the store can tell; equal strings mean unchanged.
   * `object-missing` when it is gone.
   */
  version(key: string): Promise<string>;
  /** Keys that start with `prefix`, in no particular order. */
  list(prefix: string): AsyncIterable<ObjectInfo>;
  /** Missing is not an error. */
  remove(key: string): Promise<void>;
  /** The spool of the volume whose keys start with `volumePrefix`. */
  spool(volumePrefix: string): Promise<SpoolArea>;
  /** Takes the lock or fails at once with `volume-open-elsewhere`. */
  lock(volumePrefix: string): Promise<WriterLock>;
  close(): Promise<void>;
}
