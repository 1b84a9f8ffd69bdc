/**
 * Caisson's own small files (names of volumes, process notes): read within a bound, replaced whole
 * and durably. A reader sees the old file or the new one, never a mixture, also after a power loss:
 * write beside it, fsync, rename, fsync the folder. Files are 0600, folders 0700.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { CaissonError } from '../lib/errors.ts';
import { errnoOf, fileError } from '../store/file-errors.ts';

/** undefined when there is no such file. */
export function readSmallFile(file: string, bytesMax: number): string | undefined {
  try {
    const size = fs.statSync(file).size;
    if (size > bytesMax) {
      throw new CaissonError('invalid', 'limit-exceeded', `${file} holds ${size} bytes; at most ${bytesMax} are read`);
    }
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof CaissonError) throw error;
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw fileError(error, 'read', file);
  }
}

export function replaceSmallFile(file: string, text: string): void {
  const folder = path.dirname(file);
  const temporary = `${file}.${randomBytes(6).toString('hex')}`;
  try {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    const descriptor = fs.openSync(temporary, 'wx', 0o600);
    try {
      fs.writeFileSync(descriptor, text);
      fs.fsyncSync(descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
    fs.renameSync(temporary, file);
    syncFolder(folder);
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw fileError(error, 'write', file);
  }
}

/** A folder of our own: created 0700; one that others may write to is refused. */
export function makePrivateFolder(folder: string): void {
  try {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw fileError(error, 'create', folder);
  }
  const found = fs.statSync(folder);
  const isForeign = process.getuid !== undefined && found.uid !== process.getuid();
  if (!isForeign && (found.mode & 0o022) === 0) return;
  throw new CaissonError('denied', 'permission-missing', `${folder} can be changed by another user`, {
    remedy: `Make it yours alone: chown and "chmod 700 ${folder}".`,
    details: { path: folder, mode: (found.mode & 0o777).toString(8) },
  });
}

function syncFolder(folder: string): void {
  const descriptor = fs.openSync(folder, 'r');
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}
