/** A short run of the rotation target, so that the target itself stays alive. */
import { test } from 'node:test';
import { fuzz } from './root-rotation.fuzz.ts';

test('changed rotations of a root key are refused by name, or open what was put into them', async () => {
  for (let seed = 0; seed < 4; seed++) await fuzz(seed, 60);
});
