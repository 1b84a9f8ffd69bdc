/** Small files of the broker's state folder: written whole and durable or not at all, never over another. */
import fs from 'node:fs';
import { dirname } from 'node:path';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { configurationBytesMax } from '../../lib/limits.ts';

/** The text of a file, or undefined where there is none. */
export function readPrivateFile(path: string): string | undefined {
  try {
    const { size } = fs.statSync(path);
    if (size > configurationBytesMax) throw new Error(`it is larger than ${configurationBytesMax} bytes`);
    return fs.readFileSync(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw unusable('read', path, error);
  }
}

export function writePrivateFile(path: string, text: string, mode: number): void {
  const draft = `${path}.new`;
  try {
    fs.rmSync(draft, { force: true });
    const descriptor = fs.openSync(draft, 'wx', mode);
    try {
      fs.writeFileSync(descriptor, text);
      fs.fsyncSync(descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
    fs.renameSync(draft, path);
    syncFolder(dirname(path));
  } catch (error) {
    throw unusable('write', path, error);
  }
}

export function makePrivateFolder(path: string): void {
  try {
    fs.mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unusable('make', path, error);
  }
}

function syncFolder(path: string): void {
  const descriptor = fs.openSync(path, 'r');
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function unusable(what: string, path: string, cause: unknown): CaissonError {
  return new CaissonError('io', 'configuration-invalid', `cannot ${what} ${path}: ${messageOf(cause)}`, {
    remedy: 'Give a folder that this user may write to, with --state or "state" in the configuration.',
    details: { path },
    cause,
  });
}
