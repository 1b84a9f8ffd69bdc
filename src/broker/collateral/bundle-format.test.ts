/** The vectors of bundles: what reads is written again as the same entries, and each fault has its refusal. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { collateralBundleEntriesMax, collateralBytesMax, collateralIssuerChainBytesMax } from '../../lib/limits.ts';
import { decodeBundle, encodeBundle } from './bundle-format.ts';

const folder = new URL('../../../test/vectors/collateral/', import.meta.url);

for (const file of readdirSync(folder))
  test(`bundle vector ${file}`, () => {
    const vector = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as { expect: string; text: string };
    const bytes = new TextEncoder().encode(vector.text);
    if (vector.expect !== 'decodes') assert.throws(() => decodeBundle(bytes), { code: vector.expect });
    else assert.deepEqual(decodeBundle(encodeBundle(decodeBundle(bytes))), decodeBundle(bytes));
  });

test('what is in a bundle is bounded', () => {
  const entry = { name: 'a', bytes: new Uint8Array(0), obtainedAt: 0 };
  const many = Array.from({ length: collateralBundleEntriesMax + 1 }, (_, index) => ({ ...entry, name: `a${index}` }));
  assert.equal(decodeBundle(encodeBundle(many.toSpliced(0, 1))).length, collateralBundleEntriesMax);
  const bad = [
    many,
    [{ ...entry, bytes: new Uint8Array(collateralBytesMax + 1) }],
    [{ ...entry, issuerChain: new Uint8Array(collateralIssuerChainBytesMax + 1) }],
  ];
  for (const entries of bad) assert.throws(() => decodeBundle(encodeBundle(entries)), { code: 'format-invalid' });
});
