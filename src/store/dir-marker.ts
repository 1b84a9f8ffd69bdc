/**
 * The marker file that tells a Caisson store from any other folder, and the rules of opening one:
 * a folder is never taken over, and a missing or unknown state is never treated as an empty store.
 */
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import { Region } from '../lib/region.ts';
import type { FileSystem } from './file-system.ts';

const markerName = 'caisson-store';
/** Written and renamed into place; left behind only by a crash during creation. */
const markerDraftName = 'caisson-store.new';
const formatVersion = 1;
const markerText = `caisson store ${formatVersion}\n`;
const markerBytesMax = 4096;

/** What a fresh file system or an interrupted creation leaves in a folder that is otherwise empty. */
const namesInEmptyFolder: ReadonlySet<string> = new Set(['lost+found', markerDraftName]);

/** Makes sure that `root` is a store of this version; creates it when `create` allows and the folder is empty or missing. */
export async function openMarker(fileSystem: FileSystem, root: string, create: boolean): Promise<void> {
  const text = await readMarker(fileSystem, root);
  if (text !== undefined) return checkMarker(root, text);
  await checkEmpty(fileSystem, root);
  if (!create) {
    throw new CaissonError('invalid', 'store-missing', `there is no Caisson store in ${root}`, {
      remedy: 'Check the path; to make a new store there, create a volume with the option that creates the store.',
      details: { path: root },
    });
  }
  await writeMarker(fileSystem, root);
}

async function readMarker(fileSystem: FileSystem, root: string): Promise<string | undefined> {
  try {
    const bytes = await fileSystem.readFile(`${root}/${markerName}`, markerBytesMax);
    return new TextDecoder('latin1').decode(bytes);
  } catch (error) {
    if (isCaissonError(error, 'object-missing')) return undefined;
    if (isCaissonError(error, 'object-too-large')) throw foreign(root);
    throw error;
  }
}

function checkMarker(root: string, text: string): void {
  if (text === markerText) return;
  const version = /^caisson store ([0-9]{1,9})\n$/.exec(text)?.[1];
  if (version === undefined) throw foreign(root);
  throw new CaissonError(
    'invalid',
    'format-version',
    `${root} is a store of format ${version}, this Caisson knows format ${formatVersion}`,
    {
      remedy: 'Use the version of Caisson that wrote this store, or a newer one.',
      details: { path: root, found: Number(version), known: formatVersion },
    },
  );
}

async function checkEmpty(fileSystem: FileSystem, root: string): Promise<void> {
  const names = await fileSystem.list(root);
  if (names.some((name) => !namesInEmptyFolder.has(name))) throw foreign(root);
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

function foreign(root: string): CaissonError {
  return new CaissonError('invalid', 'store-foreign', `${root} holds files but is not a Caisson store`, {
    remedy: 'Name an empty or a new folder; Caisson never writes into a folder it did not make.',
    details: { path: root },
  });
}
