/**
 * Where a remote store keeps what must be on this machine: the spools of its volumes and the locks of
 * their writers, in the layout of a directory store (`<volume>/spool/<name>`, `<volume>/lock`).
 *
 * Invariant: nothing here is removed but by its owner's `remove`; a spool file may be the only copy
 * of acknowledged data.
 */
import { isCaissonError } from '../lib/errors.ts';
import { storeFolderAttemptsMax } from '../lib/limits.ts';
import { DirSpool } from './dir-spool.ts';
import { openElsewhere } from './file-errors.ts';
import type { FileLock, FileSystem } from './file-system.ts';
import { checkKey, checkVolumePrefix } from './paths.ts';
import type { ObjectInfo, ObjectReader, SpoolArea, SpoolFile, WriterLock } from './store.ts';

/** Makes the whole of `file` the object `key`, or finds that it is already. */
export type UploadFile = (key: string, file: ObjectReader) => Promise<void>;

export class LocalSpool {
  readonly #fileSystem: FileSystem;
  readonly #root: string;

  /** `root` belongs to one store alone. */
  constructor(fileSystem: FileSystem, root: string) {
    this.#fileSystem = fileSystem;
    this.#root = root;
  }

  area(volumePrefix: string, upload: UploadFile): SpoolArea {
    checkVolumePrefix(volumePrefix);
    const spool = new DirSpool(this.#fileSystem, this.#root, volumePrefix, (path, operation) =>
      this.#inFolderOf(path, operation),
    );
    return new RemoteSpool(spool, upload);
  }

  async lock(volumePrefix: string): Promise<WriterLock> {
    checkVolumePrefix(volumePrefix);
    const path = `${this.#root}/${volumePrefix}lock`;
    const lock = await this.#inFolderOf(path, () => this.#fileSystem.lock(path));
    if (lock === undefined) throw openElsewhere(path);
    let released: Promise<void> | undefined;
    return { release: () => (released ??= this.#unlock(`${this.#root}/${volumePrefix}`, path, lock)) };
  }

  /** The last one to leave a volume without spool files takes its folder along. */
  async #unlock(folder: string, path: string, lock: FileLock): Promise<void> {
    try {
      await this.#fileSystem.removeDirectory(`${folder}spool`);
      if ((await this.#fileSystem.list(folder)).every((name) => name === 'lock')) {
        await this.#fileSystem.unlink(path);
        await this.#fileSystem.removeDirectory(folder.replace(/\/$/, ''));
      }
    } finally {
      await lock.release();
    }
  }

  /** Somebody else who leaves may remove the folder in between. */
  async #inFolderOf<T>(path: string, operation: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      await this.#fileSystem.makeDirectory(path.substring(0, path.lastIndexOf('/')));
      try {
        return await operation();
      } catch (error) {
        if (!isCaissonError(error, 'object-missing') || attempt === storeFolderAttemptsMax) throw error;
      }
    }
  }
}

class RemoteSpool implements SpoolArea {
  readonly #files: DirSpool;
  readonly #upload: UploadFile;

  constructor(files: DirSpool, upload: UploadFile) {
    this.#files = files;
    this.#upload = upload;
  }

  create(name: string): Promise<SpoolFile> {
    return this.#files.create(name);
  }

  list(): Promise<ObjectInfo[]> {
    return this.#files.list();
  }

  open(name: string): Promise<ObjectReader> {
    return this.#files.open(name);
  }

  async publish(name: string, key: string): Promise<void> {
    checkKey(key);
    const file = await this.#files.open(name);
    try {
      await this.#upload(key, file);
    } finally {
      await file.close();
    }
  }

  remove(name: string): Promise<void> {
    return this.#files.remove(name);
  }
}
