/**
 * A file or a block device, read as the source of an image. Never writes; keeps watch that the file is
 * the same at the end as it was at the beginning.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { CaissonError, messageOf } from '../lib/errors.ts';
import type { Region } from '../lib/region.ts';

interface Identity {
  readonly size: number;
  readonly changed: bigint; // nanoseconds
}

export async function openImageFile(path: string): Promise<ImageFile> {
  let file: FileHandle;
  try {
    // A pipe without a writer would otherwise block the opening for ever.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    return new ImageFile(path, file, await identify(path, file));
  } catch (error) {
    await file.close();
    throw error;
  }
}

export class ImageFile {
  readonly size: number;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #identity: Identity;

  constructor(path: string, file: FileHandle, identity: Identity) {
    this.#path = path;
    this.#file = file;
    this.#identity = identity;
    this.size = identity.size;
  }

  async read(offset: number, length: number, target: Region, targetOffset: number): Promise<void> {
    let done = 0;
    while (done < length) {
      const { bytesRead } = await this.#file
        .read(target.bytes, targetOffset + done, length - done, offset + done)
        .catch((error: unknown) => {
          throw unreadable(this.#path, error);
        });
      if (bytesRead === 0) throw changed(this.#path, `it ends at ${offset + done} and had ${this.size} bytes`);
      done += bytesRead;
    }
  }

  async checkUnchanged(): Promise<void> {
    const now = await identify(this.#path, this.#file);
    if (now.size !== this.#identity.size) throw changed(this.#path, `it has ${now.size} bytes and had ${this.size}`);
    if (now.changed !== this.#identity.changed) throw changed(this.#path, 'it was written to');
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

async function identify(path: string, file: FileHandle): Promise<Identity> {
  const stat = await file.stat({ bigint: true });
  if (stat.isFile()) return { size: Number(stat.size), changed: stat.mtimeNs };
  // The times of a device's node say nothing about its content.
  if (stat.isBlockDevice()) return { size: await endOf(file), changed: 0n };
  throw new CaissonError('invalid', 'argument-invalid', `${path} is neither a file nor a block device`, {
    remedy: 'Give an image file, a block device or a directory; save what a pipe delivers in a file first.',
    details: { path },
  });
}

/** Node tells no size of a block device: the end is where nothing can be read any more. */
async function endOf(file: FileHandle): Promise<number> {
  const byte = new Uint8Array(1);
  const isInside = async (offset: number): Promise<boolean> => (await file.read(byte, 0, 1, offset)).bytesRead === 1;
  if (!(await isInside(0))) return 0;
  let inside = 0;
  let outside = 512;
  while (outside < Number.MAX_SAFE_INTEGER / 2 && (await isInside(outside))) {
    inside = outside;
    outside *= 2;
  }
  while (outside - inside > 1) {
    const middle = inside + Math.floor((outside - inside) / 2);
    if (await isInside(middle)) inside = middle;
    else outside = middle;
  }
  return outside;
}

function unreadable(path: string, error: unknown): CaissonError {
  return new CaissonError('io', 'store-io', `the source ${path} cannot be read: ${messageOf(error)}`, {
    remedy: 'Check the path and the rights to it.',
    details: { path },
    cause: error,
  });
}

function changed(path: string, how: string): CaissonError {
  return new CaissonError('transient', 'source-changed', `${path} changed while it was read: ${how}`, {
    remedy: 'No image was made. Stop what writes to it, or take a copy or snapshot of it, and try again.',
    details: { path },
  });
}
