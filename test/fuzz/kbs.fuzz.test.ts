/** A short run of the target for the KBS protocol, so that the target itself stays alive. */
import { test } from 'node:test';
import { fuzz } from './kbs.fuzz.ts';

test('two thousand changed messages are read, or refused by name', () => fuzz(7, 2000));
