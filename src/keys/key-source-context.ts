/** What a key source may use of the process that opens it. */
import type { Clock } from '../lib/clock.ts';
import type { Environment } from '../lib/folders.ts';
import type { Random } from '../lib/random.ts';

export interface KeySourceContext {
  /** Its waits keep the process alive: `patientClock`. */
  readonly clock: Clock;
  readonly random: Random;
  readonly environment: Environment;
}
