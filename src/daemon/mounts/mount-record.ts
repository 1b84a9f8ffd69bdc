/**
 * What mounting has done so far, on disk: `<state folder>/<name>.json`, written durably before and
 * after each step, so that whoever comes after a crash knows what may have happened. It holds no
 * secrets. It is advice, never proof: undoing looks at the kernel's own tables (undo-mount.ts).
 */
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { z } from 'zod';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { mountRecordBytesMax } from '../../lib/limits.ts';
import { ownerSchema } from './process-owner.ts';

const stateSchema = z.enum(['begun', 'done']);
const path = z.string().startsWith('/').max(4096);

const stepSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('fuse'), state: stateSchema, mountPoint: path }),
  z.strictObject({ kind: z.literal('loop'), state: stateSchema, file: path, device: path.nullable() }),
  z.strictObject({
    kind: z.literal('nbd'),
    state: stateSchema,
    device: path,
    socketPath: path,
    exportName: z.string(),
  }),
  z.strictObject({ kind: z.literal('file-system'), state: stateSchema, device: path, directory: path }),
]);

const recordSchema = z.strictObject({
  format: z.literal('caisson-mount'),
  version: z.literal(1),
  name: z.string(),
  directory: path,
  owner: ownerSchema,
  steps: z.array(stepSchema).max(8),
});

export type MountStep = z.output<typeof stepSchema>;
export type MountRecord = z.output<typeof recordSchema>;

/** Undefined when the volume is not mounted and left nothing behind. */
export async function readRecord(stateFolder: string, name: string): Promise<MountRecord | undefined> {
  const file = recordPath(stateFolder, name);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new CaissonError('io', 'store-io', `cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
  try {
    if (text.length > mountRecordBytesMax) throw new Error('it is too large');
    const record = recordSchema.parse(JSON.parse(text));
    if (record.name !== name) throw new Error(`it speaks of ${JSON.stringify(record.name)}`);
    return record;
  } catch (error) {
    throw new CaissonError('invalid', 'format-invalid', `${file} is not a record of a mount: ${messageOf(error)}`, {
      remedy: 'Check with "findmnt" and "losetup -a" that nothing of this volume is mounted, then delete the file.',
      cause: error,
    });
  }
}

/** Durable when it resolves; the old record stays whole until the new one is. */
export async function writeRecord(stateFolder: string, record: MountRecord): Promise<void> {
  const file = recordPath(stateFolder, record.name);
  const temporary = `${file}.new`;
  try {
    await mkdir(stateFolder, { recursive: true, mode: 0o700 });
    const handle = await open(temporary, 'w', 0o600);
    try {
      await handle.writeFile(`${JSON.stringify(record, null, 2)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    await syncFolder(stateFolder);
  } catch (error) {
    throw new CaissonError('io', 'store-io', `cannot write ${file}: ${messageOf(error)}`, {
      remedy: 'Check that the folder is writable and has room.',
      cause: error,
    });
  }
}

export async function removeRecord(stateFolder: string, name: string): Promise<void> {
  await rm(recordPath(stateFolder, name), { force: true });
  await syncFolder(stateFolder);
}

function recordPath(stateFolder: string, name: string): string {
  return `${stateFolder}/${name}.json`;
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
