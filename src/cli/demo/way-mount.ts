/** The way of the kernel: `caisson mount`, ordinary files, `caisson umount`. Needs root. */
import fs from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { DaemonStatus, MountAnswer } from '../../admin/schema.ts';
import { CaissonError } from '../../lib/errors.ts';
import { findProgram, hasEnded, mustRunProgram } from './caisson.ts';
import { checkImage } from './image-check.ts';
import { RawVolume } from './raw-volume.ts';
import { countChanged } from './tree-check.ts';
import type { Tree } from './tree.ts';
import type { OpenedVolume, VolumeName, Way, WayContext } from './way.ts';

const bulkBytesMax = 128 * 1024 * 1024;

export function createMountWay(context: WayContext): Way {
  const { caisson } = context;
  return {
    name: 'mount',
    description: 'mounted by the kernel (FUSE and a loop device), an ext4 file system on top',
    open: (volume, isNew) => MountedVolume.open(context, volume, isNew),
    clearCrash: async (volume) => {
      await caisson.json(['umount', volume]);
    },
    checkFileSystem: async (volume) => {
      const fsck = findProgram('fsck.ext4');
      if (fsck === undefined) return 'not-run';
      const image = path.join(context.folder, 'fsck.img');
      const raw = await RawVolume.open(caisson, volume);
      try {
        await raw.copyTo(image);
      } finally {
        await raw.close();
      }
      try {
        await checkImage(fsck, image, context.folder);
      } finally {
        await fs.rm(image, { force: true });
      }
      return 'clean';
    },
  };
}

class MountedVolume implements OpenedVolume {
  readonly pid: number;
  readonly #context: WayContext;
  readonly #volume: VolumeName;
  readonly #directory: string;
  #records: FileHandle | undefined;
  #bulk: FileHandle | undefined;

  private constructor(context: WayContext, volume: VolumeName, directory: string, pid: number) {
    this.pid = pid;
    this.#context = context;
    this.#volume = volume;
    this.#directory = directory;
  }

  static async open(context: WayContext, volume: VolumeName, isNew: boolean): Promise<MountedVolume> {
    const directory = path.join(context.folder, 'mounts', volume);
    await fs.mkdir(directory, { recursive: true });
    const format = isNew ? ['--mkfs', 'ext4'] : [];
    await context.caisson.json<MountAnswer>(['mount', volume, directory, ...format]);
    const { pid } = await context.caisson.json<DaemonStatus>(['status']);
    return new MountedVolume(context, volume, directory, pid);
  }

  async putTree(): Promise<void> {
    const { tree, signal } = this.#context;
    const made = new Set<string>();
    for (const { name } of tree.files) {
      signal.throwIfAborted();
      const target = path.join(this.#directory, name);
      const folder = path.dirname(target);
      if (!made.has(folder)) await fs.mkdir(folder, { recursive: true });
      made.add(folder);
      await fs.copyFile(path.join(tree.folder, name), target);
    }
    await this.#sync();
  }

  async countChangedFiles(tree: Tree): Promise<number> {
    const { signal } = this.#context;
    return countChanged(tree, signal, ({ name }) => fs.readFile(path.join(this.#directory, name)));
  }

  async putRecord(index: number, bytes: Uint8Array): Promise<void> {
    this.#records ??= await fs.open(path.join(this.#directory, 'records'), 'w');
    await this.#records.write(bytes, 0, bytes.length, index * bytes.length);
    await this.#records.datasync();
  }

  async readRecord(index: number, length: number): Promise<Uint8Array> {
    this.#records ??= await fs.open(path.join(this.#directory, 'records'), 'r');
    const { buffer, bytesRead } = await this.#records.read(Buffer.alloc(length), 0, length, index * length);
    return buffer.subarray(0, bytesRead);
  }

  async putBulk(index: number, bytes: Uint8Array): Promise<void> {
    this.#bulk ??= await fs.open(path.join(this.#directory, 'bulk'), 'w');
    await this.#bulk.write(bytes, 0, bytes.length, (index * bytes.length) % bulkBytesMax);
  }

  /** The daemon that the mount started ends with its last volume; the next step may need its folder free. */
  async close(): Promise<void> {
    await this.abandon();
    await this.#context.caisson.json(['umount', this.#volume]);
    if (await hasEnded(this.pid)) return;
    throw new CaissonError('transient', 'timeout', 'the background daemon did not end with its last volume', {
      remedy: `End process ${this.pid} and run the demo again.`,
    });
  }

  async abandon(): Promise<void> {
    for (const handle of [this.#records, this.#bulk]) await handle?.close().catch(() => undefined);
    this.#records = undefined;
    this.#bulk = undefined;
  }

  async #sync(): Promise<void> {
    const sync = findProgram('sync');
    if (sync !== undefined) {
      await mustRunProgram(sync, ['-f', this.#directory], this.#context.folder);
      return;
    }
    for (const { name } of this.#context.tree.files) {
      const handle = await fs.open(path.join(this.#directory, name), 'r');
      await handle.sync();
      await handle.close();
    }
  }
}
