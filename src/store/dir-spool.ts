/**
 * The spool of one volume in a directory store: `<volume>/spool/<name>`. Publishing is a hard link,
 * so that a segment is written once and never copied.
 */
import { isCaissonError } from '../lib/errors.ts';
import type { Region } from '../lib/region.ts';
import { FileReader } from './file-reader.ts';
import type { FileHandle, FileSystem } from './file-system.ts';
import { checkKey, checkSpoolName } from './paths.ts';
import type { ObjectInfo, ObjectReader, SpoolArea, SpoolFile } from './store.ts';

/** What the directory store does for its spool: a durable name in a folder that may have to be made. */
export type InFolderOf = <T>(path: string, operation: () => Promise<T>) => Promise<T>;

export class DirSpool implements SpoolArea {
  readonly #fileSystem: FileSystem;
  readonly #root: string;
  readonly #folder: string;
  readonly #inFolderOf: InFolderOf;

  constructor(fileSystem: FileSystem, storeRoot: string, volumePrefix: string, inFolderOf: InFolderOf) {
    this.#fileSystem = fileSystem;
    this.#root = storeRoot;
    this.#folder = `${storeRoot}/${volumePrefix}spool`;
    this.#inFolderOf = inFolderOf;
  }

  async create(name: string): Promise<SpoolFile> {
    const path = this.#path(name);
    const file = await this.#inFolderOf(path, () => this.#fileSystem.open(path, 'exclusive'));
    return new DirSpoolFile(name, file, () => this.#fileSystem.syncDirectory(this.#folder));
  }

  async list(): Promise<ObjectInfo[]> {
    const found: ObjectInfo[] = [];
    for (const name of await this.#fileSystem.list(this.#folder)) {
      try {
        found.push({ key: name, size: (await this.#fileSystem.stat(`${this.#folder}/${name}`)).size });
      } catch (error) {
        if (!isCaissonError(error, 'object-missing')) throw error; // removed since it was listed
      }
    }
    return found;
  }

  async open(name: string): Promise<ObjectReader> {
    const file = await this.#fileSystem.open(this.#path(name), 'read');
    return new FileReader(`spool/${name}`, await file.size(), file, true);
  }

  async publish(name: string, key: string): Promise<void> {
    checkKey(key);
    const from = this.#path(name);
    const to = `${this.#root}/${key}`;
    await this.#syncFile(from);
    await this.#inFolderOf(to, () => this.#linkOnce(from, to));
    await this.#fileSystem.syncDirectory(to.substring(0, to.lastIndexOf('/')));
  }

  async remove(name: string): Promise<void> {
    await this.#fileSystem.unlink(this.#path(name));
  }

  /** A sync through any descriptor covers the whole file, also what a process wrote that is gone. */
  async #syncFile(path: string): Promise<void> {
    const file = await this.#fileSystem.open(path, 'read');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async #linkOnce(from: string, to: string): Promise<void> {
    try {
      await this.#fileSystem.link(from, to);
    } catch (error) {
      if (!isCaissonError(error, 'object-exists')) throw error;
      const [ours, theirs] = [await this.#fileSystem.stat(from), await this.#fileSystem.stat(to)];
      if (ours.identity !== theirs.identity) throw error;
    }
  }

  #path(name: string): string {
    checkSpoolName(name);
    return `${this.#folder}/${name}`;
  }
}

class DirSpoolFile implements SpoolFile {
  readonly reader: ObjectReader;
  readonly #file: FileHandle;
  readonly #syncFolder: () => Promise<void>;
  /** Kept when it fails, too: a failed sync is never tried again, since the second answer would be worthless. */
  #nameSynced: Promise<void> | undefined;

  constructor(name: string, file: FileHandle, syncFolder: () => Promise<void>) {
    this.#file = file;
    this.#syncFolder = syncFolder;
    this.reader = new FileReader(`spool/${name}`, 0, file, false);
  }

  write(position: number, source: Region, sourceOffset: number, length: number): Promise<void> {
    return this.#file.write(position, length, source, sourceOffset);
  }

  writeNow(position: number, source: Region, sourceOffset: number, length: number): void {
    this.#file.writeNow(position, length, source, sourceOffset);
  }

  truncate(length: number): Promise<void> {
    return this.#file.truncate(length);
  }

  async sync(): Promise<void> {
    await this.#file.sync();
    this.#nameSynced ??= this.#syncFolder();
    await this.#nameSynced;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
