/** A short run of the target of the broker's state, so that the target itself stays alive. */
import { test } from 'node:test';
import { fuzz } from './broker-state.fuzz.ts';

test('changed headers of backups and heads in a TPM are refused by name', () => fuzz(11, 2000));
