/**
 * Mounts a volume's file system on a directory, and unmounts it. The process that calls `mountVolume`
 * holds the volume and may serve its FUSE file, so nothing here touches the mounted directory except
 * through other programs or libuv's pool (sys/run-tool.ts).
 *
 * A crash at any point leaves a record (mount-record.ts) from which the next mount or unmount puts
 * things right; a mount that fails half-way is taken apart before the error is reported.
 */
import { mkdir, readdir, realpath, stat } from 'node:fs/promises';
import type { BlockDevice } from '../../export/block-device.ts';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { checkReference } from '../../lib/names.ts';
import { isMounted, mountFileSystem } from '../../sys/mount.ts';
import type { NbdConnection } from '../../sys/nbd-device.ts';
import { attachDevice } from './attach-device.ts';
import type { StepRecorder } from './attach-device.ts';
import { prepareFileSystem } from './file-system.ts';
import type { FileSystemType } from './file-system.ts';
import type { MountEnvironment } from './mount-environment.ts';
import { readRecord, writeRecord } from './mount-record.ts';
import type { MountRecord, MountStep } from './mount-record.ts';
import { isAlive, thisProcess } from './process-owner.ts';
import { undoMount } from './undo-mount.ts';
import type { UndoReport } from './undo-mount.ts';

export interface MountVolumeRequest {
  /** `NAME`, or `NAME@SNAPSHOT`. */
  readonly name: string;
  readonly device: BlockDevice;
  /** It may be mounted beside the volume, whose file system has the same identifier. */
  readonly isSnapshot?: boolean;
  /** Absolute. */
  readonly directory: string;
  /** Where records and FUSE mount points live: `Folders.mounts`. */
  readonly stateFolder: string;
  /** Where the volume is exported by NBD: the kernel's client is used where there is one. */
  readonly nbd?: NbdConnection;
  /** Make this file system first; only on a blank volume unless `force`. */
  readonly makeFileSystem?: FileSystemType;
  readonly force?: boolean;
  readonly createDirectory?: boolean;
  readonly allowNonEmpty?: boolean;
  /** For mount(8) -o, beside `ro` or `rw`, which follow the device. */
  readonly mountOptions?: readonly string[];
}

export interface MountedVolume {
  readonly name: string;
  readonly directory: string;
  readonly via: 'nbd' | 'fuse';
  readonly device: string;
  readonly fileSystem: string;
  /** What an earlier crash left behind and how it was put right. */
  readonly notes: readonly string[];
}

/** Names that this process is mounting or unmounting now; the record guards against other processes. */
const namesInProgress = new Set<string>();

export async function mountVolume(request: MountVolumeRequest, environment: MountEnvironment): Promise<MountedVolume> {
  return exclusively(checkReference(request.name), () => mountExclusively(request, environment));
}

async function mountExclusively(request: MountVolumeRequest, environment: MountEnvironment): Promise<MountedVolume> {
  const { name, device, stateFolder } = request;
  if (device.readOnly && request.makeFileSystem !== undefined) {
    throw new CaissonError('invalid', 'argument-invalid', 'a file system cannot be made on a read-only volume');
  }
  await mkdir(stateFolder, { recursive: true, mode: 0o700 });
  const notes = await clearRemains(name, stateFolder, environment);
  const directory = await checkDirectory(request, environment);
  let written: MountRecord = {
    format: 'caisson-mount',
    version: 1,
    name,
    directory,
    owner: await thisProcess(),
    steps: [],
  };
  const record = async (step: MountStep): Promise<void> => {
    written = { ...written, steps: [...written.steps.filter((other) => other.kind !== step.kind), step] };
    await writeRecord(stateFolder, written);
  };
  try {
    const mounted = await carryOut(request, directory, record, environment);
    return { ...mounted, notes: isXfsSnapshot(request, mounted.fileSystem) ? [...notes, xfsNote] : notes };
  } catch (error) {
    await takeApart(written, stateFolder, environment);
    throw error;
  }
}

async function carryOut(
  request: MountVolumeRequest,
  directory: string,
  record: StepRecorder,
  environment: MountEnvironment,
): Promise<Omit<MountedVolume, 'notes'>> {
  const { via, path } = await attachDevice(request, record, environment);
  const { size, readOnly } = request.device;
  const fileSystem = await prepareFileSystem(path, size, request.makeFileSystem, request.force ?? false, environment);
  const step = { kind: 'file-system', device: path, directory } as const;
  await record({ ...step, state: 'begun' });
  const { mountOptions = [] } = request;
  const options = isXfsSnapshot(request, fileSystem) ? ['nouuid', 'norecovery', ...mountOptions] : mountOptions;
  await mountFileSystem({ device: path, directory, fileSystem, readOnly, options }, environment);
  await record({ ...step, state: 'done' });
  return { name: request.name, directory, via, device: path, fileSystem };
}

/**
 * XFS counts as in need of recovery even when it was frozen, and a read-only device cannot be recovered; it also
 * refuses two file systems with the same identifier.
 */
function isXfsSnapshot({ isSnapshot = false }: MountVolumeRequest, fileSystem: string): boolean {
  return isSnapshot && fileSystem === 'xfs';
}

const xfsNote =
  'the journal of XFS is not replayed: if it was not frozen for the snapshot, its last changes are missing; a clone shows them';

export interface UnmountedVolume extends UndoReport {
  readonly name: string;
  readonly directory: string;
}

/** Works from any process, whether the one that mounted still lives or not. */
export async function umountVolume(
  name: string,
  stateFolder: string,
  environment: MountEnvironment,
): Promise<UnmountedVolume> {
  return exclusively(checkReference(name), async () => {
    const record = await readRecord(stateFolder, name);
    if (record === undefined) {
      throw new CaissonError('invalid', 'mount-missing', `the volume ${name} is not mounted`, {
        remedy: '"caisson status" lists what is mounted.',
      });
    }
    const { notes } = await undoMount(record, stateFolder, await isAlive(record.owner), environment);
    return { name, directory: record.directory, notes };
  });
}

async function exclusively<Result>(name: string, action: () => Promise<Result>): Promise<Result> {
  if (namesInProgress.has(name)) {
    throw new CaissonError('transient', 'volume-busy', `the volume ${name} is just being mounted or unmounted`, {
      remedy: 'Wait for that to end.',
    });
  }
  namesInProgress.add(name);
  try {
    return await action();
  } finally {
    namesInProgress.delete(name);
  }
}

async function clearRemains(
  name: string,
  stateFolder: string,
  environment: MountEnvironment,
): Promise<readonly string[]> {
  const record = await readRecord(stateFolder, name);
  if (record === undefined) return [];
  if (await isAlive(record.owner)) {
    throw new CaissonError('invalid', 'volume-busy', `the volume ${name} is already mounted on ${record.directory}`, {
      remedy: 'Unmount it first, or use it where it is.',
      details: { directory: record.directory, pid: record.owner.pid },
    });
  }
  const { notes } = await undoMount(record, stateFolder, false, environment);
  return [`a mount on ${record.directory} that a crash had left behind was cleared first`, ...notes];
}

/** The real path of a directory that may be mounted on. */
async function checkDirectory(request: MountVolumeRequest, environment: MountEnvironment): Promise<string> {
  const { directory } = request;
  if (!directory.startsWith('/')) throw badDirectory(`${directory} is not an absolute path`, 'Give the whole path.');
  if (request.createDirectory === true) await mkdir(directory, { recursive: true });
  const real = await realpath(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') throw missingDirectory(directory);
    throw badDirectory(`${directory} cannot be used: ${messageOf(error)}`, 'Choose another directory.');
  });
  if (!(await stat(real)).isDirectory()) throw badDirectory(`${directory} is not a directory`, 'Choose a directory.');
  if (await isMounted(real, environment)) {
    throw badDirectory(`something is already mounted on ${real}`, `Unmount it first, or choose another directory.`);
  }
  if (request.allowNonEmpty !== true && (await readdir(real)).length > 0) {
    throw badDirectory(
      `${real} is not empty`,
      'Choose an empty directory, or allow this one; a mount hides what is in it.',
    );
  }
  return real;
}

/**
 * The part of the check that needs no volume: a mistake in the path shows before keys are asked for. What is mounted
 * there may be the remains of a crash, which the mount clears first.
 */
export async function requireDirectory(directory: string): Promise<void> {
  try {
    await realpath(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw missingDirectory(directory);
  }
}

function missingDirectory(directory: string): CaissonError {
  return badDirectory(`${directory} does not exist`, `Run "mkdir -p ${directory}" first.`);
}

function badDirectory(message: string, remedy: string): CaissonError {
  return new CaissonError('invalid', 'mount-failed', message, { remedy });
}

/** After a failure: what cannot be undone now stays in the record for the next mount or unmount. */
async function takeApart(record: MountRecord, stateFolder: string, environment: MountEnvironment): Promise<void> {
  if (record.steps.length === 0) return;
  try {
    await undoMount(record, stateFolder, true, environment);
  } catch (error) {
    environment.log('error', `a mount that failed could not be taken apart: ${messageOf(error)}`, {
      name: record.name,
    });
  }
}
