/**
 * Files that are not files: attributes of the kernel and of library operating systems, where one write is one request and a
 * read its answer. Small, bounded, never created by us except as the kernel wants it (a folder for each request).
 */
import { constants, mkdir, open, rmdir } from 'node:fs/promises';
import { CaissonError, messageOf } from '../lib/errors.ts';
import type { ErrorKind } from '../lib/errors.ts';
import { evidencePartBytesMax } from '../lib/limits.ts';
import { evidenceMissing } from './evidence-source.ts';

export interface ReportFiles {
  makeFolder(path: string): Promise<void>;
  /** The kernel removes the attributes with the folder. */
  removeFolder(path: string): Promise<void>;
  /** The whole content; undefined where there is no such file. */
  read(path: string): Promise<Uint8Array | undefined>;
  /** As one write of everything. */
  write(path: string, bytes: Uint8Array): Promise<void>;
}

export const nodeReportFiles: ReportFiles = {
  makeFolder: async (path) => {
    await naming(path, mkdir(path));
  },
  removeFolder: async (path) => {
    await naming(path, rmdir(path));
  },
  read: async (path) => {
    try {
      return await readAll(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error instanceof CaissonError ? error : fileFailed(path, error);
    }
  },
  write: async (path, bytes) => {
    await naming(path, writeOnce(path, bytes));
  },
};

async function readAll(path: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(evidencePartBytesMax + 1);
  const file = await open(path, 'r');
  try {
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length, null);
      if (bytesRead === 0) return Uint8Array.from(bytes.subarray(0, length));
      length += bytesRead;
    }
  } finally {
    await file.close();
  }
  throw evidenceMissing(`${path} has more than ${evidencePartBytesMax} bytes`, 'Nothing genuine is that long.');
}

async function writeOnce(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, constants.O_WRONLY);
  let bytesWritten: number;
  try {
    ({ bytesWritten } = await file.write(bytes, 0, bytes.length, null));
  } finally {
    await file.close(); // the kernel takes the request when the file closes
  }
  if (bytesWritten !== bytes.length) throw new Error(`only ${bytesWritten} of ${bytes.length} bytes were taken`);
}

async function naming<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw fileFailed(path, error);
  }
}

const faults: Readonly<Record<string, readonly [kind: ErrorKind, remedy: string]>> = {
  EACCES: ['denied', 'Run as root, or let this user write there.'],
  EPERM: ['denied', 'Run as root, or let this user write there.'],
  EFBIG: ['io', 'The report is larger than this kernel hands out: use a newer one.'],
  E2BIG: ['io', 'The report is larger than this kernel hands out: use a newer one.'],
  EBUSY: ['transient', 'Try again: the hardware is busy.'],
  EAGAIN: ['transient', 'Try again: the hardware is busy.'],
  EINTR: ['transient', 'Try again: the hardware is busy.'],
  ETIMEDOUT: ['transient', 'Try again: the hardware is busy.'],
};

export function fileFailed(path: string, error: unknown): CaissonError {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const [kind, remedy] = faults[code] ?? ['io', 'Check that the drivers of this confidential machine are loaded.'];
  return evidenceMissing(`${path}: ${messageOf(error)}`, remedy, error, kind);
}
