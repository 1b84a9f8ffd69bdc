/** Changed heads: what decodes encodes to the same bytes, and what is accepted was signed as it is. */
import assert from 'node:assert/strict';
import { decodeHead, encodeHead } from '../../src/manifest/head-format.ts';
import { checkHead } from '../../src/manifest/manifest.ts';
import { assertSame, fuzzVectors, loadVectors } from './vector-mutation.ts';

/** The right heads among the vectors. A change of one of them that still verifies would be a forgery. */
const signed = new Set<string>();
for (const { bytes, expect } of loadVectors('head')) if (expect === 'decodes') signed.add(hex(bytes));
assert.ok(signed.size > 0, 'there are right heads to change');

export function fuzz(seed: number, iterations: number): void {
  fuzzVectors('head', ['format-invalid', 'format-version'], seed, iterations, ({ bytes }) => {
    const head = decodeHead(bytes);
    assertSame(Buffer.concat([encodeHead(head), head.signature]), bytes);
  });
  fuzzVectors('head', ['head-tampered', 'format-version'], seed, Math.ceil(iterations / 10), ({ bytes, volumeId }) => {
    checkHead(bytes, volumeId);
    assert.ok(signed.has(hex(bytes)), 'a head was accepted that nobody signed');
  });
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
