/** A short run of the capability target, so that the target itself stays alive. */
import { test } from 'node:test';
import { fuzz } from './capability.fuzz.ts';

test('five hundred changed tokens are refused by name, unless nothing was changed', () => fuzz(7, 500));
