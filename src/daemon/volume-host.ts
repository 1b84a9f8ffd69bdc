/**
 * The volumes that this process holds open, each with its NBD socket.
 *
 * Invariants: a name is attached at most once; while it is being attached or detached every other
 * change to it is refused (`volume-busy`) rather than queued, so that nothing waits behind a
 * passphrase. A volume is closed only after its exports stopped taking requests, and whatever a
 * failed attach had begun is undone before its error leaves. A snapshot is held under a name of its own,
 * `NAME@SNAPSHOT`, beside its volume and independent of it, and is not removed while it is held.
 */
import type { Credential, VolumeExport } from '../admin/schema.ts';
import { CaissonError } from '../lib/errors.ts';
import { openVolumesMax } from '../lib/limits.ts';
import type { VolumeLog } from '../volume/volume-types.ts';
import { isHashedEntry, openHashedEntry } from './hashed-entry.ts';
import type { NbdListener, OpenEnvironment, Parts } from './parts.ts';
import { hashedRefusal, stateOf } from './served-volume.ts';
import type { ServedVolume } from './served-volume.ts';
import { SharedEnvironments } from './shared-environments.ts';
import { withUndo } from './undo.ts';
import { bytesOfId } from './volume-details.ts';
import type { VolumeEntry } from './volume-names.ts';

/** Who asked for the volume; only what the configuration listed goes away when it is taken off the list. */
export type AttachedBy = 'configuration' | 'command' | 'mount' | 'capability';

export interface AttachRequest {
  /** `NAME`, or `NAME@SNAPSHOT`. */
  readonly name: string;
  readonly entry: VolumeEntry;
  readonly snapshot: string | undefined;
  readonly credential: Credential;
  readonly socket: string;
  readonly readOnly: boolean;
  readonly by: AttachedBy;
}

export interface HostedVolume {
  readonly name: string;
  readonly snapshot: string | undefined;
  readonly volume: ServedVolume;
  readonly environment: OpenEnvironment;
  readonly listener: NbdListener;
  readonly by: AttachedBy;
}

export class VolumeHost {
  readonly environments: SharedEnvironments;
  readonly #parts: Parts;
  readonly #log: VolumeLog;
  readonly #open = new Map<string, HostedVolume>();
  /** Ids by name. */
  readonly #changing = new Map<string, string>();
  /** Ids of the volumes that lose a snapshot now. */
  readonly #pruning = new Set<string>();
  #tcp: NbdListener | undefined;
  #closing = false;
  readonly #closingListeners = new Set<(hosted: HostedVolume) => Promise<void>>();

  constructor(parts: Parts, log: VolumeLog) {
    this.#parts = parts;
    this.#log = log;
    this.environments = new SharedEnvironments((storeUrl) =>
      parts.openEnvironment(storeUrl, { create: false, sharesReadCache: true, log }),
    );
  }

  get(name: string): HostedVolume | undefined {
    return this.#open.get(name);
  }

  list(): readonly HostedVolume[] {
    return [...this.#open.values()];
  }

  /** The volume itself, where it is open and stays so for now. */
  served(volumeId: string): HostedVolume | undefined {
    if (this.#closing) return undefined;
    return this.list().find(
      ({ name, volume, snapshot }) => volume.id === volumeId && snapshot === undefined && !this.#changing.has(name),
    );
  }

  /** Calls the listener, and waits for it, before a volume is closed; returns what ends that. */
  beforeClosing(listener: (hosted: HostedVolume) => Promise<void>): () => void {
    this.#closingListeners.add(listener);
    return () => this.#closingListeners.delete(listener);
  }

  /** Names under which the volume or a snapshot of it is held, or is about to be. */
  namesOf(volumeId: string): readonly string[] {
    const open = this.list().filter(({ volume }) => volume.id === volumeId);
    const changing = [...this.#changing].filter(([, id]) => id === volumeId);
    return [...new Set([...open.map(({ name }) => name), ...changing.map(([name]) => name)])].sort();
  }

  /** Nobody begins to hold a snapshot of the volume while `act` runs: what it would read may be on its way out. */
  async whilePruning<Value>(volumeId: string, act: () => Promise<Value>): Promise<Value> {
    if (this.#pruning.has(volumeId)) throw inChange(volumeId);
    this.#pruning.add(volumeId);
    try {
      return await act();
    } finally {
      this.#pruning.delete(volumeId);
    }
  }

  get tcp(): NbdListener | undefined {
    return this.#tcp;
  }

  /** Every volume, now and later, is also offered by this listener under its name. */
  offerOn(listener: NbdListener): void {
    this.#tcp = listener;
    for (const { name, volume } of this.#open.values()) listener.add(name, volume);
  }

  reloadTls(): void {
    this.#tcp?.reloadTls();
  }

  async attach(request: AttachRequest): Promise<VolumeExport> {
    const { name } = request;
    if (this.#open.has(name)) {
      throw new CaissonError('fenced', 'volume-busy', `${name} is open in this daemon already`, {
        remedy: `Use it where it is, or close it first with "caisson detach ${name}".`,
        details: { name },
      });
    }
    if (this.#open.size + this.#changing.size >= openVolumesMax) {
      throw new CaissonError('full', 'limit-exceeded', `this daemon holds ${openVolumesMax} volumes, its most`, {
        remedy: 'Start another daemon with its own CAISSON_RUNTIME.',
      });
    }
    const { volumeId } = request.entry;
    if (request.snapshot !== undefined && this.#pruning.has(volumeId)) throw inChange(name);
    return this.#whileChanging(name, volumeId, async () => {
      const hosted = await this.#openAndExport(request);
      if (this.#closing) {
        // The stop did not wait for this one; nobody else would close it.
        await this.#close(hosted);
        throw new CaissonError('closed', 'volume-closed', 'the daemon is stopping');
      }
      this.#open.set(name, hosted);
      this.#tcp?.add(name, hosted.volume);
      return exportOf(hosted);
    });
  }

  /** A volume that is held has moved: from now on it uses this store. False if it is not held here. */
  replaceEnvironment(name: string, volume: ServedVolume, environment: OpenEnvironment): boolean {
    const hosted = this.#open.get(name);
    if (hosted === undefined || hosted.volume !== volume) return false;
    this.#open.set(name, { ...hosted, environment });
    return true;
  }

  async detach(name: string): Promise<void> {
    const hosted = this.#open.get(name);
    if (hosted === undefined) {
      throw new CaissonError('invalid', 'volume-missing', `${name} is not open in this daemon`, {
        remedy: 'See "caisson status".',
        details: { name },
      });
    }
    await this.#whileChanging(name, hosted.volume.id, () => this.#close(hosted));
  }

  /** Exports first, all at once; then each volume is flushed, published and closed. */
  async closeAll(): Promise<void> {
    this.#closing = true;
    const failures: unknown[] = [];
    const noteFailures = (results: PromiseSettledResult<unknown>[]): void => {
      for (const result of results) if (result.status === 'rejected') failures.push(result.reason);
    };
    noteFailures(await Promise.allSettled(this.#tcp === undefined ? [] : [this.#tcp.close()]));
    noteFailures(await Promise.allSettled(this.list().map((hosted) => this.#close(hosted))));
    for (const error of failures) this.#log('error', 'a volume did not close cleanly', { error });
    if (failures.length > 0) throw failures[0];
  }

  async #openAndExport(request: AttachRequest): Promise<HostedVolume> {
    const { name, entry, socket, snapshot, by } = request;
    return withUndo(async (undo) => {
      const environment = await this.environments.use(entry.store);
      undo(() => environment.close());
      const volume = await this.#openVolume(environment, request);
      undo(() => volume.close());
      const listener = await this.#parts.listenNbd({ kind: 'unix', path: socket }, this.#log);
      undo(() => listener.close());
      listener.add(name, volume);
      return { name, snapshot, volume, environment, listener, by };
    });
  }

  async #openVolume(
    { environment }: OpenEnvironment,
    { name, entry, credential, readOnly, snapshot }: AttachRequest,
  ): Promise<ServedVolume> {
    if (isHashedEntry(entry)) {
      if (snapshot !== undefined) throw hashedRefusal(name);
      return openHashedEntry(environment.store, entry);
    }
    const engine = await this.#parts.engine();
    const common = { volumeId: bytesOfId(entry.volumeId), keySource: await this.#parts.keySource(credential) };
    if (snapshot !== undefined) return engine.openSnapshot(environment, { ...common, snapshot });
    return engine.openVolume(environment, { ...common, readOnly });
  }

  async #close(hosted: HostedVolume): Promise<void> {
    const failures: unknown[] = [];
    const attempt = async (step: () => Promise<void>): Promise<void> => {
      await step().catch((error: unknown) => failures.push(error));
    };
    for (const listener of this.#closingListeners) await attempt(() => listener(hosted));
    await attempt(async () => this.#tcp?.remove(hosted.name));
    await attempt(() => hosted.listener.close());
    await attempt(() => hosted.volume.close());
    // A move that ended while it was being closed has given it another one.
    await attempt(() => (this.#open.get(hosted.name) ?? hosted).environment.close());
    this.#open.delete(hosted.name);
    if (failures.length > 0) throw failures[0];
  }

  async #whileChanging<Value>(name: string, volumeId: string, change: () => Promise<Value>): Promise<Value> {
    if (this.#changing.has(name) || this.#closing) throw inChange(name);
    this.#changing.set(name, volumeId);
    try {
      return await change();
    } finally {
      this.#changing.delete(name);
    }
  }
}

function inChange(name: string): CaissonError {
  return new CaissonError('transient', 'volume-busy', `${name} is being opened or closed right now`, {
    remedy: 'Try again in a moment.',
    details: { name },
  });
}

export function exportOf({ name, volume, listener }: HostedVolume): VolumeExport {
  return {
    name,
    volumeId: volume.id,
    size: volume.size,
    readOnly: volume.readOnly,
    protection: stateOf(volume).protection,
    socket: listener.address,
    uri: `nbd+unix:///${name}?socket=${listener.address}`,
  };
}
