/**
 * The snapshots that a daemon opens for parts of them, each once, under `NAME@ID`.
 *
 * Invariants: one is opened for the first part and closed after the last; one that somebody else had opened under that
 * name stays open; there are never more than a bound.
 */
import { CaissonError } from '../lib/errors.ts';
import { capabilitySnapshotsOpenMax } from '../lib/limits.ts';
import type { VolumeLog } from '../volume/volume-types.ts';
import type { HostedVolume } from './volume-host.ts';

export interface SnapshotHost {
  get(name: string): HostedVolume | undefined;
  attach(name: string): Promise<unknown>;
  detach(name: string): Promise<unknown>;
}

interface Held {
  readonly opening: Promise<HostedVolume>;
  users: number;
}

export interface SnapshotHold {
  readonly hosted: HostedVolume;
  /** Idempotent. */
  release(): void;
}

export class HeldSnapshots {
  readonly #host: SnapshotHost;
  readonly #log: VolumeLog;
  readonly #held = new Map<string, Held>();

  constructor(host: SnapshotHost, log: VolumeLog) {
    this.#host = host;
    this.#log = log;
  }

  async hold(volumeName: string, snapshotId: string): Promise<SnapshotHold> {
    const name = `${volumeName}@${snapshotId}`;
    const found = this.#host.get(name);
    let held = this.#held.get(name);
    if (held === undefined && found !== undefined) return { hosted: found, release: () => undefined };
    if (held === undefined) {
      if (this.#held.size >= capabilitySnapshotsOpenMax)
        throw new CaissonError('full', 'limit-exceeded', 'too many snapshots are open for parts of them', {
          remedy: 'Wait until one of the parts expires.',
          details: { open: this.#held.size },
        });
      held = { opening: this.#open(name), users: 0 };
      this.#held.set(name, held);
    }
    const mine = held;
    mine.users += 1;
    let isHeld = true;
    const release = (): void => {
      if (!isHeld) return;
      isHeld = false;
      this.#leave(name, mine);
    };
    try {
      return { hosted: await mine.opening, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  async #open(name: string): Promise<HostedVolume> {
    await this.#host.attach(name);
    const hosted = this.#host.get(name);
    if (hosted !== undefined) return hosted;
    throw new CaissonError('closed', 'volume-closed', 'the snapshot was closed meanwhile');
  }

  #leave(name: string, held: Held): void {
    held.users -= 1;
    if (held.users > 0) return;
    this.#held.delete(name);
    if (this.#host.get(name) === undefined) return;
    // It fails where it is being closed already, as all are when the daemon stops.
    const failed = (error: unknown): void => this.#log('info', 'a snapshot was not closed', { name, error });
    this.#host.detach(name).catch(failed);
  }
}
