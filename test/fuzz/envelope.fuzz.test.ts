/** A short run of the envelope target, so that the target itself stays alive. */
import { test } from 'node:test';
import { fuzz } from './envelope.fuzz.ts';

test('changed envelopes of each suite are refused by name', async () => {
  for (const seed of [1, 2, 3, 4, 5, 6]) await fuzz(seed, 10);
});
