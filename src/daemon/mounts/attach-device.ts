/**
 * Makes a volume a block device of the kernel: by the kernel's NBD client where there is one, else as
 * a file over FUSE under a loop device. Each step is told to `record` before it begins and after it
 * is done.
 */
import { mkdir, realpath } from 'node:fs/promises';
import type { BlockDevice } from '../../export/block-device.ts';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { attachLoop } from '../../sys/loop.ts';
import { attachNbd, findFreeNbdDevice } from '../../sys/nbd-device.ts';
import type { NbdConnection } from '../../sys/nbd-device.ts';
import { openFuseExport } from './fuse-export.ts';
import type { MountEnvironment } from './mount-environment.ts';
import type { MountStep } from './mount-record.ts';
import { sectorBytesFor } from './sector-size.ts';

export interface AttachRequest {
  readonly name: string;
  readonly device: BlockDevice;
  readonly stateFolder: string;
  /** Where the volume is exported by NBD, if it is. */
  readonly nbd?: NbdConnection;
}

export interface AttachedDevice {
  readonly via: 'nbd' | 'fuse';
  /** Of the block device. */
  readonly path: string;
}

/** Replaces the step of the same kind, or appends it, durably. */
export type StepRecorder = (step: MountStep) => Promise<void>;

export async function attachDevice(
  request: AttachRequest,
  record: StepRecorder,
  environment: MountEnvironment,
): Promise<AttachedDevice> {
  if (request.nbd !== undefined) {
    const attached = await attachByNbd(request.nbd, request.device, record, environment);
    if (attached !== undefined) return attached;
  }
  return attachByFuse(request, record, environment);
}

/** Undefined: not possible here; FUSE is the way. */
async function attachByNbd(
  connection: NbdConnection,
  volume: BlockDevice,
  record: StepRecorder,
  environment: MountEnvironment,
): Promise<AttachedDevice | undefined> {
  const device = await findFreeNbdDevice(environment);
  if (device === undefined) return undefined;
  const step = { kind: 'nbd', device, ...connection } as const;
  await record({ ...step, state: 'begun' });
  try {
    await attachNbd(device, connection, await sectorBytesFor(volume), environment);
  } catch (error) {
    if (!(error instanceof CaissonError)) throw error;
    environment.log('warn', `the kernel's NBD client cannot be used: ${messageOf(error)}`, { device });
    return undefined;
  }
  await record({ ...step, state: 'done' });
  return { via: 'nbd', path: device };
}

async function attachByFuse(
  { name, device, stateFolder }: AttachRequest,
  record: StepRecorder,
  environment: MountEnvironment,
): Promise<AttachedDevice> {
  const mountPoint = `${await realpath(stateFolder)}/${name}.fuse`;
  await record({ kind: 'fuse', state: 'begun', mountPoint });
  await mkdir(mountPoint, { recursive: true, mode: 0o700 });
  const fuse = await openFuseExport({ device, mountPoint, clock: environment.clock, log: environment.log });
  await record({ kind: 'fuse', state: 'done', mountPoint });
  const loop = { kind: 'loop', file: fuse.filePath } as const;
  await record({ ...loop, state: 'begun', device: null });
  const path = await attachLoop(fuse.filePath, device.readOnly, await sectorBytesFor(device), environment);
  await record({ ...loop, state: 'done', device: path });
  return { via: 'fuse', path };
}
