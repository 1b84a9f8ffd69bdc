/**
 * The marker file that tells a Caisson store from any other folder, and the rules of opening one:
 * a folder is never taken over, and a missing or unknown state is never treated as an empty store.
 */
import { isCaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import type { FileSystem } from './file-system.ts';
import { markerName } from './paths.ts';
import { checkMarker, foreignStore, markerBytesMax, markerText, missingStore } from './store-marker.ts';

/** Written and renamed into place; left behind only by a crash during creation. */
const markerDraftName = `${markerName}.new`;

/** What a fresh file system or an interrupted creation leaves in a folder that is otherwise empty. */
const namesInEmptyFolder: ReadonlySet<string> = new Set(['lost+found', markerDraftName]);

/** Makes sure that `root` is a store of this version; creates it when `create` allows and the folder is empty or missing. */
export async function openMarker(fileSystem: FileSystem, root: string, create: boolean): Promise<void> {
  const bytes = await readMarker(fileSystem, root);
  if (bytes !== undefined) return checkMarker(root, bytes);
  await checkEmpty(fileSystem, root);
  if (!create) throw missingStore(root);
  await writeMarker(fileSystem, root);
}

async function readMarker(fileSystem: FileSystem, root: string): Promise<Uint8Array | undefined> {
  try {
    return await fileSystem.readFile(`${root}/${markerName}`, markerBytesMax);
  } catch (error) {
    if (isCaissonError(error, 'object-missing')) return undefined;
    if (isCaissonError(error, 'object-too-large')) throw foreignStore(root);
    throw error;
  }
}

async function checkEmpty(fileSystem: FileSystem, root: string): Promise<void> {
  const names = await fileSystem.list(root);
  if (names.some((name) => !namesInEmptyFolder.has(name))) throw foreignStore(root);
}

async function writeMarker(fileSystem: FileSystem, root: string): Promise<void> {
  const draft = `${root}/${markerDraftName}`;
  await fileSystem.makeDirectory(root);
  await fileSystem.unlink(draft);
  const file = await fileSystem.open(draft, 'exclusive');
  try {
    await file.write(0, markerText.length, Region.from(new TextEncoder().encode(markerText)), 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await fileSystem.rename(draft, `${root}/${markerName}`);
  await fileSystem.syncDirectory(root);
}
