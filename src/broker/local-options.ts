/** What the broker's code needs to know of the command that asks for it. */
import type { Environment } from '../lib/folders.ts';

export interface BrokerLocalOptions {
  readonly environment: Environment;
  readonly userId: number;
  readonly version: string;
}
