/**
 * What holders of capabilities do with a volume itself: its snapshots and its size (spec/capability-format.md, section 6).
 *
 * Invariant: each act is done on the volume that the token is of, after the gate found the right to it, and by the same
 * operation that an administrator would ask for.
 */
import type { CapabilityRequest, CapabilityResponse } from '../admin/capability-socket.ts';
import type { Operations } from '../admin/operations.ts';
import type { SnapshotAnswer } from '../admin/schema.ts';
import { CaissonError } from '../lib/errors.ts';
import { toHex } from '../lib/hex.ts';
import { capabilitySnapshotsMax } from '../lib/limits.ts';
import { checkVolumeSize } from '../lib/sizes.ts';
import type { VolumeLog } from '../volume/volume-types.ts';
import { refused } from '../wire/capability.ts';
import type { Admitted, CapabilityGate, Meant } from './capability-gate.ts';

type UsedOperations = Pick<Operations, 'listSnapshots' | 'createSnapshot' | 'removeSnapshot' | 'resizeVolume'>;

export interface CapabilityActsOptions {
  readonly gate: Pick<CapabilityGate, 'admit' | 'served'>;
  readonly operations: UsedOperations;
  readonly log: VolumeLog;
}

export class CapabilityActs {
  readonly #options: CapabilityActsOptions;

  constructor(options: CapabilityActsOptions) {
    this.#options = options;
  }

  async snapshots(shown: CapabilityRequest<'snapshots'>): Promise<CapabilityResponse<'snapshots'>> {
    const { name } = await this.#admit(shown, { act: 'snapshots', rights: ['snapshot'] });
    const { snapshots } = await this.#options.operations.listSnapshots({ name });
    return { snapshots: snapshots.map(rowOf) };
  }

  async createSnapshot({
    snapshot,
    ...shown
  }: CapabilityRequest<'snapshot-create'>): Promise<CapabilityResponse<'snapshot-create'>> {
    const meant = { act: 'snapshot-create', argument: snapshot, rights: ['snapshot'] } as const;
    const { name, count } = await this.#admit(shown, meant);
    // A snapshot is found by its name or its id: what looks like an id could stand in for another one.
    if (/^[0-9a-f]{32}$/i.test(snapshot))
      throw refused('snapshot', 'a name of 32 hexadecimal digits could be taken for the id of another snapshot');
    if (count >= capabilitySnapshotsMax)
      throw new CaissonError('full', 'limit-exceeded', `the volume has ${count} snapshots`, {
        remedy: 'Remove some of them first.',
        details: { count, countMax: capabilitySnapshotsMax },
      });
    const taken = await this.#options.operations.createSnapshot({ name, snapshot });
    return { ...rowOf(taken), frozen: taken.frozen };
  }

  async removeSnapshot({
    snapshot,
    ...shown
  }: CapabilityRequest<'snapshot-remove'>): Promise<CapabilityResponse<'snapshot-remove'>> {
    const meant = { act: 'snapshot-remove', argument: snapshot, rights: ['snapshot'] } as const;
    const { name } = await this.#admit(shown, meant);
    return rowOf(await this.#options.operations.removeSnapshot({ name, snapshot }));
  }

  /** `size` is that of the part, which goes to the end: what lies before it stays. */
  async resize({ size, ...shown }: CapabilityRequest<'resize'>): Promise<CapabilityResponse<'resize'>> {
    const { name, capability } = await this.#admit(shown, { act: 'resize', argument: `${size}`, rights: ['resize'] });
    const { base, length } = capability;
    if (length !== undefined) throw refused('part', 'a part that has a length does not change it', { length });
    const whole = base + checkVolumeSize(size);
    if (!Number.isSafeInteger(whole)) throw refused('part', 'no volume is that large', { base, size });
    await this.#options.operations.resizeVolume({ name, size: whole });
    return { size };
  }

  async #admit(
    shown: CapabilityRequest<'open'>,
    meant: Meant,
  ): Promise<Admitted & { readonly name: string; readonly count: number }> {
    const { gate, log } = this.#options;
    const admitted = await gate.admit(shown, meant);
    const { hosted, volume } = gate.served(admitted.capability);
    const { name } = hosted;
    const { act, argument = '' } = meant;
    log('info', 'act by capability', { volume: name, capability: toHex(admitted.capability.id), act, argument });
    return { ...admitted, name, count: volume.snapshots().length };
  }
}

function rowOf({ id, name, time, manifestNumber }: SnapshotAnswer): CapabilityResponse<'snapshot-remove'> {
  return { id, name, time, manifestNumber };
}
