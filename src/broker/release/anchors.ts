/**
 * The anchors that a broker keeps, as sessions reach them (spec/broker-http.md, "Sessions").
 *
 * Invariant: an anchor belongs to the key whose session advanced it first. Whoever could forget or
 * outrun another's anchor could roll its volume back or lock it.
 */
import type { AnchorState } from '../../anchor/anchor.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import { toHex } from '../../lib/hex.ts';
import { brokerSessionsCachedMax } from '../../lib/broker-limits.ts';
import type { BrokerDatabase, Commit, CommitReceipt, Effect } from '../state/broker-database.ts';
import type { Session } from './sessions.ts';

export class Anchors {
  readonly #database: BrokerDatabase;
  /** `tenant/volume` -> key; owners never change, so what is here stays true. */
  readonly #owners = new Map<string, string>();

  constructor(database: BrokerDatabase) {
    this.#database = database;
  }

  async advance(session: Session, states: readonly AnchorState[], now: number): Promise<CommitReceipt> {
    mustAdvance(session);
    const { tenant } = session;
    const claims: Effect[] = [];
    for (const { volumeId } of states)
      if (await this.#mustClaim(session, volumeId)) claims.push(claimOf(session, volumeId));
    const receipt = await this.#commitClaims(session, states, {
      effects: [{ kind: 'advance-anchors', tenant, states }, ...claims],
      entries: states.map((state) => ({
        kind: 'anchor-advance',
        at: now,
        tenant,
        facts: {
          volume: toHex(state.volumeId),
          epoch: state.epoch,
          manifestNumber: state.manifestNumber,
          manifestDigest: toHex(state.manifestDigest),
          sequence: state.sequence,
          session: toHex(session.id),
        },
      })),
    });
    for (const { volumeId } of states) this.#remember(session, volumeId);
    return receipt;
  }

  /** Of two keys that claim a volume in the same moment the database lets one through; the other hears what it is. */
  async #commitClaims(session: Session, states: readonly AnchorState[], change: Commit): Promise<CommitReceipt> {
    try {
      return await this.#database.commit(change);
    } catch (error) {
      if (isCaissonError(error, 'name-exists'))
        for (const { volumeId } of states) await this.#mustClaim(session, volumeId);
      throw error;
    }
  }

  async read(session: Session, volumeIds: readonly Uint8Array[]): Promise<(AnchorState | undefined)[]> {
    const states = [];
    for (const volumeId of volumeIds) {
      await this.#mustClaim(session, volumeId);
      states.push(await this.#database.anchor(session.tenant, volumeId));
    }
    return states;
  }

  async forget(session: Session, volumeId: Uint8Array, now: number): Promise<void> {
    mustAdvance(session);
    const { tenant } = session;
    const isNew = await this.#mustClaim(session, volumeId);
    if (isNew) return; // nobody ever advanced it
    await this.#database.commit({
      effects: [{ kind: 'forget-anchor', tenant, volumeId }],
      entries: [
        { kind: 'anchor-forget', at: now, tenant, facts: { volume: toHex(volumeId), session: toHex(session.id) } },
      ],
    });
  }

  /** Whether nobody owns it yet; `permission-missing` where another key does. */
  async #mustClaim({ tenant, keyName }: Session, volumeId: Uint8Array): Promise<boolean> {
    const name = anchorOwnerSetting(tenant, volumeId);
    let owner = this.#owners.get(name);
    if (owner === undefined) {
      const stored = await this.#database.setting(name);
      if (stored === undefined) return true;
      owner = new TextDecoder().decode(stored);
    }
    if (owner === keyName) return false;
    throw new CaissonError('denied', 'permission-missing', 'the anchor of this volume belongs to another key', {
      remedy: 'Open the volume with the key that it was anchored with first.',
      details: { volume: toHex(volumeId) },
    });
  }

  #remember({ tenant, keyName }: Session, volumeId: Uint8Array): void {
    if (this.#owners.size >= brokerSessionsCachedMax) this.#owners.clear();
    this.#owners.set(anchorOwnerSetting(tenant, volumeId), keyName);
  }
}

function claimOf({ tenant, keyName }: Session, volumeId: Uint8Array): Effect {
  const value = new TextEncoder().encode(keyName);
  return { kind: 'put-setting', name: anchorOwnerSetting(tenant, volumeId), value, keepsOther: true };
}

export function anchorOwnerSetting(tenant: string, volumeId: Uint8Array): string {
  return `anchor-owner/${tenant}/${toHex(volumeId)}`;
}

function mustAdvance(session: Session): void {
  if (session.mayAdvance) return;
  throw new CaissonError('denied', 'permission-missing', 'this session may not change anchors', {
    remedy: 'Ask for it with the release; the policy must say may-advance-anchor.',
  });
}
