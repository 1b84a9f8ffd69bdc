/**
 * What a daemon serves to holders of capabilities (spec/capability-format.md, section 6): the parts of its open volumes, each
 * under a name that only its holder is told, on an NBD socket of their own.
 *
 * Invariants:
 * - A part is served only after its token and the proof of its holder were verified, and from a `BoundedDevice` alone.
 * - It ends when the token ends, when the volume's epoch rises and before the volume is closed; from then on every
 *   request fails, also on connections that are open.
 * - However many tokens one first holder makes by narrowing, parts for others remain.
 */
import type { CapabilityRequest, CapabilityResponse } from '../admin/capability-socket.ts';
import { BoundedDevice } from '../export/bounded-device.ts';
import type { Clock } from '../lib/clock.ts';
import { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import * as limits from '../lib/limits.ts';
import type { SnapshotInfo, Volume, VolumeLog } from '../volume/volume-types.ts';
import { describeGrant, refused, requireRight } from '../wire/capability.ts';
import type { VerifiedCapability } from '../wire/capability.ts';
import { CapabilityGate } from './capability-gate.ts';
import type { Admitted, CapabilityGateOptions } from './capability-gate.ts';
import { HeldSnapshots } from './held-snapshots.ts';
import type { SnapshotHold, SnapshotHost } from './held-snapshots.ts';
import type { NbdListener } from './parts.ts';
import type { HostedVolume, VolumeHost } from './volume-host.ts';

export interface CapabilityExportsOptions extends CapabilityGateOptions {
  readonly host: Pick<VolumeHost, 'served' | 'beforeClosing'>;
  readonly listener: Pick<NbdListener, 'add' | 'remove' | 'close'>;
  /** Where parts are served to other machines, if anywhere. */
  readonly network: () => Pick<NbdListener, 'add' | 'remove' | 'address' | 'usesTls'> | undefined;
  readonly snapshots: SnapshotHost;
  readonly clock: Clock;
  readonly log: VolumeLog;
}

interface ServedPart {
  readonly id: string;
  readonly name: string;
  readonly device: BoundedDevice;
  readonly capability: VerifiedCapability;
  readonly hosted: HostedVolume;
  readonly firstHolder: string;
  /** Of the snapshot that it belongs to. */
  readonly hold: SnapshotHold | undefined;
  /** Where it is served to other machines, too. */
  network: ReturnType<CapabilityExportsOptions['network']>;
}

export class CapabilityExports {
  readonly gate: CapabilityGate;
  readonly #options: CapabilityExportsOptions;
  readonly #snapshots: HeldSnapshots;
  /** By the id of the token, and of the snapshot: who shows it again gets the same. */
  readonly #parts = new Map<string, ServedPart>();
  #cancelCheck: () => void = () => undefined;
  readonly #stopWatching: () => void;

  constructor(options: CapabilityExportsOptions) {
    this.#options = options;
    this.gate = new CapabilityGate(options);
    this.#snapshots = new HeldSnapshots(options.snapshots, options.log);
    this.#stopWatching = options.host.beforeClosing((hosted) =>
      this.#endAll(
        (part) => part.hosted.volume === hosted.volume || (hosted.snapshot === undefined && isOf(part, hosted)),
        () => closed(),
      ),
    );
  }

  async open(shown: CapabilityRequest<'open'>): Promise<CapabilityResponse<'open'>> {
    const admitted = await this.gate.admit(shown);
    return answerOf(await this.#part(admitted, ownSnapshot(admitted)));
  }

  async openSnapshot({
    snapshot,
    ...shown
  }: CapabilityRequest<'open-snapshot'>): Promise<CapabilityResponse<'open-snapshot'>> {
    const admitted = await this.gate.admit(shown, { act: 'open-snapshot', argument: snapshot, rights: ['read'] });
    const { capability } = admitted;
    const own = ownSnapshot(admitted);
    if (own === undefined) requireRight(capability, 'snapshot');
    const { id } = snapshotOf(this.gate.served(capability).volume, snapshot);
    if (own !== undefined && own !== id) throw refused('snapshot', 'it is of another snapshot', { snapshot: own });
    return answerOf(await this.#part(admitted, id));
  }

  /** The part, also to other machines. */
  async serve(shown: CapabilityRequest<'serve'>): Promise<CapabilityResponse<'serve'>> {
    const admitted = await this.gate.admit(shown, { act: 'serve', rights: ['export'] });
    const network = this.#options.network();
    if (network === undefined) throw noNetwork();
    const part = await this.#part(admitted, ownSnapshot(admitted));
    if (part.network === undefined) {
      network.add(part.name, part.device, { isHidden: true });
      part.network = network;
      const { capability, id } = part;
      this.#options.log('info', 'part served to other machines', { capability: id, grant: describeGrant(capability) });
    }
    return { ...answerOf(part), address: part.network.address, usesTls: part.network.usesTls };
  }

  /** Ends what holds no longer; the number of them. What brokers say comes a moment later. */
  check(): number {
    const ended = this.#endWhatEnded();
    const { epochs, log } = this.#options;
    for (const volumeId of new Set([...this.#parts.values()].map(({ capability }) => toHex(capability.volumeId)))) {
      const asked = epochs.refresh(volumeId).finally(() => this.#endWhatEnded());
      asked.catch((error: unknown) => log('warn', 'whether capabilities were revoked is not known', { error }));
    }
    this.#scheduleCheck();
    return ended;
  }

  #endWhatEnded(): number {
    const ending = [...this.#parts.values()].flatMap((part) => {
      const reason = this.#endOf(part.capability);
      return reason === undefined ? [] : [{ part, reason }];
    });
    for (const { part, reason } of ending) {
      this.#end(part, reason).catch((error: unknown) => this.#options.log('warn', 'a part did not end', { error }));
    }
    return ending.length;
  }

  /** Why it holds no longer, if so; where the epoch cannot be read nothing holds. */
  #endOf(capability: VerifiedCapability): CaissonError | undefined {
    try {
      this.gate.mustHold(capability);
    } catch (cause) {
      if (cause instanceof CaissonError && cause.code === 'capability-refused') return cause;
      return new CaissonError('denied', 'capability-refused', 'whether the capability was revoked is not known', {
        details: { rule: 'epoch' },
        cause,
      });
    }
    return undefined;
  }

  async close(): Promise<void> {
    this.#stopWatching();
    await this.#endAll(() => true, closed);
    this.#cancelCheck();
    await this.#options.listener.close();
  }

  /** Of the volume itself, or of a snapshot of it. */
  async #part(admitted: Admitted, snapshotId: string | undefined): Promise<ServedPart> {
    const { capability } = admitted;
    const { hosted, volume } = this.gate.served(capability);
    const id = `${toHex(capability.id)}${snapshotId === undefined ? '' : `@${snapshotId}`}`;
    const known = this.#parts.get(id);
    if (known !== undefined) return known;
    if (snapshotId === undefined) return this.#serve(id, admitted, hosted, undefined);
    mustBeNamed(volume, snapshotId);
    const hold = await this.#snapshots.hold(hosted.name, snapshotId);
    try {
      // Opening took its time.
      this.gate.mustHold(capability);
      this.gate.served(capability);
      const meanwhile = this.#parts.get(id);
      if (meanwhile === undefined) return this.#serve(id, admitted, hold.hosted, hold);
      hold.release();
      return meanwhile;
    } catch (error) {
      hold.release();
      throw error;
    }
  }

  #serve(id: string, admitted: Admitted, hosted: HostedVolume, hold: SnapshotHold | undefined): ServedPart {
    const { capability, firstHolder } = admitted;
    const { base, length, rights } = capability;
    if (base >= hosted.volume.size) throw beyondVolume(base, hosted.volume.size);
    const ofHolder = [...this.#parts.values()].filter((part) => part.firstHolder === firstHolder).length;
    if (this.#parts.size >= limits.capabilityExportsMax || ofHolder >= limits.capabilityExportsPerHolderMax)
      throw new CaissonError('full', 'limit-exceeded', 'too many parts of volumes are served', {
        remedy: 'Wait until one of them expires.',
        details: { served: this.#parts.size, servedOfHolder: ofHolder },
      });
    const device = new BoundedDevice(hosted.volume, {
      base,
      length,
      mayRead: rights.has('read'),
      mayWrite: hold === undefined && rights.has('write'),
      mayTrim: hold === undefined && rights.has('trim'),
      mayResize: false,
    });
    const name = toHex(this.#options.random.bytes(16));
    this.#options.listener.add(name, device, { isHidden: true });
    const part = { id, name, device, capability, hosted, firstHolder, hold, network: undefined };
    this.#parts.set(id, part);
    // The name of the export is what only the holder knows, so it is not logged.
    this.#options.log('info', 'part opened', { volume: hosted.name, capability: id, grant: describeGrant(capability) });
    this.#scheduleCheck();
    return part;
  }

  async #endAll(chosen: (part: ServedPart) => boolean, reason: () => CaissonError): Promise<void> {
    const ending = [...this.#parts.values()].filter(chosen);
    await Promise.all(ending.map((part) => this.#end(part, reason())));
  }

  async #end(part: ServedPart, reason: CaissonError): Promise<void> {
    part.device.end(reason);
    this.#parts.delete(part.id);
    this.#options.log('info', 'part ended', { volume: part.hosted.name, capability: part.id, reason: reason.message });
    try {
      await Promise.all([this.#options.listener.remove(part.name), part.network?.remove(part.name)]);
    } finally {
      part.hold?.release();
    }
  }

  /** A clock of the system may be set: however far the next end is, it is looked at now and then. */
  #scheduleCheck(): void {
    this.#cancelCheck();
    if (this.#parts.size === 0) return;
    const { clock } = this.#options;
    const now = clock.wall();
    const ends = [...this.#parts.values()].map(({ capability }) => capability.expiresAt - now);
    const wait = Math.max(0, Math.min(limits.capabilityCheckMilliseconds, ...ends));
    this.#cancelCheck = clock.after(wait, () => this.check());
  }
}

function isOf(part: ServedPart, { volume }: HostedVolume): boolean {
  return part.hosted.volume.id === volume.id;
}

function answerOf({ name, device, capability, hold }: ServedPart): CapabilityResponse<'open'> {
  const { rights, expiresAt } = capability;
  const useful = [...rights].filter((right) => hold === undefined || (right !== 'write' && right !== 'trim'));
  return { export: name, size: device.size, rights: useful, expiresAt };
}

function ownSnapshot({ capability }: Admitted): string | undefined {
  return capability.snapshot === undefined ? undefined : toHex(capability.snapshot);
}

/** By name first: a name may look like the id of another. */
function snapshotOf(volume: Volume, wanted: string): SnapshotInfo {
  const all = volume.snapshots();
  const found = all.find(({ name }) => name === wanted) ?? all.find(({ id }) => id === wanted);
  if (found !== undefined) return found;
  throw new CaissonError('invalid', 'snapshot-missing', `there is no snapshot ${JSON.stringify(wanted)}`, {
    remedy: 'Look at the snapshots with "caisson capability snapshot-ls".',
  });
}

/** It is opened by this id, and a name would go before: one that looks like it must not stand in for it. */
function mustBeNamed(volume: Volume, snapshotId: string): void {
  const all = volume.snapshots();
  if (all.some(({ name }) => name === snapshotId)) throw refused('snapshot', 'another snapshot has its id as a name');
  if (!all.some(({ id }) => id === snapshotId)) throw refused('snapshot', 'the volume has no such snapshot');
}

function closed(): CaissonError {
  return new CaissonError('closed', 'volume-closed', 'the volume is being closed');
}

function noNetwork(): CaissonError {
  return new CaissonError('invalid', 'unsupported', 'this daemon serves nothing to other machines', {
    remedy: 'Ask whoever runs it for "caisson serve --tcp".',
  });
}

function beyondVolume(base: number, size: number): CaissonError {
  return refused('part', 'the volume ends before the part begins', { base, size });
}
