/** A short run of the target for JSON from strangers, so that the target itself stays alive. */
import { test } from 'node:test';
import { fuzz } from './request-json.fuzz.ts';

test('three thousand changed requests read as JSON does, or are refused by name', () => fuzz(3, 3000));
