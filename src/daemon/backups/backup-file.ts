/**
 * Where a backup goes: a file that has its name only once it is whole and durable, or standard output.
 */
import fs from 'node:fs';
import { dirname } from 'node:path';
import type { BackupSink } from '../../backup/exporter.ts';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { fileError } from '../../store/file-errors.ts';

/** `write` gets the sink; what it made is kept only when it resolves. */
export async function intoBackup<Value>(path: string, write: (sink: BackupSink) => Promise<Value>): Promise<Value> {
  return path === '-' ? write(standardOutput) : intoFile(path, write);
}

const standardOutput: BackupSink = (bytes) =>
  new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => (error instanceof Error ? reject(readerGone(error)) : resolve()));
  });

async function intoFile<Value>(path: string, write: (sink: BackupSink) => Promise<Value>): Promise<Value> {
  const partial = `${path}.partial`;
  if (fs.existsSync(path)) throw taken(path);
  let handle: fs.promises.FileHandle;
  try {
    handle = await fs.promises.open(partial, 'w', 0o600);
  } catch (error) {
    throw fileError(error, 'create', partial);
  }
  try {
    const value = await write(async (bytes) => {
      await handle.writeFile(bytes).catch((error: unknown) => {
        throw fileError(error, 'write', partial);
      });
    });
    await handle.sync();
    await handle.close();
    // A link, not a rename: it never replaces what somebody put there meanwhile.
    await fs.promises.link(partial, path);
    await fs.promises.unlink(partial);
    await syncFolder(dirname(path));
    return value;
  } catch (error) {
    await handle.close().catch(() => undefined);
    await fs.promises.unlink(partial).catch(() => undefined); // the first error counts
    if (error instanceof CaissonError) throw error;
    throw fileError(error, 'write', path);
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await fs.promises.open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function taken(path: string): CaissonError {
  return new CaissonError('invalid', 'object-exists', `${path} already exists`, {
    remedy: 'Choose another name; a backup never replaces a file.',
    details: { path },
  });
}

function readerGone(error: Error): CaissonError {
  return new CaissonError('io', 'store-io', `whoever read the backup has gone: ${messageOf(error)}`, {
    remedy: 'Look at what the other end of the pipe said, and repeat the export.',
    cause: error,
  });
}
