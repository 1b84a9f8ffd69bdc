/** A short run of the release log target, so that the target itself stays alive. */
import { test } from 'node:test';
import { fuzz } from './release-log.fuzz.ts';

test('changed copies, heads and proofs of a release log are refused by name', async () => {
  for (let seed = 0; seed < 8; seed++) await fuzz(seed, 60);
});
