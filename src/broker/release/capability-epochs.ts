/**
 * The capability epochs that a broker keeps, as sessions reach them (spec/broker-http.md, "Sessions").
 *
 * Invariants: an epoch only rises; of a volume it is raised by sessions of one key alone, that of its anchor or, without
 * one, that which raised it first.
 */
import { capabilityEpochStepMax } from '../../lib/limits.ts';
import { CaissonError, isCaissonError } from '../../lib/errors.ts';
import { toHex } from '../../lib/hex.ts';
import type { BrokerDatabase, Effect } from '../state/broker-database.ts';
import { anchorOwnerSetting } from './anchors.ts';
import type { Session } from './sessions.ts';

export class CapabilityEpochs {
  readonly #database: BrokerDatabase;

  constructor(database: BrokerDatabase) {
    this.#database = database;
  }

  /** The epoch, after it was raised to `atLeast` where it was lower. */
  async atLeast(session: Session, volumeId: Uint8Array, atLeast: number, now: number): Promise<number> {
    const { tenant } = session;
    const held = await this.#database.capabilityEpoch(tenant, volumeId);
    if (atLeast <= held) return held;
    if (atLeast - held > capabilityEpochStepMax)
      throw new CaissonError('denied', 'limit-exceeded', `an epoch is raised by ${capabilityEpochStepMax} at most`, {
        details: { held, atLeast },
      });
    const claims = await this.#claims(session, volumeId);
    const facts = { change: 'epoch-raised', volume: toHex(volumeId), epoch: atLeast, session: toHex(session.id) };
    try {
      await this.#database.commit({
        effects: [{ kind: 'raise-capability-epoch', tenant, volumeId, atLeast }, ...claims],
        entries: [{ kind: 'capability-change', at: now, tenant, facts }],
      });
    } catch (error) {
      // Another key was first, in the same moment.
      if (isCaissonError(error, 'name-exists')) throw ofAnother(volumeId);
      throw error;
    }
    return this.#database.capabilityEpoch(tenant, volumeId);
  }

  async #claims({ tenant, keyName }: Session, volumeId: Uint8Array): Promise<Effect[]> {
    const anchor = await this.#database.setting(anchorOwnerSetting(tenant, volumeId));
    const name = `capability-owner/${tenant}/${toHex(volumeId)}`;
    const owner = anchor ?? (await this.#database.setting(name));
    if (owner === undefined)
      return [{ kind: 'put-setting', name, value: new TextEncoder().encode(keyName), keepsOther: true }];
    if (new TextDecoder().decode(owner) === keyName) return [];
    throw ofAnother(volumeId);
  }
}

function ofAnother(volumeId: Uint8Array): CaissonError {
  return new CaissonError('denied', 'permission-missing', 'the capabilities of this volume belong to another key', {
    remedy: 'Revoke them with the key that the volume was anchored with, or as an administrator.',
    details: { volume: toHex(volumeId) },
  });
}
