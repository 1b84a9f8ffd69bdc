/** The system's generator, behind the injected contract. */
import { randomBytes } from 'node:crypto';
import type { Random } from '../lib/random.ts';

export const systemRandom: Random = {
  bytes: (length) => new Uint8Array(randomBytes(length)),
};
