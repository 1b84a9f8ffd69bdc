/**
 * FileSystem: the disk as the directory store sees it, so that the simulator can put its own
 * underneath. Only `node-file-system.ts` touches node:fs. Semantics are POSIX, reduced to what the
 * store needs; paths are absolute. Failures are CaissonError of kind `io`, `full`, `invalid`.
 *
 * Durability: bytes are durable after `FileHandle.sync` (fdatasync); names (create, link, rename,
 * unlink, mkdir) are durable after `syncDirectory` of the folder that holds them.
 */
import type { Region } from '../lib/region.ts';

export interface FileHandle {
  /** Bytes; of a block device, those of the device. */
  size(): Promise<number>;
  /** Positional read of exactly `length` bytes; returns the count actually there when the file is shorter. */
  read(position: number, length: number, target: Region, targetOffset: number): Promise<number>;
  /** As `read`, only if no waiting is needed; -1 when it would wait (or the system cannot tell). */
  readNow(position: number, length: number, target: Region, targetOffset: number): number;
  write(position: number, length: number, source: Region, sourceOffset: number): Promise<void>;
  writeNow(position: number, length: number, source: Region, sourceOffset: number): void;
  /** Cuts what lies beyond `length`; durable after `sync`. */
  truncate(length: number): Promise<void>;
  sync(): Promise<void>;
  /**
   * A cheap test whether the path still names this file and nothing wrote to it since the call; undefined
   * where that takes a read (network file systems, whose metadata may be old). An open file's number is
   * not given to another, so equal identity means equal bytes as long as writers replace the file.
   */
  watch(): Promise<(() => boolean) | undefined>;
  /**
   * The range is not needed any more: a device may forget it, a file becomes a hole there; it reads as zeroes or as before.
   * False where that is not possible, now and later.
   */
  discard(position: number, length: number): Promise<boolean>;
  close(): Promise<void>;
}

export interface FileLock {
  release(): Promise<void>;
}

export interface FileSystem {
  /**
   * `exclusive` creates a new file (`object-exists`); `read` and `update` (read and write) open an existing one (`object-missing`).
   * A block device can be opened, too; `update` claims it, so that it cannot be mounted meanwhile.
   */
  open(path: string, mode: 'exclusive' | 'read' | 'update'): Promise<FileHandle>;
  /** Whole small file; `object-missing`, `object-too-large`. */
  readFile(path: string, bytesMax: number): Promise<Uint8Array>;
  /** As `readFile`, done before it returns: for a few hundred bytes that are asked for often. */
  readFileNow(path: string, bytesMax: number): Uint8Array;
  /** Inode identity, size and modification time in one string, and the size. `object-missing`. */
  stat(path: string): Promise<{ readonly identity: string; readonly size: number; readonly isDirectory: boolean }>;
  /** Hard link; `object-exists` when `to` is taken. */
  link(from: string, to: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Missing is not an error. */
  unlink(path: string): Promise<void>;
  /** Names in the folder; empty when the folder is missing. */
  list(path: string): Promise<string[]>;
  /** Creates the folder and its parents, durable; existing is not an error. */
  makeDirectory(path: string): Promise<void>;
  /** Removes an empty folder; missing or not empty is not an error. */
  removeDirectory(path: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
  /** Exclusive advisory lock on `path` (created when missing), or undefined when somebody holds it. Dies with its owner. */
  lock(path: string): Promise<FileLock | undefined>;
}
