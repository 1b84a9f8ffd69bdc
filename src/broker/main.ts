/** The composition root of the broker: the one place that names its concrete classes. */
import type { BrokerRunRequest } from '../admin/broker-tools.ts';
import { CaissonError } from '../lib/errors.ts';
import type { BrokerLocalOptions } from './local.ts';

export async function runBroker(_options: BrokerLocalOptions, _request: BrokerRunRequest): Promise<void> {
  throw new CaissonError('invalid', 'unsupported', 'the broker is not part of this build yet');
}
