/**
 * A file or a block device as the source of a hashed image: only ever read, and watched for a change
 * while it is.
 */
import { constants, readFileSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { CaissonError, messageOf } from '../lib/errors.ts';
import type { Region } from '../lib/region.ts';
import { nextDataOfFile } from './seek.ts';
import type { DataStretch } from './seek.ts';

export async function openImageFile(path: string): Promise<ImageFile> {
  try {
    const before = await stat(path, { bigint: true });
    if (!before.isFile() && !before.isBlockDevice()) throw notReadable(path);
    // A block device is taken exclusively, which the kernel refuses while it is mounted.
    const flags = constants.O_RDONLY | (before.isBlockDevice() ? constants.O_EXCL : 0);
    return new ImageFile(path, await open(path, flags), before);
  } catch (error) {
    throw sourceError(path, error);
  }
}

export class ImageFile {
  readonly size: number;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #before: BigIntStats;

  constructor(path: string, file: FileHandle, before: BigIntStats) {
    this.#path = path;
    this.#file = file;
    this.#before = before;
    this.size = before.isFile() ? Number(before.size) : deviceBytes(before, path);
  }

  /** The first stretch at or behind `offset` that may hold data; undefined when only zeros follow. */
  nextData(offset: number): DataStretch | undefined {
    return nextDataOfFile(this.#file.fd, offset, this.size);
  }

  /** Fills the range or fails. */
  async read(offset: number, length: number, target: Region, targetOffset: number): Promise<void> {
    for (let done = 0; done < length;) {
      const { bytesRead } = await this.#file
        .read(target.bytes, targetOffset + done, length - done, offset + done)
        .catch((error: unknown) => {
          throw sourceError(this.#path, error);
        });
      if (bytesRead === 0) throw endedEarly(this.#path, offset + done, this.size);
      done += bytesRead;
    }
  }

  /** Of a block device nobody can tell; it was opened exclusively. */
  async checkUnchanged(): Promise<void> {
    const now = await this.#file.stat({ bigint: true });
    const { size, mtimeNs } = this.#before;
    if (!this.#before.isFile() || (now.size === size && now.mtimeNs === mtimeNs)) return;
    throw new CaissonError('invalid', 'import-source-changed', `${this.#path} was changed while it was read`, {
      remedy: 'No image was made of it. Stop whatever writes to it, and try again.',
      details: { path: this.#path },
    });
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

/** node:fs has no size for a block device; sysfs counts in sectors of 512 bytes whatever the device has. */
function deviceBytes({ rdev }: BigIntStats, path: string): number {
  const major = Number((rdev >> 8n) & 0xfffn);
  const minor = Number((rdev & 0xffn) | ((rdev >> 12n) & 0xfff00n));
  try {
    return Number(readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8')) * 512;
  } catch (error) {
    throw new CaissonError(
      'io',
      'import-source-invalid',
      `the size of ${path} cannot be found out: ${messageOf(error)}`,
      {
        remedy: 'Mount sysfs.',
        cause: error,
      },
    );
  }
}

function notReadable(path: string): CaissonError {
  return new CaissonError('invalid', 'import-source-invalid', `${path} is neither a file nor a block device`, {
    remedy: 'Give an image file, a block device or a directory; save what a pipe delivers in a file first.',
    details: { path },
  });
}

function endedEarly(path: string, at: number, size: number): CaissonError {
  return new CaissonError('io', 'import-ended-early', `${path} ended after ${at} of ${size} bytes`, {
    remedy: 'No image was made of it. Stop whatever writes to it, and try again.',
    details: { path, bytes: at, size },
  });
}

function sourceError(path: string, error: unknown): CaissonError {
  if (error instanceof CaissonError) return error;
  const { code } = error as NodeJS.ErrnoException;
  const about = { details: { path, errno: code ?? '' }, cause: error };
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const remedy = 'Check the path of the source.';
    return new CaissonError('invalid', 'import-source-missing', `there is no ${path}`, { ...about, remedy });
  }
  if (code === 'EBUSY') {
    const remedy = 'Unmount it first: what changes while it is read would be torn.';
    const message = `${path} is mounted or otherwise in use`;
    return new CaissonError('fenced', 'import-source-busy', message, { ...about, remedy });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    const remedy = 'Run the command as a user who may read it.';
    return new CaissonError('denied', 'permission-missing', `not permitted to read ${path}`, { ...about, remedy });
  }
  const remedy = 'No image was made of it. Look in the kernel log for the device.';
  return new CaissonError('io', 'store-io', `cannot read ${path}: ${messageOf(error)}`, { ...about, remedy });
}
