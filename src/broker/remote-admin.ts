/** The admin API of a broker elsewhere, for commands. */
import type { BrokerAdmin, BrokerPlace } from '../admin/broker-tools.ts';
import { CaissonError } from '../lib/errors.ts';

export async function openRemoteAdmin(place: BrokerPlace): Promise<BrokerAdmin> {
  throw new CaissonError('invalid', 'unsupported', `the admin API of ${place.url} is not part of this build yet`);
}
