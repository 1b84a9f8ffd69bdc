/** A short run of the keyring target, so that the target itself stays alive. */
import { test } from 'node:test';
import { fuzz } from './keyring.fuzz.ts';

test('a thousand changed keyrings are refused by name', () => fuzz(7, 1000));
