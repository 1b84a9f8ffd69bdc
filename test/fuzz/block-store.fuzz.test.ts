/** A short run of the target, so that it stays alive. */
import { test } from 'node:test';
import { fuzz } from './block-store.fuzz.ts';

test('changed superblocks, batches and records: refused by name or as they were', () => {
  fuzz(11, 500);
});
