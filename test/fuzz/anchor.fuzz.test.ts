/** A short run of the anchor target, so that the target itself stays alive. */
import { test } from 'node:test';
import { fuzz } from './anchor.fuzz.ts';

test('a thousand changed anchor files hold a written state or are refused by name', () => fuzz(7, 1000));
