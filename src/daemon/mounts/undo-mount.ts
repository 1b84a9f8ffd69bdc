/**
 * Takes a mount apart, in the reverse order of its making, also what a crashed daemon left behind.
 *
 * The record says what to look for; the kernel's own tables say what is there. So a step that never
 * happened, or that somebody undid by hand, is simply not found, and nothing that is not ours is
 * touched: a loop device is ours when its file is, an NBD device when its client talks to our socket,
 * a file system when it lies on our directory and our device. After a reboot nothing is left to undo.
 *
 * While the server lives, a busy piece is an error and everything from there on stays as it is. When
 * the server is dead, nothing can be saved by waiting: a busy piece is detached lazily, and said so.
 */
import { rmdir } from 'node:fs/promises';
import { CaissonError, messageOf } from '../../lib/errors.ts';
import { loopDetachMilliseconds, mountPollMilliseconds } from '../../lib/limits.ts';
import { detachLoop } from '../../sys/loop.ts';
import { unmount } from '../../sys/mount.ts';
import { detachNbd, isNbdConnectedTo } from '../../sys/nbd-device.ts';
import { findBusyProcesses } from './busy-processes.ts';
import type { MountEnvironment } from './mount-environment.ts';
import { removeRecord } from './mount-record.ts';
import type { MountRecord, MountStep } from './mount-record.ts';
import { isThisBoot } from './process-owner.ts';

export interface UndoReport {
  /** What could only be undone in part, in plain words. */
  readonly notes: readonly string[];
}

type StepOf<Kind extends MountStep['kind']> = Extract<MountStep, { kind: Kind }>;

export async function undoMount(
  record: MountRecord,
  stateFolder: string,
  serverAlive: boolean,
  environment: MountEnvironment,
): Promise<UndoReport> {
  const undo = new Undo(record, serverAlive, environment);
  await undo.run();
  await removeRecord(stateFolder, record.name);
  for (const note of undo.notes) environment.log('warn', note, { name: record.name });
  return { notes: undo.notes };
}

class Undo {
  readonly notes: string[] = [];
  readonly #record: MountRecord;
  readonly #serverAlive: boolean;
  readonly #environment: MountEnvironment;

  constructor(record: MountRecord, serverAlive: boolean, environment: MountEnvironment) {
    this.#record = record;
    this.#serverAlive = serverAlive;
    this.#environment = environment;
  }

  async run(): Promise<void> {
    if (!(await isThisBoot(this.#record.owner))) {
      for (const { mountPoint } of this.#steps('fuse')) await this.#removeFolder(mountPoint);
      return;
    }
    const devices = await this.#ownDevices();
    // A dead NBD server makes its device wait for it: cut that first, so that unmounting fails fast instead of hanging.
    if (!this.#serverAlive) await this.#disconnectNbd();
    for (const step of this.#steps('file-system')) {
      if (devices.includes(step.device)) await this.#unmountFileSystem(step);
    }
    for (const step of this.#steps('loop')) await this.#detachLoops(step);
    if (this.#serverAlive) await this.#disconnectNbd();
    for (const step of this.#steps('fuse')) await this.#unmountFuse(step);
  }

  /** Block devices that carry this volume now. */
  async #ownDevices(): Promise<string[]> {
    const devices: string[] = [];
    for (const { file } of this.#steps('loop')) devices.push(...(await this.#loopsOf(file)));
    for (const { device, socketPath } of this.#steps('nbd')) {
      if (await isNbdConnectedTo(device, socketPath, this.#environment)) devices.push(device);
    }
    return devices;
  }

  #steps<Kind extends MountStep['kind']>(kind: Kind): StepOf<Kind>[] {
    return this.#record.steps.filter((step): step is StepOf<Kind> => step.kind === kind);
  }

  async #unmountFileSystem({ directory, device }: StepOf<'file-system'>): Promise<void> {
    const mounts = (await this.#environment.readTable()).filter((entry) => entry.source === device);
    const elsewhere = mounts.find((entry) => entry.mountPoint !== directory);
    if (elsewhere !== undefined && this.#serverAlive) {
      throw new CaissonError('transient', 'volume-busy', `the volume is also mounted on ${elsewhere.mountPoint}`, {
        remedy: `Unmount ${elsewhere.mountPoint} first.`,
        details: { mountPoint: elsewhere.mountPoint },
      });
    }
    // Once for each time it is mounted there, should that be more than once.
    for (const { mountPoint } of mounts) {
      if (mountPoint === directory) await this.#unmountOne(mountPoint, 'the file system');
      else this.notes.push(`the volume is also mounted on ${mountPoint}, where it no longer works; unmount it.`);
    }
  }

  async #unmountFuse({ mountPoint }: StepOf<'fuse'>): Promise<void> {
    const table = await this.#environment.readTable();
    const mounts = table.filter((entry) => entry.mountPoint === mountPoint && entry.fileSystem.startsWith('fuse'));
    for (const mount of mounts) await this.#unmountOne(mount.mountPoint, 'the volume’s FUSE file');
    await this.#removeFolder(mountPoint);
  }

  async #removeFolder(folder: string): Promise<void> {
    await rmdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') this.notes.push(`the folder ${folder} could not be removed: ${error.message}`);
    });
  }

  async #unmountOne(mountPoint: string, what: string): Promise<void> {
    const outcome = await this.#tryUnmount(mountPoint);
    if (outcome === 'done') return;
    if (this.#serverAlive) throw await busyError(mountPoint, this.#environment);
    await unmount(mountPoint, true, this.#environment);
    this.notes.push(
      `${what} on ${mountPoint} was still in use (${outcome}) and its server is gone: it was detached lazily. ` +
        'Programs that have files open there see input/output errors until they close them.',
    );
  }

  /** `done`, or why not. With a living server only "busy" is a reason; everything else is an error to report. */
  async #tryUnmount(mountPoint: string): Promise<string> {
    try {
      return await unmount(mountPoint, false, this.#environment);
    } catch (error) {
      if (this.#serverAlive) throw error;
      return messageOf(error);
    }
  }

  async #detachLoops({ file }: StepOf<'loop'>): Promise<void> {
    for (const path of await this.#loopsOf(file)) await detachLoop(path, this.#environment);
    const { clock } = this.#environment;
    const start = clock.monotonic();
    while ((await this.#loopsOf(file)).length > 0) {
      if (clock.monotonic() - start < loopDetachMilliseconds) {
        await new Promise<void>((resolve) => clock.after(mountPollMilliseconds, resolve));
        continue;
      }
      const [path = ''] = await this.#loopsOf(file);
      if (path === '') return;
      if (this.#serverAlive) throw await busyError(path, this.#environment);
      this.notes.push(`${path} lets go of the volume when its last user does.`);
      return;
    }
  }

  async #loopsOf(file: string): Promise<string[]> {
    const devices = await this.#environment.listLoops();
    return devices
      .filter(({ backingFile }) => backingFile === file || backingFile === `${file} (deleted)`)
      .map((device) => device.path);
  }

  async #disconnectNbd(): Promise<void> {
    for (const { device, socketPath } of this.#steps('nbd')) {
      if (await isNbdConnectedTo(device, socketPath, this.#environment)) await detachNbd(device, this.#environment);
    }
  }
}

async function busyError(path: string, { clock }: MountEnvironment): Promise<CaissonError> {
  const processes = await findBusyProcesses(path, clock);
  const users = processes.length === 0 ? '' : ` by ${processes.join(', ')}`;
  return new CaissonError('transient', 'volume-busy', `${path} is still in use${users}`, {
    remedy: 'End the programs that use it, or change their working folder, and try again.',
    details: { path, processes: processes.join(', ') },
  });
}
