/**
 * What only a running daemon can do: hold volumes open, export them, mount them, tell its state, stop.
 *
 * A daemon that `caisson mount` started in the background stops by itself with the last volume it
 * holds; one that a person started stays until it is told to stop.
 */
import type { OperationRequest, OperationResponse } from '../admin/operations.ts';
import type { DaemonStatus, MountAnswer, VolumeExport } from '../admin/schema.ts';
import { CaissonError, isCaissonError } from '../lib/errors.ts';
import type { Folders } from '../lib/folders.ts';
import { parseReference } from '../lib/names.ts';
import type { CapabilityExports } from './capability-exports.ts';
import { credentialOfEntry } from './credentials.ts';
import type { VolumeLog } from '../volume/volume-types.ts';
import type { MountedVolume, Mounts, Parts } from './parts.ts';
import { stateOf } from './served-volume.ts';
import { storeSummaries } from './store-summaries.ts';
import { exportOf } from './volume-host.ts';
import type { AttachedBy, VolumeHost } from './volume-host.ts';
import type { VolumeNames } from './volume-names.ts';

export interface DaemonControlOptions {
  readonly parts: Parts;
  readonly names: VolumeNames;
  readonly host: VolumeHost;
  readonly folders: Folders;
  readonly version: string;
  readonly background: boolean;
  readonly log: VolumeLog;
  readonly requestStop: () => void;
}

export class DaemonControl {
  readonly host: VolumeHost;
  /** Where the daemon was asked to let holders of capabilities in. */
  capabilities: Pick<CapabilityExports, 'check'> | undefined;
  readonly #options: DaemonControlOptions;
  /** Directory by volume name, of what this daemon mounted. */
  readonly #mounted = new Map<string, MountedVolume>();

  constructor(options: DaemonControlOptions) {
    this.#options = options;
    this.host = options.host;
  }

  async status(): Promise<DaemonStatus> {
    const { parts, folders, version, background } = this.#options;
    return {
      version,
      pid: process.pid,
      uptimeSeconds: Math.floor(process.uptime()),
      background,
      adminSocket: folders.adminSocket,
      tcp: this.host.tcp?.address ?? null,
      sealer: (await parts.sealer()).name,
      residentBytes: process.memoryUsage.rss(),
      ...storeSummaries(parts.storeCounts),
      volumes: this.host.list().map((hosted) => {
        const { volume } = hosted;
        const { latched, spoolBytes, stats } = stateOf(volume);
        return {
          ...exportOf(hosted),
          latched: latched ?? null,
          spoolBytes,
          unanchoredRecords: stats.unanchoredRecords,
          reads: stats.reads,
          writes: stats.writes,
          flushes: stats.flushes,
          bytesRead: stats.bytesRead,
          bytesWritten: stats.bytesWritten,
          mountedOn: this.#mounted.get(hosted.name)?.directory ?? null,
        };
      }),
    };
  }

  async stop(): Promise<Record<string, never>> {
    this.#options.requestStop();
    return {};
  }

  async attach(request: OperationRequest<'attachVolume'>, by: AttachedBy = 'command'): Promise<VolumeExport> {
    const { parts, names, folders } = this.#options;
    const { name, socket, readOnly } = request;
    const { name: volumeName, snapshot } = parseReference(name);
    const found = names.find(volumeName);
    const entry =
      found.move === undefined || this.host.get(volumeName) !== undefined
        ? found
        : await (await import('./settle-move.ts')).settleMove(this.#options, volumeName, found);
    const credential = request.credential ?? (await credentialOfEntry(parts, name, entry));
    return this.host.attach({
      name,
      entry,
      snapshot,
      credential,
      socket: socket ?? `${folders.runtime}/${name}.sock`,
      readOnly: readOnly || snapshot !== undefined,
      by,
    });
  }

  async detach(name: string): Promise<Record<string, never>> {
    const mounted = this.#mounted.get(name);
    if (mounted !== undefined) {
      throw new CaissonError('fenced', 'volume-busy', `${name} is mounted on ${mounted.directory}`, {
        remedy: `Unmount it with "caisson umount ${name}".`,
        details: { name, directory: mounted.directory },
      });
    }
    await this.host.detach(name);
    this.#stopWhenIdle();
    return {};
  }

  async mount(request: OperationRequest<'mountVolume'>): Promise<MountAnswer> {
    const { name, directory, makeFileSystem, readOnly, credential, force, mountOptions } = request;
    const mounts = await this.#mounts();
    const isNew = this.host.get(name) === undefined;
    if (isNew) {
      await mounts.requireDirectory(directory).catch((error: unknown) => {
        this.#stopWhenIdle();
        throw error;
      });
      await this.attach({ name, credential, readOnly }, 'mount');
    }
    try {
      const hosted = this.host.get(name);
      if (hosted === undefined) throw new CaissonError('closed', 'volume-closed', `${name} was closed meanwhile`);
      const nbdSocket = hosted.listener.address;
      const mounted = await mounts.mount({
        name,
        device: hosted.volume,
        nbdSocket,
        directory,
        isSnapshot: hosted.snapshot !== undefined,
        makeFileSystem,
        force,
        mountOptions,
      });
      this.#mounted.set(name, mounted);
      return { ...mounted, notes: [...mounted.notes], protection: stateOf(hosted.volume).protection };
    } catch (error) {
      if (isNew) await this.host.detach(name).catch(() => undefined);
      this.#stopWhenIdle();
      throw snapshotRemedy(error, name);
    }
  }

  /**
   * Runs `act` while the file system that this daemon mounted from the volume stands still, so that what it leaves
   * is clean. `frozen` is false where none is mounted, where the system cannot do it, or where `act` took too long.
   */
  async whileFrozen<Value>(name: string, act: () => Promise<Value>): Promise<{ value: Value; frozen: boolean }> {
    const directory = this.#mounted.get(name)?.directory;
    const frozen = directory === undefined ? undefined : await (await this.#mounts()).freeze(directory);
    if (frozen === undefined) return { value: await act(), frozen: false };
    let value: Value;
    try {
      value = await act();
    } catch (error) {
      await frozen.thaw();
      throw error;
    }
    return { value, frozen: await frozen.thaw() };
  }

  mountedOn(name: string): string | undefined {
    return this.#mounted.get(name)?.directory;
  }

  async unmount(target: string): Promise<OperationResponse<'unmountVolume'>> {
    const mounts = await this.#mounts();
    const unmounted = await mounts.unmount(target);
    this.#mounted.delete(unmounted.name);
    // Only what the mount itself opened goes with it.
    if (this.host.get(unmounted.name)?.by === 'mount') await this.host.detach(unmounted.name);
    this.#stopWhenIdle();
    return { ...unmounted, notes: [...unmounted.notes] };
  }

  /** Before the daemon stops: a mount whose server is gone would hang whoever touches it. */
  async unmountAll(): Promise<void> {
    for (const name of [...this.#mounted.keys()]) {
      const mounts = await this.#mounts();
      await mounts.unmount(name);
      this.#mounted.delete(name);
    }
  }

  #stopWhenIdle(): void {
    if (this.#options.background && this.host.list().length === 0) this.#options.requestStop();
  }

  #mounts(): Promise<Mounts> {
    return this.#options.parts.mounts(this.#options.log);
  }
}

/** A file system that was in use when the snapshot was taken wants to write when it is mounted. */
function snapshotRemedy(error: unknown, name: string): unknown {
  const { name: volumeName, snapshot } = parseReference(name);
  if (snapshot === undefined || !isCaissonError(error, 'mount-failed') || error.kind !== 'io') return error;
  return new CaissonError(error.kind, error.code, error.message, {
    remedy: `If its file system was in use when the snapshot was taken, it must be repaired first, on a copy: "caisson volume clone ${volumeName} NEW --snapshot ${snapshot}", then mount that.`,
    details: error.details,
    cause: error,
  });
}
