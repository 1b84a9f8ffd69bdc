/** A short run of the policy target, so that the target itself stays alive. */
import { test } from 'node:test';
import { fuzz } from './policy.fuzz.ts';

test('sixty changed policies are read whole or refused by name', () => fuzz(7, 60));
